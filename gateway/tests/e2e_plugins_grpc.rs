//! gRPC callouts of plugins: unary calls and streams to an HTTP/2 endpoint.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::net::SocketAddr;
use std::sync::mpsc;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use plugins::{PROTOCOLS, Protocol, get, module, start, wasm_plugin};
use support::fixtures::{Manifests, service};
use support::{ANY_PORT, Origin, Refusing, single_route};
use tokio::net::TcpListener;

/// Starts a gRPC server of the service `pkg.Auth`. `Check` echoes each message, `Refuse` answers with status 7, `Reset`
/// resets the stream. The receiver yields the paths of the requests with their field `x-from`.
fn grpc_server() -> (SocketAddr, mpsc::Receiver<String>) {
    let (sender, seen) = mpsc::channel();
    let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await?;
                    while let Some(accepted) = connection.accept().await {
                        let (request, respond) = accepted?;
                        let from = request.headers().get("x-from").map(|value| value.to_str().unwrap());
                        let _ = sender.send(format!("{} {}", request.uri().path(), from.unwrap_or("none")));
                        tokio::spawn(answer(request, respond));
                    }
                    Ok::<_, h2::Error>(())
                });
            }
        });
    });
    (address, seen)
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    if method == "Reset" {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let head = || Response::builder().header("content-type", "application/grpc").header("x-initial", "1");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailing", "2".parse().unwrap());
    if method == "Refuse" {
        let head = head().header("grpc-status", "7").header("grpc-message", "not%20you");
        respond.send_response(head.body(()).unwrap(), true)?;
        return Ok(());
    }
    let mut send = respond.send_response(head().body(()).unwrap(), false)?;
    let mut body = request.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    // In pieces that do not respect the messages.
    let middle = received.len() / 2;
    let rest = received.split_off(middle);
    send.send_data(received.freeze(), false)?;
    send.send_data(rest.freeze(), false)?;
    trailers.insert("grpc-status", "0".parse().unwrap());
    send.send_trailers(trailers)
}

fn routed(origin: &Origin, upstream: SocketAddr, method: &str, more: &str) -> Manifests {
    let config = format!(
        "upstream outbound|80||auth.default.svc.cluster.local\nservice pkg.Auth\nmethod {method}\nmessage ping\n{more}"
    );
    let plugin = wasm_plugin("grpc", "grpc.wasm").config(&config);
    single_route(origin)
        + service("auth").endpoints(&[upstream])
        + plugin.spec("allowedUpstreams: ['auth:80']\nlimits: {callTimeout: 1s}")
}

#[test]
fn unary_calls_and_streams_end_with_their_outcome() {
    let Some(path) = module("grpc", "unary_calls_and_streams_end_with_their_outcome") else { return };
    let origin = Origin::named("a");
    let (address, seen) = grpc_server();
    let refusing = Refusing::new();
    let stream = "stream\ncount 3";
    let echoed =
        "initial x-initial=1\nmessage ping\nmessage ping\nmessage ping\ntrailing x-trailing=2\nclose 0\n";
    for (method, more, upstream, status, expected) in [
        ("Check", "", address, 200, "response 0 ping"),
        ("Refuse", "", address, 502, "response 7  not you"),
        ("Reset", "", address, 502, "response "),
        ("Check", "", refusing.address, 502, "response 14"),
        ("Check", stream, address, 200, echoed),
        ("Refuse", stream, address, 502, "initial"),
        ("Reset", stream, address, 502, "close "),
        ("Check", stream, refusing.address, 502, "close 14"),
    ] {
        let gateway = start(&routed(&origin, upstream, method, more), &[("grpc.wasm", &path)]);
        for protocol in PROTOCOLS {
            let response = get("/").send(gateway.gateway.http, protocol);
            let context = format!("{method} {more:?} {protocol:?}: {response:?}");
            assert_eq!(response.status, status, "{context}");
            assert!(response.text().starts_with(expected), "{context}");
            if upstream == address {
                let first = seen.iter().next().unwrap();
                assert_eq!(first, format!("/pkg.Auth/{method} guest"), "{context}");
                while seen.try_recv().is_ok() {}
            }
        }
    }
    assert_eq!(origin.heads(), 0);
}

#[test]
fn upstream_that_is_not_allowed_is_refused_at_once() {
    let Some(path) = module("grpc", "upstream_that_is_not_allowed_is_refused_at_once") else { return };
    let (origin, refusing) = (Origin::named("a"), Refusing::new());
    let plugin = wasm_plugin("grpc", "grpc.wasm").config("upstream auth:80\nservice a.B\nmethod C");
    let yaml = single_route(&origin) + service("auth").endpoints(&[refusing.address]) + plugin;
    let gateway = start(&yaml, &[("grpc.wasm", &path)]);
    let response = get("/").send(gateway.gateway.http, Protocol::Http1);
    assert_eq!(response.status, 503);
    assert!(response.text().starts_with("no call: "), "{response:?}");
}
