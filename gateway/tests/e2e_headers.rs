//! Forwarding fields (`X-Forwarded-*`, `Forwarded`, `X-Real-IP`), `X-Request-ID`, `TE`, `Via` and `Allow`, for trusted and
//! untrusted peers, over HTTP/1.1 and HTTP/2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use gateway::settings::{ReasonHeader, RequestIdEcho, Settings, UnderscoreNames};
use support::{DEADLINE, Follows, Message, Origin, TestGateway, Then, ok, settings, single_route};

/// The protocol of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Sends a GET for host `a.example` with these fields. Returns the request that the endpoint received.
fn forwarded(gateway: &TestGateway, origin: &Origin, protocol: Protocol, fields: &[(&str, &str)]) -> Message {
    match protocol {
        Protocol::Http1 => {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let mut client = gateway.client();
            client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
            assert_eq!(client.response().status(), 200, "{fields:?}");
        }
        Protocol::Http2 => {
            let mut request = http::Request::get("http://a.example/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let exchange = async {
                    let stream = tokio::net::TcpStream::connect(gateway.gateway.http).await.unwrap();
                    let (send, connection) = h2::client::handshake(stream).await.unwrap();
                    tokio::spawn(connection);
                    let mut send = send.ready().await.unwrap();
                    let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
                    assert_eq!(response.await.unwrap().status(), 200, "{fields:?}");
                };
                tokio::time::timeout(DEADLINE, exchange).await.unwrap();
            });
        }
    }
    origin.last()
}

/// Returns the fields without `X-Request-ID`, which differs in each request.
fn fields_of(request: &Message) -> Vec<(&str, &str)> {
    let fields = request.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    fields.filter(|(name, _)| *name != "x-request-id").collect()
}

/// The fields that the endpoint receives for a request of an untrusted peer.
const UNTRUSTED_PEER_FIELDS: [(&str, &str); 7] = [
    ("host", "a.example"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-real-ip", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("forwarded", "for=127.0.0.1;proto=http;host=a.example"),
    ("x-forwarded-host", "a.example"),
    ("x-forwarded-port", "80"),
];

/// Returns settings with loopback and 10.0.0.0/8 as trusted proxies.
fn trusting() -> Settings {
    settings(|all| {
        all.requests.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    })
}

#[test]
fn te_is_forwarded_only_as_trailers() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    struct Case {
        te: &'static str,
        has_trailers: bool,
    }
    for Case { te, has_trailers } in [
        Case { te: "trailers", has_trailers: true },
        Case { te: "gzip;q=0.5, Trailers", has_trailers: true },
        Case { te: "gzip", has_trailers: false },
        Case { te: "trailers;q=0.5", has_trailers: false },
        Case { te: "xtrailers", has_trailers: false },
    ] {
        let request = forwarded(&gateway, &origin, Protocol::Http1, &[("TE", te), ("Connection", "TE")]);
        let expected = if has_trailers { (Some("trailers"), Some("te")) } else { (None, None) };
        assert_eq!((request.field("te"), request.field("connection")), expected, "{te}");
    }
    let request = forwarded(&gateway, &origin, Protocol::Http2, &[("te", "trailers")]);
    assert_eq!((request.field("te"), request.field("connection")), (Some("trailers"), Some("te")));
    // HTTP/1.0 has no trailers.
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\nTE: trailers\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!((origin.last().field("te"), origin.last().field("connection")), (None, None));
}

#[test]
fn untrusted_forwarding_fields_are_dropped_in_any_spelling() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-Scheme",
        "X-Forwarded-Client-Cert",
        "X-Forwarded",
        "X-Original-URL",
        "X-Original-Host",
        "X-Original-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
    ];
    for name in names {
        let spellings = [name.to_owned(), name.to_lowercase(), name.to_uppercase()];
        let underscored = spellings.clone().map(|name| name.replace('-', "_"));
        let mixed = [name.replacen('-', "_", 1)];
        for spelling in spellings.iter().chain(&underscored).chain(&mixed) {
            for protocol in [Protocol::Http1, Protocol::Http2] {
                let sent: &[(&str, &str)] = &[(spelling, "6.6.6.6"), (spelling, "7.7.7.7")];
                let request = forwarded(&gateway, &origin, protocol, sent);
                assert_eq!(fields_of(&request), UNTRUSTED_PEER_FIELDS, "{protocol:?} {spelling}");
            }
        }
    }
}

#[test]
fn connection_options_cannot_remove_gateway_fields() {
    // CVE-2024-45410: Traefik removed its own fields when `Connection` named them.
    let origin = Origin::named("a");
    let named = "x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, x-forwarded-port, x-real-ip, forwarded, \
                 x-request-id, host, x-own";
    for settings in [Settings::default(), trusting()] {
        let gateway = TestGateway::with(&single_route(&origin), settings);
        let sent = [("Connection", named), ("X-Own", "1"), ("X-Kept", "2")];
        let request = forwarded(&gateway, &origin, Protocol::Http1, &sent);
        let mut fields = fields_of(&request);
        assert_eq!(fields.remove(1), ("x-kept", "2"));
        assert_eq!(fields, UNTRUSTED_PEER_FIELDS);
        assert!(request.field("x-request-id").is_some());
    }
}

#[test]
fn untrusted_forwarding_fields_are_dropped_from_trailers() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Prefix: /\r\nX_Original_Url: /\r\nX-Sum: 1\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.last().trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn forwarded_port_is_that_of_host_or_of_the_scheme() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    struct Case {
        host: &'static str,
        port: &'static str,
        forwarded: &'static str,
    }
    for Case { host, port, forwarded } in [
        Case {
            host: "A.example:81",
            port: "81",
            forwarded: "for=127.0.0.1;proto=http;host=\"A.example:81\"",
        },
        Case { host: "a.example:", port: "80", forwarded: "for=127.0.0.1;proto=http;host=\"a.example:\"" },
        Case { host: "a.example", port: "80", forwarded: "for=127.0.0.1;proto=http;host=a.example" },
    ] {
        assert_eq!(gateway.get(host, "/").status(), 200);
        let request = origin.last();
        assert_eq!(request.field("x-forwarded-port"), Some(port), "{host}");
        assert_eq!(request.field("x-forwarded-host"), Some(host));
        assert_eq!(request.field("forwarded"), Some(forwarded));
    }
}

#[test]
fn client_address_comes_from_a_trusted_peer() {
    let origin = Origin::named("a");
    let gateway = TestGateway::with(&single_route(&origin), trusting());
    let appended = |list: &str| format!("{list}, 127.0.0.1");
    // The client is the rightmost address of X-Forwarded-For that is not a trusted proxy.
    struct Case {
        list: &'static str,
        client: &'static str,
    }
    for Case { list, client } in [
        Case { list: "192.0.2.1", client: "192.0.2.1" },
        Case { list: "6.6.6.6, 192.0.2.1", client: "192.0.2.1" },
        Case { list: "6.6.6.6,192.0.2.1 , 10.1.2.3,127.0.0.9", client: "192.0.2.1" },
        Case { list: "10.1.1.1, 10.2.2.2", client: "10.1.1.1" },
        Case { list: "192.0.2.1:4711", client: "192.0.2.1" },
        Case { list: "2001:db8::1", client: "2001:db8::1" },
        Case { list: "[2001:db8::1]:443, 10.0.0.1", client: "2001:db8::1" },
        Case { list: "[2001:db8::1]", client: "2001:db8::1" },
        Case { list: "::ffff:192.0.2.1", client: "192.0.2.1" },
        // An entry that is not an address ends the search. The addresses to its left are not trusted.
        Case { list: "192.0.2.1, unknown", client: "127.0.0.1" },
        Case { list: "192.0.2.1, unknown, 10.0.0.7", client: "10.0.0.7" },
        Case { list: "192.0.2.1,", client: "127.0.0.1" },
    ] {
        let request = forwarded(&gateway, &origin, Protocol::Http1, &[("X-Forwarded-For", list)]);
        assert_eq!(request.field("x-forwarded-for"), Some(&*appended(list)));
        assert_eq!(request.field("x-real-ip"), Some(client), "{list}");
    }
}

#[test]
fn valid_forwarding_fields_of_a_trusted_peer_are_kept() {
    let origin = Origin::named("a");
    let gateway = TestGateway::with(&single_route(&origin), trusting());
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let sent = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "outside.example:8443"),
            ("x-forwarded-prefix", "/shop"),
            ("x_forwarded_prefix", "/evil"),
            ("forwarded", "for=192.0.2.1"),
        ];
        let expected = [
            ("host", "a.example"),
            ("x-forwarded-prefix", "/shop"),
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 127.0.0.1"),
            ("x-real-ip", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            (
                "forwarded",
                "for=6.6.6.6;proto=https;host=\"outside.example:8443\", for=192.0.2.1, \
                 for=127.0.0.1;proto=http;host=a.example",
            ),
            ("x-forwarded-host", "outside.example:8443"),
            ("x-forwarded-port", "8443"),
        ];
        assert_eq!(fields_of(&forwarded(&gateway, &origin, protocol, &sent)), expected, "{protocol:?}");
    }
    let https = forwarded(&gateway, &origin, Protocol::Http1, &[("X-Forwarded-Proto", "https")]);
    assert_eq!(https.field("x-forwarded-port"), Some("443"), "the scheme sets the port");
}

#[test]
fn invalid_forwarding_fields_of_a_trusted_peer_are_replaced() {
    let origin = Origin::named("a");
    let gateway = TestGateway::with(&single_route(&origin), trusting());
    for field in [
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Host", "a.example/evil"),
        ("X-Forwarded-Host", "a.example, b.example"),
        ("X-Forwarded-Port", "99999"),
        ("X-Forwarded-Port", "+80"),
        ("X-Forwarded-Port", ""),
    ] {
        let request = forwarded(&gateway, &origin, Protocol::Http1, &[field]);
        assert_eq!(fields_of(&request), UNTRUSTED_PEER_FIELDS, "{field:?}");
        let twice = [(field.0, "443"), (field.0, "443")];
        let request = forwarded(&gateway, &origin, Protocol::Http1, &twice);
        assert_eq!(fields_of(&request), UNTRUSTED_PEER_FIELDS, "twice {field:?}");
    }
}

#[test]
fn request_id_of_a_trusted_peer_is_kept_others_are_replaced() {
    let origin = Origin::named("a");
    let request_id = |settings: Settings, fields: &[(&str, &str)], protocol| {
        let gateway = TestGateway::with(&single_route(&origin), settings);
        forwarded(&gateway, &origin, protocol, fields).field("x-request-id").unwrap().to_owned()
    };
    let is_new = |id: &str| id.len() == 32 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        assert!(is_new(&request_id(Settings::default(), &[("x-request-id", "mine-1")], protocol)));
        assert_eq!(request_id(trusting(), &[("x-request-id", "mine-1")], protocol), "mine-1");
        assert!(is_new(&request_id(trusting(), &[], protocol)));
        assert!(is_new(&request_id(trusting(), &[("x-request-id", "not fine")], protocol)));
        assert!(is_new(&request_id(trusting(), &[("x-request-id", &"x".repeat(129))], protocol)));
        assert!(is_new(&request_id(trusting(), &[("x-request-id", "a"), ("x-request-id", "b")], protocol)));
    }
}

#[test]
fn response_has_the_request_id_if_local_or_configured() {
    let origin = Origin::start(|call| {
        call.respond("HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nContent-Length: 0\r\n\r\n")
            .map(|()| Then::Keep)
    });
    let default = TestGateway::start(&single_route(&origin));
    assert_eq!(default.get("a.example", "/").field("x-request-id"), Some("theirs"));
    assert_eq!(default.get("b.example", "/").field("x-request-id").unwrap().len(), 32);
    let mut client = default.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().field("x-request-id").unwrap().len(), 32);

    let settings = settings(|all| all.responses.request_id = RequestIdEcho::Every);
    let echoing = TestGateway::with(&single_route(&origin), settings);
    let id = echoing.get("a.example", "/").field("x-request-id").unwrap().to_owned();
    assert_eq!(origin.last().field("x-request-id"), Some(&*id));
}

#[test]
fn via_is_neither_added_nor_removed() {
    let origin = Origin::start(|call| {
        let via = call.request.field("via").map(|via| format!("Via: {via}\r\n")).unwrap_or_default();
        call.respond(ok("a").replacen("\r\n", &format!("\r\n{via}"), 1)).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").field("via"), None);
    assert_eq!(origin.last().field("via"), None);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 before\r\n\r\n");
    assert_eq!(client.response().field("via"), Some("1.1 before"));
}

#[test]
fn allow_is_sent_even_with_the_reason_header_hidden() {
    let origin = Origin::named("a");
    for (reason_header, reason) in
        [(ReasonHeader::Shown, Some("connect_not_supported")), (ReasonHeader::Hidden, None)]
    {
        let gateway = TestGateway::with(
            &single_route(&origin),
            settings(|all| all.responses.reason_header = reason_header),
        );
        let mut client = gateway.client();
        client.send("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let response = client.message(Follows::Response).unwrap().unwrap();
        assert_eq!((response.status(), response.field("gateway-reason")), (405, reason));
        assert!(response.field("allow").is_some());
    }
}

#[test]
fn kept_underscores_let_no_forwarding_field_of_a_trusted_peer_pass() {
    let origin = Origin::named("a");
    let mut settings = trusting();
    settings.requests.underscore_names = UnderscoreNames::Kept;
    let gateway = TestGateway::with(&single_route(&origin), settings);
    for name in ["X_Forwarded_For", "x_forwarded-for", "X_FORWARDED_PREFIX", "X_Real_IP", "X_Original_Url"] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let sent = [(name, "6.6.6.6"), ("x_own", "1"), ("x-forwarded-prefix", "/shop")];
            let request = forwarded(&gateway, &origin, protocol, &sent);
            assert!(!format!("{:?}", request.fields).contains("6.6.6.6"), "{protocol:?} {name}");
            assert_eq!(request.field("x_own"), Some("1"), "other fields with an underscore pass");
            assert_eq!(request.field("x-forwarded-prefix"), Some("/shop"), "the peer is trusted");
        }
    }
}
