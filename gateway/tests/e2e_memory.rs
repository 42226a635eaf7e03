//! Memory that a client or an endpoint makes the gateway hold, as the resident memory of the process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/frames.rs"]
mod frames;
#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use frames::FrameClient;
use program::Program;
use support::{Client, DEADLINE, Origin, Then, ok, single_route, until};

/// A window that no test fills.
const LARGE_WINDOW: u32 = 16 << 20;

/// Waits until the program is idle. What it holds then no longer grows.
fn wait_idle(program: &Program) {
    let began = Instant::now();
    let mut ticks = u64::MAX;
    while program.processor_ticks() > ticks.saturating_add(2) || ticks == u64::MAX {
        assert!(began.elapsed() < 4 * DEADLINE, "the program is not idle");
        ticks = program.processor_ticks();
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

/// Starts an endpoint that sends this piece of a body without an end. Other targets than `/stream` get a short response.
fn streaming_origin(head: &'static str, piece: &[u8]) -> Origin {
    let block = piece.repeat((16 << 10) / piece.len());
    Origin::start(move |call| {
        if call.request.target() != "/stream" {
            return call.respond(ok("a")).map(|()| Then::Keep);
        }
        call.respond(head)?;
        loop {
            call.wire.stream.write_all(&block)?;
        }
    })
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn unread_streams_of_tiny_chunks_hold_few_mib() {
    struct Case {
        name: &'static str,
        chunk: &'static [u8],
        connections: usize,
        streams: usize,
        max_kib: u64,
    }
    let row = b"28\r\n0123456789012345678901234567890123456789\r\n";
    for Case { name, chunk, connections, streams, max_kib } in [
        Case { name: "1-byte chunks", chunk: b"1\r\nx\r\n", connections: 1, streams: 10, max_kib: 16 << 10 },
        Case { name: "40-byte chunks", chunk: row, connections: 4, streams: 25, max_kib: 24 << 10 },
    ] {
        let origin = streaming_origin(CHUNKED, chunk);
        let program = Program::start(&single_route(&origin), &[]);
        assert_eq!(Client::connect(program.http).get("a.example", "/").status(), 200);
        let before = program.rss_kib();
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let mut client = FrameClient::connect(program.http, LARGE_WINDOW, u32::MAX >> 2);
                (0..streams).for_each(|n| client.get(u32::try_from(2 * n + 1).unwrap(), "/stream"));
                client
            })
            .collect();
        origin.wait_heads(1 + connections * streams);
        wait_idle(&program);
        let growth = program.rss_kib().saturating_sub(before);
        assert!(growth < max_kib, "{name}: {growth} KiB for {connections} x {streams} streams");
        assert_eq!(Client::connect(program.http).get("a.example", "/").status(), 200, "{name}");
        drop(clients);
    }
}

#[test]
fn requests_beyond_the_memory_budget_are_503() {
    let origin = Origin::named("a");
    for (budget, status) in [("1Mi", 503), ("1Ti", 200)] {
        let program = Program::start(&single_route(&origin), &[&format!("limits.memory={budget}")]);
        until("the memory is measured", || {
            Client::connect(program.http).get("a.example", "/").status() == status
        });
        let response = Client::connect(program.http).get("a.example", "/");
        let reason = (status == 503).then_some("memory_exhausted");
        assert_eq!((response.status(), response.field("gateway-reason")), (status, reason), "{budget}");
        assert_eq!(program.ready().status(), 200, "the admin pages are served");
    }
}

#[test]
fn idle_connections_close_under_memory_pressure() {
    let origin = Origin::named("a");
    let program = Program::start(&single_route(&origin), &["limits.memory=1Mi"]);
    let mut idle: Vec<_> = (0..4).map(|_| Client::connect(program.http)).collect();
    for client in &mut idle {
        client.get("a.example", "/");
    }
    // Each second half of the rest. The keep-alive timeout is 75 s.
    for client in &mut idle {
        assert!(client.rest().is_empty());
    }
}

#[test]
fn chunk_extensions_are_not_held_for_a_retry() {
    // Reads each body and never responds.
    let origin = Origin::start(move |call| {
        if call.request.target() != "/put" {
            return call.respond(ok("a")).map(|()| Then::Keep);
        }
        let mut buffer = [0; 16 << 10];
        while call.wire.stream.read(&mut buffer)? > 0 {}
        Ok(Then::Close)
    });
    let program = Program::start(&single_route(&origin), &[]);
    // Each PUT reuses a connection to the endpoint, so that it could be retried.
    let clients = 4;
    let barrier = std::sync::Barrier::new(clients);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(program.http);
                barrier.wait();
                assert_eq!(client.get("a.example", "/").status(), 200);
            });
        }
    });
    let before = program.rss_kib();
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(247));
    let block = chunk.repeat(60_000);
    let puts: Vec<_> = (0..clients)
        .map(|_| {
            let mut client = Client::connect(program.http);
            client.send("PUT /put HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
            client
        })
        .collect();
    std::thread::scope(|scope| {
        for put in &puts {
            scope.spawn(|| (&put.stream).write_all(block.as_bytes()).unwrap());
        }
    });
    wait_idle(&program);
    let growth = program.rss_kib().saturating_sub(before);
    assert!(growth < 8 << 10, "{growth} KiB for {clients} bodies of 60,000 bytes");
    until("other requests are served", || {
        Client::connect(program.http).get("a.example", "/").status() == 200
    });
}
