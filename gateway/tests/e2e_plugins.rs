//! Wasm plugins over HTTP/1.1 and HTTP/2: heads, bodies, trailers, local replies, callouts, properties, order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use plugins::{
    PROTOCOLS, Protocol, Sent, get, go_module, is_closed, module, post, start, until_live, wasm_plugin,
};
use support::fixtures::{Manifests, ingress, service};
use support::{Message, Origin, Refusing, Then, ok, single_route, until};

/// An origin that responds to `/trailers` with trailers, to `/size/N` with N bytes, and else with the body it received.
fn origin() -> Origin {
    Origin::start(|call| {
        call.read_body()?;
        let response = match call.request.target().split_once("/size/") {
            Some((_, size)) => ok(&"a".repeat(size.parse().unwrap())),
            None => match call.request.target() {
                "/trailers" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\
                                X-Gone: 2\r\n\r\n"
                        .to_owned()
                }
                "/secret" => ok("a secret"),
                _ => {
                    let body = String::from_utf8_lossy(&call.request.body);
                    ok(&body).replacen("\r\n", "\r\nX-Multi: a\r\nX-Multi: b\r\nX-Gone: 1\r\n", 1)
                }
            },
        };
        std::io::Write::write_all(&mut call.wire.stream, response.as_bytes()).map(|()| Then::Keep)
    })
}

/// Returns the route of `a.example` with one plugin, whose module is `guest.wasm`.
fn routed(origin: &Origin, config: &str, spec: &str) -> Manifests {
    let plugin = wasm_plugin("guest", "guest.wasm").config(config).spec("limits: {callTimeout: 1s}");
    single_route(origin) + if spec.is_empty() { plugin } else { plugin.spec(spec) }
}

/// Returns all values of a field.
fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn heads_are_edited_in_both_directions() {
    let Some(path) = module("headers", "heads_are_edited_in_both_directions") else { return };
    let origin = origin();
    let edits = "request set x-set one\nrequest add x-multi three\nrequest remove x-gone\nrequest join x-multi x-all\n\
                 response set x-set two\nresponse remove x-gone\nresponse join x-multi x-all\nresponse set :status 202";
    let gateway = start(&routed(&origin, edits, ""), &[("guest.wasm", &path)]);
    let request =
        get("/").field("x-set", "forged").field("x-multi", "1").field("x-multi", "2").field("x-gone", "1");
    for protocol in PROTOCOLS {
        let response = request.send(gateway.gateway.http, protocol);
        assert_eq!((response.status, response.field("x-set")), (202, Some("two")), "{protocol:?}");
        assert_eq!((response.field("x-all"), response.field("x-gone")), (Some("a|b"), None), "{protocol:?}");
        let seen = origin.last();
        assert_eq!((seen.field("x-set"), seen.field("x-gone")), (Some("one"), None), "{protocol:?}");
        assert_eq!(seen.field("x-all"), Some("1|2|three"), "{protocol:?}");
        assert_eq!(values(&seen.fields, "x-multi"), ["1", "2", "three"], "{protocol:?}");
    }
}

#[test]
fn plugin_cannot_write_what_only_the_gateway_writes() {
    let Some(path) = module("headers", "plugin_cannot_write_what_only_the_gateway_writes") else { return };
    let origin = origin();
    let edits = "request set content-length 1\nrequest set x-forwarded-for 192.0.2.1\nrequest set transfer-encoding x\n\
                 request set connection x-set\nrequest set x-set 1\nresponse set content-length 1\n\
                 response set transfer-encoding x\nresponse set connection close\nresponse set x-set 1";
    let gateway = start(&routed(&origin, edits, ""), &[("guest.wasm", &path)]);
    for protocol in PROTOCOLS {
        let response = post("/", "hello").send(gateway.gateway.http, protocol);
        assert_eq!((response.status, response.text()), (200, "hello"), "{protocol:?}");
        assert_eq!(
            (response.field("x-set"), response.field("connection")),
            (Some("1"), None),
            "{protocol:?}"
        );
        let seen = origin.last();
        assert_eq!((seen.text(), seen.field("x-set")), ("hello", Some("1")), "{protocol:?}");
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"), "{protocol:?}");
    }
}

#[test]
fn local_reply_replaces_the_exchange() {
    let Some(path) = module("auth", "local_reply_replaces_the_exchange") else { return };
    let origin = origin();
    let plugin =
        wasm_plugin("guest", "guest.wasm").spec("pluginConfig: {key: k, consumer: shop}\nphase: AUTHN");
    let gateway = start(&(single_route(&origin) + plugin), &[("guest.wasm", &path)]);
    for protocol in PROTOCOLS {
        let before = origin.heads();
        for request in [get("/"), get("/").field("x-api-key", "wrong"), post("/", vec![b'a'; 256 << 10])] {
            let response = request.send(gateway.gateway.http, protocol);
            assert_eq!((response.status, response.text()), (401, "no valid key\n"), "{protocol:?}");
            assert_eq!(response.field("www-authenticate"), Some("Key"), "{protocol:?}");
        }
        assert_eq!(origin.heads(), before, "{protocol:?}");
        let response = post("/", "hello").field("x-api-key", "k").send(gateway.gateway.http, protocol);
        assert_eq!((response.status, response.text()), (200, "hello"), "{protocol:?}");
        let seen = origin.last();
        assert_eq!((seen.field("x-consumer"), seen.field("x-api-key")), (Some("shop"), None), "{protocol:?}");
    }
}

#[test]
fn bodies_are_streamed_buffered_and_limited() {
    let Some(path) = module("body", "bodies_are_streamed_buffered_and_limited") else { return };
    let origin = origin();
    for (mode, largest) in [("stream", 3 << 20), ("buffer", 1 << 20)] {
        let gateway = start(
            &routed(&origin, &format!("request {mode}\nresponse {mode}"), ""),
            &[("guest.wasm", &path)],
        );
        for protocol in PROTOCOLS {
            for size in [0, 5, 64 << 10, largest] {
                let response = post("/", "a".repeat(size)).send(gateway.gateway.http, protocol);
                let context = format!("{mode} {protocol:?} {size}");
                assert_eq!((response.status, response.body.len()), (200, size), "{context}");
                assert!(response.body.iter().all(|byte| *byte == b'A'), "{context}");
                assert!(origin.last().body.iter().all(|byte| *byte == b'A'), "{context}");
            }
            let response =
                post("/trailers", "hello").trailer("x-t", "1").send(gateway.gateway.http, protocol);
            assert_eq!(
                (response.text(), values(&response.trailers, "x-sum")),
                ("OK", vec!["1"]),
                "{mode} {protocol:?}"
            );
            let seen = origin.last();
            assert_eq!(
                (seen.text(), values(&seen.trailers, "x-t")),
                ("HELLO", vec!["1"]),
                "{mode} {protocol:?}"
            );
        }
    }
    let gateway = start(&routed(&origin, "request buffer", ""), &[("guest.wasm", &path)]);
    for protocol in PROTOCOLS {
        let before = origin.count();
        let response = post("/", "a".repeat(3 << 20)).send(gateway.gateway.http, protocol);
        assert_eq!((response.status, origin.count()), (413, before), "{protocol:?}");
    }
}

#[test]
fn body_decides_before_the_head_leaves() {
    let Some(path) = module("body", "body_decides_before_the_head_leaves") else { return };
    let origin = origin();
    let yaml = routed(&origin, "request verdict\nresponse verdict", "allowOnHeadersStopIteration: true");
    let gateway = start(&yaml, &[("guest.wasm", &path)]);
    for protocol in PROTOCOLS {
        let response = get("/secret").send(gateway.gateway.http, protocol);
        assert_eq!((response.status, response.text()), (451, "blocked\n"), "{protocol:?}");
        assert_eq!(response.field("x-body-size"), Some("8"), "{protocol:?}");
        let response = post("/", "hello").send(gateway.gateway.http, protocol);
        assert_eq!((response.status, response.text()), (200, "HELLO"), "{protocol:?}");
        assert_eq!(origin.last().field("x-body-size"), Some("5"), "{protocol:?}");
        let before = origin.heads();
        let response = post("/", "a secret").send(gateway.gateway.http, protocol);
        assert_eq!((response.status, origin.heads()), (403, before), "{protocol:?}");
    }
}

#[test]
fn trailers_are_edited_in_both_directions() {
    let Some(path) = module("headers", "trailers_are_edited_in_both_directions") else { return };
    let origin = origin();
    let edits = "request_trailers set x-set one\nrequest_trailers remove x-gone\nresponse_trailers add x-sum 3\n\
                 response_trailers remove x-gone";
    let gateway = start(&routed(&origin, edits, ""), &[("guest.wasm", &path)]);
    let request = post("/trailers", "hello").trailer("x-gone", "1").trailer("x-kept", "2");
    for protocol in PROTOCOLS {
        let response = request.send(gateway.gateway.http, protocol);
        assert_eq!(response.text(), "ok", "{protocol:?}");
        assert_eq!(values(&response.trailers, "x-sum"), ["1", "3"], "{protocol:?}");
        assert_eq!(response.trailers.len(), 2, "{protocol:?}");
        let mut seen = origin.last();
        seen.trailers.sort();
        let expected = [("x-kept", "2"), ("x-set", "one")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!((seen.text(), &seen.trailers[..]), ("hello", &expected[..]), "{protocol:?}");
    }
}

#[test]
fn callout_decides_on_the_request() {
    let Some(path) = module("callout", "callout_decides_on_the_request") else { return };
    let (origin, refusing) = (origin(), Refusing::new());
    let check = Origin::start(|call| {
        let (status, user) = match call.request.field("x-original-path") {
            Some("/denied") => ("403 Forbidden", "none"),
            Some("/odd") => ("500 Internal Server Error", "none"),
            _ => ("200 OK", "alice"),
        };
        let response = format!("HTTP/1.1 {status}\r\nX-User: {user}\r\nContent-Length: 6\r\n\r\nanswer");
        call.respond(response).map(|()| Then::Keep)
    });
    let upstream = "outbound|80||check.default.svc.cluster.local";
    let spec = "allowedUpstreams: ['check:80', 'down:80']";
    let yaml = |name: &str| {
        routed(&origin, &format!("upstream {name}\npath /check"), spec)
            + service("check").endpoints(&[check.address])
            + service("down").endpoints(&[refusing.address])
    };
    let gateway = start(&yaml(upstream), &[("guest.wasm", &path)]);
    for protocol in PROTOCOLS {
        for (target, status, text) in [
            ("/", 200, "hello"),
            ("/denied", 403, "denied: answer\n"),
            ("/odd", 503, "the upstream replied 500\n"),
        ] {
            let before = origin.count();
            let response = post(target, "hello").send(gateway.gateway.http, protocol);
            assert_eq!((response.status, response.text()), (status, text), "{protocol:?} {target}");
            assert_eq!(origin.count() - before, usize::from(status == 200), "{protocol:?} {target}");
            let asked = check.last();
            assert_eq!((asked.line.as_str(), asked.text()), ("POST /check HTTP/1.1", "ask"), "{protocol:?}");
        }
        assert_eq!(origin.last().field("x-user"), Some("alice"), "{protocol:?}");
    }
    gateway.replace("all.yaml", &yaml(&upstream.replace("check", "down")));
    support::until("the new configuration is live", || {
        get("/").send(gateway.gateway.http, Protocol::Http1).status == 503
    });
    let response = get("/").send(gateway.gateway.http, Protocol::Http1);
    assert!(response.text().starts_with("the "), "the plugin decides: {response:?}");
    gateway.replace("all.yaml", &yaml(&upstream.replace("check", "foreign")));
    support::until("the upstream is refused", || {
        get("/").send(gateway.gateway.http, Protocol::Http1).text() == "no call: BadArgument\n"
    });
}

#[test]
fn properties_describe_request_response_and_plugin() {
    let Some(path) = module("properties", "properties_describe_request_response_and_plugin") else { return };
    let origin = origin();
    let paths = [
        ("request.path", "/x?a=b"),
        ("request.url_path", "/x"),
        ("request.query", "a=b"),
        ("request.host", "a.example"),
        ("request.method", "GET"),
        ("request.scheme", "http"),
        ("request.headers.x-one", "1"),
        ("request.useragent", "test"),
        ("own", "value"),
        ("unknown.thing", "(none)"),
    ];
    let lines: String = paths.iter().map(|(path, _)| format!("request {path}\n")).collect();
    let gateway = start(&routed(&origin, &format!("set own value\n{lines}"), ""), &[("guest.wasm", &path)]);
    let expected: String = paths.iter().map(|(path, value)| format!("{path}={value}\n")).collect();
    for protocol in PROTOCOLS {
        let request = get("/x?a=b").field("x-one", "1").field("user-agent", "test");
        let response = request.send(gateway.gateway.http, protocol);
        assert_eq!((response.status, response.text()), (200, expected.as_str()), "{protocol:?}");
    }
}

#[test]
fn shared_data_counts_over_connections() {
    let Some(path) = module("shared", "shared_data_counts_over_connections") else { return };
    let origin = origin();
    let gateway = start(&routed(&origin, "", ""), &[("guest.wasm", &path)]);
    let count = |protocol| -> u32 {
        get("/").send(gateway.gateway.http, protocol).field("x-count").unwrap().parse().unwrap()
    };
    let first = count(Protocol::Http1);
    assert_eq!((count(Protocol::Http2), count(Protocol::Http1)), (first + 1, first + 2));
    let response = || get("/last").send(gateway.gateway.http, Protocol::Http1);
    support::until("the queue is delivered", || response().field("x-last") == Some("/last"));
    support::until("the plugin ticks", || {
        response().field("x-ticks").is_some_and(|ticks| ticks.parse::<u32>().unwrap() > 1)
    });
}

#[test]
fn plugins_run_in_the_order_of_phase_and_priority() {
    let Some(path) = module("headers", "plugins_run_in_the_order_of_phase_and_priority") else { return };
    let origin = origin();
    let plugin = |name: &str, spec: &str| {
        let config = format!("request add x-order {name}\nresponse add x-order {name}");
        wasm_plugin(name, "guest.wasm").config(&config).spec(spec)
    };
    let yaml = single_route(&origin)
        + plugin("stats", "phase: STATS\npriority: 100")
        + plugin("b", "priority: 1")
        + plugin("a", "priority: 1")
        + plugin("high", "priority: 2")
        + plugin("authz", "phase: AUTHZ")
        + plugin("authn", "phase: AUTHN");
    let gateway = start(&yaml, &[("guest.wasm", &path)]);
    let order = ["authn", "authz", "high", "a", "b", "stats"];
    for protocol in PROTOCOLS {
        let response = get("/").send(gateway.gateway.http, protocol);
        assert_eq!(values(&origin.last().fields, "x-order"), order, "{protocol:?}");
        let mut answered = values(&response.fields, "x-order");
        answered.reverse();
        assert_eq!(answered, order, "{protocol:?}");
    }
}

#[test]
fn missing_file_closes_its_own_routes_until_it_appears() {
    let Some(path) = module("headers", "missing_file_closes_its_own_routes_until_it_appears") else { return };
    let origin = origin();
    let other = ingress("b").host("b.example").path("/", "a");
    let plugin = wasm_plugin("late", "late.wasm").target_ingress("a").config("response set x-late 1");
    let gateway = support::TestGateway::start(&(single_route(&origin) + other + plugin));
    let response = get("/").send(gateway.gateway.http, Protocol::Http1);
    assert_eq!(response.status, 503, "{response:?}");
    assert!(is_closed(&response), "{response:?}");
    assert_eq!(gateway.get("b.example", "/").status(), 200);
    assert_eq!(gateway.admin("/readyz").0, 200, "a plugin does not gate readiness");
    until("the Problem is there", || gateway.admin("/problems").1.contains("late.wasm"));
    std::fs::copy(path, gateway.path(".new")).unwrap();
    std::fs::rename(gateway.path(".new"), gateway.path("late.wasm")).unwrap();
    until_live(&gateway, &get("/"));
    assert_eq!(get("/").send(gateway.gateway.http, Protocol::Http1).field("x-late"), Some("1"));
}

#[test]
fn routes_of_other_namespaces_have_no_plugin() {
    let Some(path) = module("headers", "routes_of_other_namespaces_have_no_plugin") else { return };
    let origin = origin();
    let foreign = ingress("b").namespace("other").host("b.example").path("/", "a")
        + service("a").namespace("other").endpoints(&[origin.address]);
    let gateway = start(&(routed(&origin, "response set x-own 1", "") + foreign), &[("guest.wasm", &path)]);
    assert_eq!(gateway.get("a.example", "/").field("x-own"), Some("1"));
    let response: Message = gateway.get("b.example", "/");
    assert_eq!((response.status(), response.field("x-own")), (200, None));
}

#[test]
fn plugin_in_go_edits_heads() {
    let Some(path) = go_module("plugin_in_go_edits_heads") else { return };
    let origin = origin();
    let gateway = start(&routed(&origin, "x-from go", ""), &[("guest.wasm", &path)]);
    for protocol in PROTOCOLS {
        let request: Sent = post("/", "hello");
        let response = request.send(gateway.gateway.http, protocol);
        assert_eq!((response.text(), response.field("x-from")), ("hello", Some("go")), "{protocol:?}");
        assert_eq!(origin.last().field("x-from"), Some("go"), "{protocol:?}");
    }
}
