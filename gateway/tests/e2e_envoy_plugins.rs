//! The same plugins in Envoy and in the gateway: same responses, and same requests at the endpoint.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/beside_envoy.rs"]
mod beside_envoy;
#[path = "support/envoy.rs"]
mod envoy;
#[path = "../plugin-host/guests/envoy.rs"]
mod envoy_config;
#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use beside_envoy::{CHECK, Case, Part, compare};
use plugins::{Sent, get, module, post};

/// Why replies of the hosts themselves differ.
const OWN_WORDS: &str = "each host has its own words for a reply of its own";

/// Returns true, and notes it, if the guests cannot be built here.
fn is_without_guests(test: &str) -> bool {
    module("noop", test).is_none()
}

#[test]
fn edits_of_fields_and_trailers_are_equal() {
    if is_without_guests("fields beside Envoy") {
        return;
    }
    let edits = "request set x-set one two\nrequest add x-multi three\nrequest remove x-gone\nrequest join x-multi x-all\n\
                 request set :path /fields\nresponse set x-set four\nresponse add x-multi five\nresponse remove x-gone\n\
                 response join x-multi x-all\nresponse set :status 202";
    let trailers = "request_trailers set x-set one\nrequest_trailers add x-sum 2\nrequest_trailers remove x-gone\n\
                    response_trailers set x-set two\nresponse_trailers add x-sum 3\nresponse_trailers remove x-gone";
    let with_fields = |request: Sent| {
        request.field("x-gone", "1").field("x-multi", "1").field("x-multi", "2").field("x-set", "forged")
    };
    let with_trailers = |request: Sent| request.trailer("x-sum", "1").trailer("x-gone", "2");
    compare(&[
        Case::new(
            "fields",
            "headers",
            edits,
            vec![get("/fields"), with_fields(get("/other")), with_fields(post("/", "hello"))],
        ),
        Case::new(
            "trailers",
            "headers",
            trailers,
            vec![
                get("/trailers"),
                post("/trailers", "hello"),
                with_trailers(post("/trailers", "hello")),
                with_trailers(post("/echo", "")),
            ],
        ),
    ]);
}

#[test]
fn local_replies_are_equal() {
    if is_without_guests("local replies beside Envoy") {
        return;
    }
    let config = r#"{"key": "k", "consumer": "shop"}"#;
    compare(&[Case::new(
        "auth",
        "auth",
        config,
        vec![
            get("/").field("x-api-key", "k"),
            post("/", "hello").field("x-api-key", "k"),
            get("/"),
            get("/").field("x-api-key", "wrong"),
            get("/").field("x-api-key", "k").field("x-api-key", "k"),
            post("/", "hello"),
            post("/", "a".repeat(64 << 10)),
        ],
    )]);
}

#[test]
fn bodies_are_equal() {
    if is_without_guests("bodies beside Envoy") {
        return;
    }
    let requests = || {
        let bodies = [0, 5, 64 << 10].map(|size| post("/", "a".repeat(size)));
        let responses = ["/empty", "/size/5", "/size/65536", "/secret", "/trailers"].map(get);
        bodies.into_iter().chain(responses).chain([post("/", "a secret")]).collect::<Vec<_>>()
    };
    let both = |mode: &str| format!("request {mode}\nresponse {mode}");
    compare(&[
        Case::new("streamed", "body", &both("stream"), requests()),
        Case::new("buffered", "body", &both("buffer"), requests()),
        Case::new("replaced", "body", &both("replace"), requests()),
        Case::new("verdict", "body", &both("verdict"), requests()).holds_head(),
        Case::new(
            "beyond the limit, request",
            "body",
            "request buffer",
            vec![post("/", "a".repeat(3 << 20))],
        )
        .differs(&[(Part::Fields, OWN_WORDS), (Part::Body, OWN_WORDS)]),
        Case::new("beyond the limit, response", "body", "response buffer", vec![get("/size/3000000")])
            .differs(&[(
                Part::Status,
                "Envoy has sent the head; the gateway still holds it, and replies 500",
            )]),
    ]);
}

#[test]
fn callouts_are_equal() {
    if is_without_guests("callouts beside Envoy") {
        return;
    }
    let config = |phase: &str| format!("upstream {CHECK}\npath /check\nphase {phase}");
    let requests =
        || vec![get("/"), get("/denied"), get("/odd"), post("/", "hello"), post("/denied", "hello")];
    let unknown = "upstream outbound|80||other.default.svc.cluster.local";
    compare(&[
        Case::new("request head", "callout", &config("request_headers"), requests()),
        Case::new("request body", "callout", &config("request_body"), requests()),
        Case::new("response head", "callout", &config("response_headers"), requests()),
        Case::new("upstream down", "callout", &config("request_headers"), vec![get("/"), post("/", "hello")])
            .check_down()
            .differs(&[(
                Part::Body,
                "Envoy makes up a response with status 503; by the ABI a failed call has no fields",
            )]),
        Case::new("unknown upstream", "callout", unknown, vec![get("/")]),
    ]);
}

#[test]
fn properties_are_equal() {
    if is_without_guests("properties beside Envoy") {
        return;
    }
    let request = [
        "request.path",
        "request.url_path",
        "request.host",
        "request.scheme",
        "request.method",
        "request.headers.x-one",
        "request.headers.x-none",
        "request.referer",
        "request.useragent",
        "request.protocol",
        "request.query",
        "plugin_root_id",
        "response.code",
        "unknown",
        "request.unknown",
        "own",
    ];
    let response = ["response.code", "response.headers.x-kept", "own"];
    let known_later = ["request.method", "request.path", "request.query"];
    let lines = |kind: &str, paths: &[&str]| -> String {
        paths.iter().map(|path| format!("{kind} {path}\n")).collect()
    };
    let set = "set own value\n";
    let requests =
        || vec![get("/fields?a=b&c").field("x-one", "1").field("user-agent", "test"), post("/x", "hello")];
    compare(&[
        Case::new("in a request", "properties", &(lines("request", &request) + set), requests()),
        Case::new("in a response", "properties", &(lines("response", &response) + set), requests()),
        Case::new(
            "of the request, in a response",
            "properties",
            &lines("response", &known_later),
            requests(),
        )
        .differs(&[(Part::Fields, "Envoy has the request's properties during the request only")]),
    ]);
}

#[test]
fn large_action_values_are_equal() {
    if is_without_guests("action values beside Envoy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let case = |name, phase: &str, value: u32, code: &str| {
        let path = folder.path().join(format!("{phase}-{value}.wasm"));
        std::fs::write(&path, action_module(phase, code)).unwrap();
        Case::with(name, vec![(path, String::new())], vec![post("/", "hello"), get("/size/5")])
    };
    let bodies = ["request_body", "response_body"].into_iter().flat_map(|phase| {
        [1, 2].map(|value| {
            let code = format!("(select (i32.const 0) (i32.const {value}) (local.get 2))");
            case("action value of a body", phase, value, &code)
        })
    });
    let heads = [("request_headers", 0), ("response_headers", 1)].into_iter().flat_map(|(phase, stream)| {
        [1, 3, 4].map(|value| {
            let code = format!("(call $ask (local.get 0) (i32.const {stream})) (i32.const {value})");
            case("action value of a head", phase, value, &code)
        })
    });
    compare(&bodies.chain(heads).collect::<Vec<_>>());
}

/// Returns a module with a callback of three parameters. Its code may call `$ask` with context and stream type: the
/// stream continues when a callout has ended.
fn action_module(phase: &str, code: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":path", "/"), (":authority", "check")];
    let mut pairs = u32::try_from(fields.len()).unwrap().to_le_bytes().to_vec();
    for length in fields.iter().flat_map(|(name, value)| [name.len(), value.len()]) {
        pairs.extend(u32::try_from(length).unwrap().to_le_bytes());
    }
    for text in fields.iter().flat_map(|(name, value)| [name, value]) {
        pairs.extend(text.bytes().chain([0]));
    }
    let escaped: String = pairs.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let (name_size, pairs_size) = (CHECK.len(), pairs.len());
    let text = format!(
        r#"(module
            (import "env" "proxy_http_call" (func $http_call
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_effective_context" (func $set_context (param i32) (result i32)))
            (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{CHECK}")
            (data (i32.const 512) "{escaped}")
            (global $context (mut i32) (i32.const 0))
            (global $stream (mut i32) (i32.const 0))
            (func $ask (param i32 i32)
                (global.set $context (local.get 0))
                (global.set $stream (local.get 1))
                (if (call $http_call
                    (i32.const 0) (i32.const {name_size}) (i32.const 512) (i32.const {pairs_size})
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 1020))
                    (then (unreachable))))
            (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
                (drop (call $set_context (global.get $context)))
                (drop (call $continue (global.get $stream))))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_{phase}") (param i32 i32 i32) (result i32) {code}))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn chains_are_equal() {
    if is_without_guests("chains beside Envoy") {
        return;
    }
    let guest = |name: &str, config: &str| (module(name, "chains beside Envoy").unwrap(), config.to_owned());
    let chain = vec![
        guest("headers", "request set x-api-key k\nresponse add x-order first"),
        guest("auth", r#"{"key": "k", "consumer": "shop"}"#),
        guest("body", "request buffer\nresponse stream"),
        guest("headers", "request join x-consumer x-seen\nresponse add x-order last"),
    ];
    let refusing = vec![
        guest("headers", "response add x-order first"),
        guest("auth", r#"{"key": "k", "consumer": "shop"}"#),
        guest("headers", "request set x-late 1\nresponse add x-order last"),
    ];
    let requests = || vec![get("/fields"), post("/", "hello"), get("/secret")];
    compare(&[
        Case::with("chain", chain, requests()),
        Case::with("a reply in the middle", refusing, requests()),
    ]);
}
