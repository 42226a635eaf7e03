//! What an endpoint is told of where a request comes from, and what requests are called: by peers that are
//! believed and by all others, over HTTP/1.1 and HTTP/2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use gateway::settings::{ReasonHeader, RequestIdEcho, Settings};
use support::{DEADLINE, Follows, Message, Origin, TestGateway, Then, ok, one, settings};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}

/// Sends a GET for host `a.example` with these fields, and gives what the endpoint saw.
fn seen(gateway: &TestGateway, origin: &Origin, over: Over, fields: &[(&str, &str)]) -> Message {
    match over {
        Over::Http1 => {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let mut client = gateway.client();
            client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
            assert_eq!(client.response().status(), 200, "{fields:?}");
        }
        Over::Http2 => {
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
                    let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
                    assert_eq!(answer.await.unwrap().status(), 200, "{fields:?}");
                };
                tokio::time::timeout(DEADLINE, exchange).await.unwrap();
            });
        }
    }
    origin.last()
}

/// The fields but for `X-Request-ID`, which is a new one each time.
fn told(seen: &Message) -> Vec<(&str, &str)> {
    let fields = seen.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    fields.filter(|(name, _)| *name != "x-request-id").collect()
}

/// What is told of a peer that is not believed.
const OURS: [(&str, &str); 7] = [
    ("host", "a.example"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-real-ip", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("forwarded", "for=127.0.0.1;proto=http;host=a.example"),
    ("x-forwarded-host", "a.example"),
    ("x-forwarded-port", "80"),
];

fn trusting() -> Settings {
    settings(|all| {
        all.requests.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    })
}

#[test]
fn an_endpoint_is_told_that_the_client_takes_trailers_and_of_te_nothing_else() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
    for (value, taken) in [
        ("trailers", true),
        ("gzip;q=0.5, Trailers", true),
        ("gzip", false),
        ("trailers;q=0.5", false),
        ("xtrailers", false),
    ] {
        let asked = seen(&gateway, &origin, Over::Http1, &[("TE", value), ("Connection", "TE")]);
        let expected = if taken { (Some("trailers"), Some("te")) } else { (None, None) };
        assert_eq!((asked.field("te"), asked.field("connection")), expected, "{value}");
    }
    let asked = seen(&gateway, &origin, Over::Http2, &[("te", "trailers")]);
    assert_eq!((asked.field("te"), asked.field("connection")), (Some("trailers"), Some("te")));
    // HTTP/1.0 knows no trailers.
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\nTE: trailers\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!((origin.last().field("te"), origin.last().field("connection")), (None, None));
}

#[test]
fn what_a_peer_without_trust_says_of_hops_never_survives_in_any_spelling() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
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
            for over in [Over::Http1, Over::Http2] {
                let sent: &[(&str, &str)] = &[(spelling, "6.6.6.6"), (spelling, "7.7.7.7")];
                assert_eq!(told(&seen(&gateway, &origin, over, sent)), OURS, "{over:?} {spelling}");
            }
        }
    }
}

#[test]
fn connection_cannot_strip_what_the_gateway_says() {
    // CVE-2024-45410: Traefik removed its own fields when `Connection` named them.
    let origin = Origin::named("a");
    let named = "x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, x-forwarded-port, x-real-ip, forwarded, \
                 x-request-id, host, x-own";
    for settings in [Settings::default(), trusting()] {
        let gateway = TestGateway::with(&one(&origin), settings);
        let sent = [("Connection", named), ("X-Own", "1"), ("X-Kept", "2")];
        let seen = seen(&gateway, &origin, Over::Http1, &sent);
        let mut told = told(&seen);
        assert_eq!(told.remove(1), ("x-kept", "2"));
        assert_eq!(told, OURS);
        assert!(seen.field("x-request-id").is_some());
    }
}

#[test]
fn what_follows_in_trailers_is_held_to_the_same_rule() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Prefix: /\r\nX_Original_Url: /\r\nX-Sum: 1\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.last().trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn the_port_told_is_the_one_that_the_client_named_or_the_schemes() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
    for (host, port, forwarded) in [
        ("A.example:81", "81", "for=127.0.0.1;proto=http;host=\"A.example:81\""),
        ("a.example:", "80", "for=127.0.0.1;proto=http;host=\"a.example:\""),
        ("a.example", "80", "for=127.0.0.1;proto=http;host=a.example"),
    ] {
        assert_eq!(gateway.get(host, "/").status(), 200);
        let seen = origin.last();
        assert_eq!(seen.field("x-forwarded-port"), Some(port), "{host}");
        assert_eq!(seen.field("x-forwarded-host"), Some(host));
        assert_eq!(seen.field("forwarded"), Some(forwarded));
    }
}

#[test]
fn a_trusted_peer_is_believed_where_it_can_be_true() {
    let origin = Origin::named("a");
    let gateway = TestGateway::with(&one(&origin), trusting());
    let appended = |list: &str| format!("{list}, 127.0.0.1");
    // What it says in X-Forwarded-For, and who is the client then: the rightmost that is no proxy of ours.
    for (list, client) in [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6,192.0.2.1 , 10.1.2.3,127.0.0.9", "192.0.2.1"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443, 10.0.0.1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        // Who is not named is not believed further.
        ("192.0.2.1, unknown", "127.0.0.1"),
        ("192.0.2.1, unknown, 10.0.0.7", "10.0.0.7"),
        ("192.0.2.1,", "127.0.0.1"),
    ] {
        let seen = seen(&gateway, &origin, Over::Http1, &[("X-Forwarded-For", list)]);
        assert_eq!(seen.field("x-forwarded-for"), Some(&*appended(list)));
        assert_eq!(seen.field("x-real-ip"), Some(client), "{list}");
    }
    for over in [Over::Http1, Over::Http2] {
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
            ("forwarded", "for=192.0.2.1, for=127.0.0.1;proto=http;host=a.example"),
            ("x-forwarded-host", "outside.example:8443"),
            ("x-forwarded-port", "8443"),
        ];
        assert_eq!(told(&seen(&gateway, &origin, over, &sent)), expected, "{over:?}");
    }
    // What cannot be true is overwritten, as from anybody.
    for field in [
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Proto", "https, http"),
        ("X-Forwarded-Host", "a.example/evil"),
        ("X-Forwarded-Host", "a.example, b.example"),
        ("X-Forwarded-Port", "99999"),
        ("X-Forwarded-Port", "+80"),
        ("X-Forwarded-Port", ""),
    ] {
        assert_eq!(told(&seen(&gateway, &origin, Over::Http1, &[field])), OURS, "{field:?}");
        let twice = [(field.0, "443"), (field.0, "443")];
        assert_eq!(told(&seen(&gateway, &origin, Over::Http1, &twice)), OURS, "twice {field:?}");
    }
    let https = seen(&gateway, &origin, Over::Http1, &[("X-Forwarded-Proto", "https")]);
    assert_eq!(https.field("x-forwarded-port"), Some("443"), "the port goes with the scheme");
}

#[test]
fn a_request_is_called_what_a_trusted_peer_calls_it_or_gets_a_new_name() {
    let origin = Origin::named("a");
    let own = |settings: Settings, fields: &[(&str, &str)], over| {
        let gateway = TestGateway::with(&one(&origin), settings);
        seen(&gateway, &origin, over, fields).field("x-request-id").unwrap().to_owned()
    };
    let is_new = |id: &str| id.len() == 32 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    for over in [Over::Http1, Over::Http2] {
        assert!(is_new(&own(Settings::default(), &[("x-request-id", "mine-1")], over)));
        assert_eq!(own(trusting(), &[("x-request-id", "mine-1")], over), "mine-1");
        assert!(is_new(&own(trusting(), &[], over)));
        assert!(is_new(&own(trusting(), &[("x-request-id", "not fine")], over)));
        assert!(is_new(&own(trusting(), &[("x-request-id", &"x".repeat(129))], over)));
        assert!(is_new(&own(trusting(), &[("x-request-id", "a"), ("x-request-id", "b")], over)));
    }
}

#[test]
fn answers_tell_the_request_id_if_they_are_the_gateways_or_the_settings_say_so() {
    let origin = Origin::start(|call| {
        call.answer("HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nContent-Length: 0\r\n\r\n")
            .map(|()| Then::Keep)
    });
    let quiet = TestGateway::start(&one(&origin));
    assert_eq!(quiet.get("a.example", "/").field("x-request-id"), Some("theirs"));
    assert_eq!(quiet.get("b.example", "/").field("x-request-id").unwrap().len(), 32);
    let mut client = quiet.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().field("x-request-id").unwrap().len(), 32);

    let settings = settings(|all| all.responses.request_id = RequestIdEcho::Every);
    let telling = TestGateway::with(&one(&origin), settings);
    let told = telling.get("a.example", "/").field("x-request-id").unwrap().to_owned();
    assert_eq!(origin.last().field("x-request-id"), Some(&*told));
}

#[test]
fn via_is_neither_added_nor_removed() {
    let origin = Origin::start(|call| {
        let via = call.request.field("via").map(|via| format!("Via: {via}\r\n")).unwrap_or_default();
        call.answer(ok("a").replacen("\r\n", &format!("\r\n{via}"), 1)).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").field("via"), None);
    assert_eq!(origin.last().field("via"), None);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 before\r\n\r\n");
    assert_eq!(client.response().field("via"), Some("1.1 before"));
}

#[test]
fn allow_is_no_reason_and_is_told_even_if_reasons_are_not() {
    let origin = Origin::named("a");
    for (reason_header, reason) in
        [(ReasonHeader::Shown, Some("connect_not_supported")), (ReasonHeader::Hidden, None)]
    {
        let gateway =
            TestGateway::with(&one(&origin), settings(|all| all.responses.reason_header = reason_header));
        let mut client = gateway.client();
        client.send("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let answer = client.message(Follows::Response).unwrap().unwrap();
        assert_eq!((answer.status(), answer.field("gateway-reason")), (405, reason));
        assert!(answer.field("allow").is_some());
    }
}
