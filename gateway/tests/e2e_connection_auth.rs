//! NTLM and Negotiate through the gateway: the endpoint authenticates a connection, which no other client may use.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::HashMap;
use std::sync::Mutex;

use support::fixtures::{ingress, service};
use support::{Client, Message, Origin, TestGateway, Then, single_route};

/// What an endpoint knows of one of its connections.
#[derive(Clone, Default)]
struct State {
    has_challenged: bool,
    user: Option<String>,
}

/// Starts an endpoint that authenticates connections. Credentials are `SCHEME start`, then `SCHEME NAME` on the same
/// connection.
fn authenticating_origin(scheme: &'static str) -> Origin {
    let states = Mutex::new(HashMap::<usize, State>::new());
    Origin::start(move |call| {
        let mut states = states.lock().unwrap();
        let state = states.entry(call.connection).or_default();
        let credentials = call.request.field("authorization").and_then(|value| value.split_once(' '));
        let challenge = match (credentials, state.has_challenged, &state.user) {
            (Some((_, "start")), _, _) => {
                state.has_challenged = true;
                format!("WWW-Authenticate: {scheme} challenge\r\n")
            }
            (Some((_, name)), true, None) => {
                state.user = Some(name.to_owned());
                String::new()
            }
            (_, _, None) => format!("WWW-Authenticate: {scheme}\r\n"),
            (_, _, Some(_)) => String::new(),
        };
        let status = if challenge.is_empty() { "200 OK" } else { "401 Unauthorized" };
        let user = state.user.clone().unwrap_or_else(|| "stranger".to_owned());
        drop(states);
        let head = format!("HTTP/1.1 {status}\r\n{challenge}Content-Length: {}\r\n\r\n", user.len());
        call.respond(head + &user).map(|()| Then::Keep)
    })
}

fn get(client: &mut Client, credentials: &str) -> Message {
    let credentials =
        if credentials.is_empty() { String::new() } else { format!("Authorization: {credentials}\r\n") };
    client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{credentials}\r\n"));
    client.response()
}

#[test]
fn authenticated_connection_serves_its_client_only() {
    for scheme in ["NTLM", "Negotiate", "negotiate"] {
        let origin = authenticating_origin(scheme);
        let gateway = TestGateway::start(&single_route(&origin));
        let mut strangers: Vec<_> = (0..6).map(|_| gateway.client()).collect();
        let mut alice = gateway.client();
        let mut check_strangers = || {
            for stranger in &mut strangers {
                let response = get(stranger, "");
                assert_eq!((response.status(), response.text()), (401, "stranger"), "{scheme}");
            }
        };
        assert_eq!(get(&mut alice, "").status(), 401);
        check_strangers();
        assert_eq!(get(&mut alice, &format!("{scheme} start")).status(), 401);
        check_strangers();
        let response = get(&mut alice, &format!("{scheme} alice"));
        assert_eq!((response.status(), response.text()), (200, "alice"), "{scheme} through the gateway");
        check_strangers();
        // The connection stays authenticated without credentials.
        assert_eq!(get(&mut alice, "").text(), "alice");
        check_strangers();
        drop(alice);
        let response = get(&mut gateway.client(), "");
        assert_eq!((response.status(), response.text()), (401, "stranger"), "{scheme}: the next client");
    }
}

#[test]
fn credentials_without_a_challenge_bind_the_connection() {
    // The endpoint sends no challenge. Credentials alone authenticate the connection.
    let origin = Origin::start(|call| {
        let body = format!("connection {}", call.connection);
        call.respond(support::ok(&body)).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut alice = gateway.client();
    let first = get(&mut alice, "NTLM alice");
    let mut bob = gateway.client();
    let other = get(&mut bob, "");
    assert_ne!(first.text(), other.text());
    assert_eq!(get(&mut alice, "").text(), first.text());
    // Other schemes authenticate a request, so their connections are shared.
    let shared = get(&mut gateway.client(), "Basic YTpi");
    assert_eq!(shared.text(), other.text());
}

#[test]
fn bound_connection_leaves_other_services_alone() {
    let (first, second) = (authenticating_origin("NTLM"), Origin::named("second"));
    let objects = ingress("i").host("a.example").path("/second", "second").path("/", "first")
        + service("first").endpoints(&[first.address])
        + service("second").endpoints(&[second.address]);
    let gateway = TestGateway::start(&objects);
    let mut alice = gateway.client();
    get(&mut alice, "NTLM start");
    assert_eq!(get(&mut alice, "NTLM alice").text(), "alice");
    assert_eq!(alice.get("a.example", "/second").text(), "second");
    assert_eq!(get(&mut alice, "").text(), "alice");
}

#[test]
fn closed_bound_connection_is_replaced() {
    let origin = Origin::start(|call| {
        let body = format!("{} {}", call.connection, call.turn);
        call.respond(support::ok(&body))?;
        Ok(if call.turn == 2 { Then::Close } else { Then::Keep })
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut alice = gateway.client();
    assert_eq!(get(&mut alice, "NTLM a").text(), "1 1");
    assert_eq!(get(&mut alice, "").text(), "1 2");
    support::until("the endpoint has closed", || origin.open() == 0);
    assert_eq!(get(&mut alice, "").text(), "2 1");
}

#[test]
fn http2_requests_share_no_authenticated_connection() {
    let origin = authenticating_origin("NTLM");
    let gateway = TestGateway::start(&single_route(&origin));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.gateway.http).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for credentials in ["NTLM start", "NTLM alice", "NTLM start", "NTLM alice"] {
            let request = http::Request::get("http://a.example/").header("authorization", credentials);
            let mut send = send.clone().ready().await.unwrap();
            let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 401, "{credentials}");
        }
    });
    let response = get(&mut gateway.client(), "");
    assert_eq!((response.status(), response.text()), (401, "stranger"));
}
