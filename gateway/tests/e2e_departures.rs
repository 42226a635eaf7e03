//! Clients that leave, and endpoints that break a rule without being broken.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/frames.rs"]
mod frames;
mod support;

use frames::{END_HEADERS, END_STREAM, FrameClient, HEADERS, request_head};
use support::{Origin, TestGateway, Then, ok, single_route, single_route_to, until};

#[test]
fn client_leaving_during_its_upload_is_closed_not_malformed() {
    for body in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let origin = Origin::named("a");
        let gateway = TestGateway::start(&single_route(&origin));
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\n{body}"));
        origin.wait_heads(1);
        drop(client);
        let closed = "gateway_aborts_total{reason=\"client_closed\"} 1";
        until("the request is reported", || gateway.admin("/metrics").1.contains(closed));
        let page = gateway.admin("/metrics").1;
        assert!(!page.contains("reason=\"malformed_body\"} 1"), "{body}: no reply is counted");
    }
}

#[test]
fn pipelined_bytes_do_not_hide_that_a_client_left() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Hang));
    let gateway = TestGateway::start(&single_route(&origin));
    for ahead in ["G", "GET / HTTP/1.1\r\nHost: a.example\r\n"] {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n{ahead}"));
        until("the endpoint has the request", || origin.open() == 1);
        drop(client);
        until("the request to the endpoint is cancelled", || origin.open() == 0);
    }
}

#[test]
fn http2_values_with_outer_blanks_are_400() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    for (value, is_valid) in [("a b", true), ("", true), (" a", false), ("a\t", false), (" ", false)] {
        let mut client = FrameClient::connect(gateway.gateway.http, 65_535, 65_535);
        let head = request_head("GET", "/", &[("x-value", value)]);
        let before = origin.count();
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head);
        client.read_stream(1).unwrap();
        assert_eq!(origin.count() - before, usize::from(is_valid), "{value:?}");
    }
    let page = gateway.admin("/metrics").1;
    assert!(page.contains("reason=\"malformed_head\"} 3"), "three local replies: {page}");
}

#[test]
fn not_modified_with_an_encoding_ends_its_connection() {
    for (field, connections) in [("Transfer-Encoding: chunked", 3), ("Content-Length: 5", 1)] {
        let origin = Origin::start(move |call| {
            let head = format!("HTTP/1.1 304 Not Modified\r\n{field}\r\n\r\n");
            call.respond(head).map(|()| Then::Keep)
        });
        let gateway = TestGateway::start(&single_route(&origin));
        for _ in 0..3 {
            assert_eq!(gateway.get("a.example", "/").status(), 304, "{field}");
        }
        assert_eq!(origin.connections(), connections, "{field}");
    }
}

#[test]
fn obsolete_responses_are_502_and_eject_no_endpoint() {
    for response in [
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ] {
        let obsolete = Origin::start(move |call| match call.request.target() {
            "/obsolete" => call.respond(response).map(|()| Then::Keep),
            _ => call.respond(ok("obsolete")).map(|()| Then::Keep),
        });
        let other = Origin::named("other");
        let gateway = TestGateway::start(&single_route_to(&[obsolete.address, other.address]));
        let statuses: Vec<_> = (0..20).map(|_| gateway.get("a.example", "/obsolete").status()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 10, "{statuses:?}");
        let before = obsolete.count();
        for _ in 0..20 {
            assert_eq!(gateway.get("a.example", "/").status(), 200);
        }
        assert_eq!(obsolete.count() - before, 10, "it still gets half of the requests: {response:?}");
    }
}
