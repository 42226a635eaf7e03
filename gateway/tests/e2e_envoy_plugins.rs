//! The same plugins in Envoy and in the gateway: same responses, and same requests at the endpoint.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

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

use std::net::SocketAddr;
use std::path::PathBuf;

use envoy::Envoy;
use envoy_config::{Cluster, Plugin, Setup};
use missing::skipped;
use plugins::{PROTOCOLS, Protocol, Sent, get, module, post, wasm_plugin};
use support::fixtures::service;
use support::{Message, Origin, Refusing, Then, ok, single_route};

/// Name of the upstream that plugins call. Envoy and the gateway both know it.
const CHECK: &str = "outbound|80||check.default.svc.cluster.local";

/// Why replies of the hosts themselves differ.
const OWN_WORDS: &str = "each host has its own words for a reply of its own";

/// A chain of plugins, and requests to it.
struct Case {
    name: &'static str,
    /// Module and configuration of each.
    plugins: Vec<(PathBuf, String)>,
    /// Whether headers callbacks that stop hold the head only.
    holds_head: bool,
    /// Whether the upstream of callouts refuses connections.
    is_check_down: bool,
    requests: Vec<Sent>,
    /// Parts of the outcome in which the hosts differ on purpose, with the reason.
    differs: &'static [(Part, &'static str)],
}

/// A part of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Status,
    Fields,
    Body,
    Trailers,
    Endpoint,
    Check,
}

const PARTS: [Part; 6] =
    [Part::Status, Part::Fields, Part::Body, Part::Trailers, Part::Endpoint, Part::Check];

impl Case {
    fn new(name: &'static str, guest: &str, config: &str, requests: Vec<Sent>) -> Self {
        let path = module(guest, "plugins beside Envoy").expect("the caller checks for the compiler");
        Self::with(name, vec![(path, config.to_owned())], requests)
    }

    fn with(name: &'static str, plugins: Vec<(PathBuf, String)>, requests: Vec<Sent>) -> Self {
        Self { name, plugins, holds_head: false, is_check_down: false, requests, differs: &[] }
    }

    fn holds_head(self) -> Self {
        Self { holds_head: true, ..self }
    }

    fn check_down(self) -> Self {
        Self { is_check_down: true, ..self }
    }

    fn differs(self, differs: &'static [(Part, &'static str)]) -> Self {
        Self { differs, ..self }
    }
}

/// What a host made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// `None`: the stream was reset.
    status: Option<u16>,
    fields: Vec<String>,
    body: String,
    trailers: Vec<String>,
    /// What the endpoint received.
    endpoint: Vec<String>,
    /// What the upstream of callouts received.
    check: Vec<String>,
}

impl Outcome {
    fn part(&self, part: Part) -> String {
        match part {
            Part::Status => format!("{:?}", self.status),
            Part::Fields => self.fields.join("\n"),
            Part::Body => self.body.clone(),
            Part::Trailers => self.trailers.join("\n"),
            Part::Endpoint => self.endpoint.join("\n"),
            Part::Check => self.check.join("\n"),
        }
    }
}

/// Returns the fields that plugins and endpoints of these tests write, by name. Hosts add further ones of their own.
fn own_fields(fields: &[(String, String)]) -> Vec<String> {
    let hosts = ["x-forwarded-", "x-envoy-", "x-request-id", "x-real-ip"];
    let is_own = |name: &str| {
        (name.starts_with("x-") && !hosts.iter().any(|host| name.starts_with(host)))
            || ["www-authenticate", "content-type"].contains(&name)
    };
    let mut own: Vec<_> = fields.iter().filter(|(name, _)| is_own(name)).collect();
    own.sort_by(|(a, _), (b, _)| a.cmp(b));
    own.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

/// Returns a body, or the length and the letter of one that repeats it.
fn shown(body: &[u8]) -> String {
    match body.first() {
        Some(first) if body.len() > 100 && body.iter().all(|byte| byte == first) => {
            format!("{} bytes of {:?}", body.len(), char::from(*first))
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    }
}

fn received(message: &Message) -> String {
    let Message { line, fields, body, trailers, .. } = message;
    let (fields, trailers) = (own_fields(fields), own_fields(trailers));
    format!("{line} {fields:?} {} {trailers:?}", shown(body))
}

/// An endpoint whose response depends on the path.
fn endpoint() -> Origin {
    Origin::start(|call| {
        call.read_body()?;
        let path = call.request.target().split('?').next().unwrap();
        let response = match path.split_once("/size/") {
            Some((_, size)) => ok(&"a".repeat(size.parse().unwrap())),
            None => match path {
                "/fields" => "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nX-Gone: 2\r\nX-Multi: a\r\nX-Multi: b\r\n\
                              Content-Length: 2\r\n\r\nok"
                    .to_owned(),
                "/trailers" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n\
                                X-Sum: 1\r\nX-Gone: 2\r\n\r\n"
                        .to_owned()
                }
                "/empty" => ok(""),
                "/secret" => ok("a secret"),
                _ => ok(&String::from_utf8_lossy(&call.request.body)),
            },
        };
        std::io::Write::write_all(&mut call.wire.stream, response.as_bytes()).map(|()| Then::Keep)
    })
}

/// An upstream of callouts. It decides by the path that the plugin reports.
fn check() -> Origin {
    Origin::start(|call| {
        let (status, user) = match call.request.field("x-original-path") {
            Some("/denied") => ("403 Forbidden", "none"),
            Some("/odd") => ("500 Internal Server Error", "none"),
            _ => ("200 OK", "alice"),
        };
        let response = format!("HTTP/1.1 {status}\r\nX-User: {user}\r\nContent-Length: 6\r\n\r\nanswer");
        call.respond(response).map(|()| Then::Keep)
    })
}

/// Servers beside a host.
struct Site {
    endpoint: Origin,
    check: Origin,
    refusing: Refusing,
}

impl Site {
    fn new() -> Self {
        Self { endpoint: endpoint(), check: check(), refusing: Refusing::new() }
    }

    fn check_address(&self, case: &Case) -> SocketAddr {
        if case.is_check_down { self.refusing.address } else { self.check.address }
    }

    /// Sends the requests of a case one by one.
    fn outcomes(&self, case: &Case, host: SocketAddr) -> Vec<(Protocol, Outcome)> {
        let sent = PROTOCOLS
            .into_iter()
            .flat_map(|protocol| case.requests.iter().map(move |request| (protocol, request)));
        sent.map(|(protocol, request)| (protocol, self.outcome(request, host, protocol))).collect()
    }

    fn outcome(&self, request: &Sent, host: SocketAddr, protocol: Protocol) -> Outcome {
        let (seen, checked) = (self.endpoint.count(), self.check.count());
        let response = request.try_send(host, protocol);
        let endpoint = self.endpoint.requests_from(seen).iter().map(received).collect();
        let check = self.check.requests_from(checked).iter().map(received).collect();
        match response {
            Ok(response) => Outcome {
                status: Some(response.status),
                fields: own_fields(&response.fields),
                body: shown(&response.body),
                trailers: own_fields(&response.trailers),
                endpoint,
                check,
            },
            Err(_) => Outcome {
                status: None,
                fields: Vec::new(),
                body: String::new(),
                trailers: Vec::new(),
                endpoint,
                check,
            },
        }
    }
}

fn in_envoy(program: &std::path::Path, case: &Case) -> Vec<(Protocol, Outcome)> {
    let site = Site::new();
    let plugin = |(module, config): &(PathBuf, String)| Plugin {
        module: module.clone(),
        config: config.clone(),
        holds_head: case.holds_head,
    };
    let cluster = Cluster { name: CHECK.to_owned(), endpoint: site.check_address(case), is_http2: false };
    let setup = Setup {
        port: 0,
        endpoint: site.endpoint.address,
        plugins: case.plugins.iter().map(plugin).collect(),
        clusters: vec![cluster],
    };
    let envoy = Envoy::start(program, &setup);
    site.outcomes(case, envoy.address)
}

fn in_gateway(case: &Case) -> Vec<(Protocol, Outcome)> {
    let site = Site::new();
    let mut yaml = single_route(&site.endpoint) + service("check").endpoints(&[site.check_address(case)]);
    for (number, (_, config)) in case.plugins.iter().enumerate() {
        let count = case.plugins.len();
        let plugin = wasm_plugin(&format!("plugin-{number}"), &format!("{number}.wasm"));
        let holds_head = case.holds_head;
        yaml += plugin.config(config).spec(&format!(
            "priority: {}\nallowOnHeadersStopIteration: {holds_head}\nallowedUpstreams: ['check:80']\n\
             limits: {{callTimeout: 1s}}",
            count - number
        ));
    }
    let files: Vec<_> = (0..case.plugins.len()).map(|number| format!("{number}.wasm")).collect();
    let modules = files.iter().zip(&case.plugins);
    let modules: Vec<_> = modules.map(|(file, (module, _))| (file.as_str(), module.as_path())).collect();
    let gateway = plugins::start(&yaml, &modules);
    site.outcomes(case, gateway.gateway.http)
}

/// Runs the cases in both hosts, and collects the differences.
fn compare(cases: &[Case]) {
    let Some(program) = envoy_config::program() else {
        return skipped("plugins beside Envoy: not installed: envoy (conformance/test installs it)");
    };
    let mut differences = Vec::new();
    for case in cases {
        let (envoy, ours) = (in_envoy(&program, case), in_gateway(case));
        let pairs = envoy.iter().zip(&ours).enumerate();
        for (number, ((protocol, envoy), (_, ours))) in pairs {
            let is_known = |part: &Part| case.differs.iter().any(|(known, _)| known == part);
            for part in PARTS.into_iter().filter(|part| !is_known(part)) {
                let (envoy, ours) = (envoy.part(part), ours.part(part));
                if envoy != ours {
                    let request = number % case.requests.len();
                    differences.push(format!(
                        "{}, request {request} over {protocol:?}, {part:?}:\n  Envoy   {envoy:?}\n  gateway {ours:?}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

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
