//! Memory of HTTP/1.1 connections, idle and with a request.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::TransportConnector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::control::reload::Reload;
use crate::data::drain::DrainState;
use crate::data::exchange::request_id::RequestIds;
use crate::data::upstream::Upstreams;
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::Clock;
use crate::observe::counters::Counters;
use crate::plan::Planner;
use crate::settings::Settings;

fn worker() -> Worker {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = Arc::new(Settings::default());
    let clock = Clock::default();
    let counters = Rc::new(Counters::default());
    let connector = Arc::new(TransportConnector::new(None));
    Worker {
        live: Reload::new(provider, routing::Config::default(), Planner::default()).unwrap().live(),
        upstreams: Upstreams::new(
            connector,
            clock.clone(),
            Rc::clone(&counters),
            Arc::default(),
            settings.limits.head,
        ),
        settings,
        drain: DrainState::new(clock.clone()),
        clock,
        buffers: BufferPool::default(),
        idle: crate::data::idle::IdleConnections::default(),
        pressure: Arc::default(),
        send_budget: Rc::default(),
        date: crate::data::exchange::DateCache::default(),
        counters,
        plugins: crate::filter::plugin::Instances::new(0).0,
        request_ids: RequestIds::default(),
        access_log: None,
    }
}

#[tokio::test]
async fn idle_connection_is_below_1_kib_and_owns_no_buffer() {
    let worker = Rc::new(worker());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let future = crate::data::listener::connection::serve(
        Rc::clone(&worker),
        stream,
        peer,
        crate::data::listener::Protocol::Plain,
    );
    let size = std::mem::size_of_val(&future);
    assert!(size < 1024, "{size} bytes");

    let (stream, _) = {
        let _second = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        listener.accept().await.unwrap()
    };
    let mut connection = Connection::new(Transport::Plain(stream), worker.settings.limits.head);
    assert_eq!(connection.input().len() + connection.output().capacity(), 0);
    connection.acquire_buffers(&worker.buffers);
    assert_ne!(connection.output().capacity(), 0);
    connection.release_buffers(&worker.buffers);
    assert_eq!(connection.output().capacity(), 0);
}

#[tokio::test]
async fn exchange_future_is_below_3_kib() {
    let worker = worker();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let mut connection = Connection::new(Transport::Plain(stream), worker.settings.limits.head);
    let head = http1::HeadBuilder::request(b"GET", b"/", 0).build();
    let client = Client::new(peer.ip(), None, &[]);
    let mut downstream = Http1Downstream::for_request(&worker, &mut connection, &head, BodyLength::Empty);
    let request = Request { head: &head, length: BodyLength::Empty, client: &client };
    let timer = worker.clock.timer();
    let size = std::mem::size_of_val(&exchange::serve(&worker, request, &mut downstream, &timer));
    assert!(size < 3072, "{size} bytes");
}

#[tokio::test]
async fn connection_with_partial_head_owns_no_buffer() {
    let worker = Rc::new(worker());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let server = crate::data::listener::connection::serve(
        Rc::clone(&worker),
        stream,
        peer,
        crate::data::listener::Protocol::Plain,
    );
    let exchange = async {
        for part in ["GET / HT", "TP/1.1\r\nHost: a.exa", "mple\r\nConnection: cl"] {
            client.write_all(part.as_bytes()).await.unwrap();
            // Both buffers are used to read the bytes, and must return to the pool.
            while worker.buffers.free_count() != 2 {
                tokio::task::yield_now().await;
            }
        }
        client.write_all(b"ose\r\n\r\n").await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        client.shutdown().await.unwrap();
        response
    };
    let both = async { tokio::join!(server, exchange) };
    let ((), response) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 404 ") && response.contains("connection: close"), "{response}");
}
