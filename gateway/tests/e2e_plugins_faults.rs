//! Broken and hostile plugins: they hurt their own route only, and streams that end in the middle leave nothing behind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::net::Shutdown;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use http::Request;
use plugins::{PROTOCOLS, Protocol, get, is_closed, module, post, start, until_live, wasm_plugin};
use support::fixtures::{Manifests, ingress, service};
use support::{DEADLINE, Origin, TestGateway, Then, single_route, until};
use tokio::net::TcpStream;

/// Requests of the trap storm.
const STORM: usize = if cfg!(debug_assertions) { 4_000 } else { 40_000 };

/// Returns routes `a.example`, with the hostile plugin, and `b.example`, without one.
fn routes(origin: &Origin, config: &str, strategy: &str) -> Manifests {
    let plugin = wasm_plugin("hostile", "hostile.wasm")
        .target_ingress("a")
        .config(&format!("if x-hostile yes\n{config}"))
        .spec(&format!("failStrategy: {strategy}\nlimits: {{callTimeout: 100ms, memory: 8Mi}}"));
    single_route(origin) + ingress("b").host("b.example").path("/", "a") + plugin
}

fn start_hostile(origin: &Origin, path: &Path, config: &str, strategy: &str) -> TestGateway {
    start(&routes(origin, config, strategy), &[("hostile.wasm", path)])
}

#[test]
fn fault_closes_its_request_and_no_other() {
    let Some(path) = module("hostile", "fault_closes_its_request_and_no_other") else { return };
    let origin = Origin::echo();
    for action in ["panic", "loop", "grab", "deep", "exit"] {
        let gateway = start_hostile(&origin, &path, &format!("request_headers {action}"), "FAIL_CLOSE");
        for protocol in PROTOCOLS {
            let before = origin.count();
            let response = post("/", "hello").field("x-hostile", "yes").send(gateway.gateway.http, protocol);
            assert_eq!(response.status, 503, "{action} {protocol:?} {response:?}");
            assert!(is_closed(&response), "{action} {protocol:?} {response:?}");
            assert_eq!(origin.count(), before, "{action} {protocol:?}");
            assert_eq!(gateway.get("b.example", "/").status(), 200, "{action} {protocol:?}");
            // The instance is replaced.
            until_live(&gateway, &get("/"));
            assert_eq!(get("/").send(gateway.gateway.http, protocol).status, 200, "{action} {protocol:?}");
        }
    }
}

#[test]
fn fault_passes_its_request_with_fail_open() {
    let Some(path) = module("hostile", "fault_passes_its_request_with_fail_open") else { return };
    let origin = Origin::echo();
    for phase in ["request_headers", "request_body", "response_headers", "response_body"] {
        let gateway = start_hostile(&origin, &path, &format!("{phase} panic"), "FAIL_OPEN");
        for protocol in PROTOCOLS {
            let response = post("/", "hello").field("x-hostile", "yes").send(gateway.gateway.http, protocol);
            assert_eq!((response.status, response.text()), (200, "hello"), "{phase} {protocol:?}");
            assert_eq!(origin.last().text(), "hello", "{phase} {protocol:?}");
        }
    }
}

#[test]
fn fault_in_each_phase_ends_the_request() {
    let Some(path) = module("hostile", "fault_in_each_phase_ends_the_request") else { return };
    let origin = Origin::echo();
    for (phase, is_answered) in [
        ("request_headers", true),
        ("request_body", true),
        ("response_headers", true),
        // The head has left.
        ("response_body", false),
    ] {
        let gateway = start_hostile(&origin, &path, &format!("{phase} panic"), "FAIL_CLOSE");
        for protocol in PROTOCOLS {
            let request = post("/", "hello").field("x-hostile", "yes");
            let result = request.try_send(gateway.gateway.http, protocol);
            match result {
                Ok(response) => assert_eq!(response.status, 503, "{phase} {protocol:?} {response:?}"),
                Err(error) => assert!(!is_answered, "{phase} {protocol:?}: {error}"),
            }
            assert_eq!(gateway.get("b.example", "/").status(), 200, "{phase} {protocol:?}");
            until_live(&gateway, &get("/"));
        }
    }
    for phase in ["done", "log", "delete"] {
        let gateway = start_hostile(&origin, &path, &format!("{phase} panic"), "FAIL_CLOSE");
        let response = get("/").field("x-hostile", "yes").send(gateway.gateway.http, Protocol::Http1);
        assert_eq!(response.status, 200, "{phase}");
        until_live(&gateway, &get("/"));
    }
}

#[test]
fn refused_configuration_closes_its_own_routes() {
    let Some(path) = module("hostile", "refused_configuration_closes_its_own_routes") else { return };
    let origin = Origin::echo();
    for (action, reason) in [("refuse", "refused as configured"), ("panic", "as configured"), ("loop", "")] {
        let gateway = TestGateway::start(&Manifests::default());
        std::fs::copy(&path, gateway.path("hostile.wasm")).unwrap();
        gateway.replace("all.yaml", &routes(&origin, &format!("configure {action}"), "FAIL_CLOSE"));
        until("the refusal is reported", || {
            let problems = gateway.admin("/problems").1;
            problems.contains("hostile") && problems.contains(reason)
        });
        assert_eq!(get("/").send(gateway.gateway.http, Protocol::Http1).status, 503, "{action}");
        assert_eq!(gateway.get("b.example", "/").status(), 200, "{action}");
        assert_eq!(gateway.admin("/readyz").0, 200, "{action}");
    }
}

#[test]
fn malformed_modules_close_their_own_routes() {
    let origin = Origin::echo();
    let start_trap = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func $start (unreachable)) (start $start)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024)))"#,
    );
    let unknown_import = wat::parse_str(
        r#"(module (import "env" "proxy_unknown" (func)) (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024)))"#,
    );
    let large = [b"\0asm\x01\0\0\0".to_vec(), vec![0; 50 << 20]].concat();
    for (module, reason) in [
        (b"no module".to_vec(), "WebAssembly"),
        (wat::parse_str("(module (memory (export \"memory\") 1))").unwrap(), "proxy_abi_version"),
        (unknown_import.unwrap(), "proxy_unknown"),
        (start_trap.unwrap(), "hostile"),
        (large, "10 MiB"),
    ] {
        let gateway = TestGateway::start(&Manifests::default());
        std::fs::write(gateway.path("hostile.wasm"), &module).unwrap();
        gateway.replace("all.yaml", &routes(&origin, "", "FAIL_CLOSE"));
        until("the module is refused", || {
            let problems = gateway.admin("/problems").1;
            problems.contains("hostile") && problems.contains(reason)
        });
        assert_eq!(get("/").send(gateway.gateway.http, Protocol::Http1).status, 503, "{reason}");
        assert_eq!(gateway.get("b.example", "/").status(), 200, "{reason}");
    }
}

#[test]
fn trap_storm_fails_hardly_any_other_request() {
    let Some(path) = module("hostile", "trap_storm_fails_hardly_any_other_request") else { return };
    let origin = Origin::echo();
    let gateway = start_hostile(&origin, &path, "request_headers panic", "FAIL_CLOSE");
    let address = gateway.gateway.http;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = support::Wire::connect(address);
                let mut failed = 0;
                for number in 0..STORM / 4 {
                    let is_hostile = number % 100 == 50;
                    let word = if is_hostile { "yes" } else { "no" };
                    client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Hostile: {word}\r\n\r\n"));
                    let response = client.response();
                    if response.field("connection") == Some("close") {
                        client = support::Wire::connect(address);
                    }
                    failed += usize::from(!is_hostile && response.status() != 200);
                }
                failed
            })
        })
        .collect();
    let failed: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(failed <= STORM / 1000, "{failed} of {STORM} other requests failed");
}

#[test]
fn streams_dropped_in_the_middle_leave_nothing() {
    let Some(hostile) = module("hostile", "streams_dropped_in_the_middle_leave_nothing") else { return };
    let (callout, body) = (module("callout", "").unwrap(), module("body", "").unwrap());
    let origin = Origin::echo();
    let (sender, asked) = mpsc::channel();
    let hanging = Origin::start(move |call| {
        call.read_body()?;
        let _ = sender.send(());
        Ok(Then::Hang)
    });
    let plugin = |name: &str, config: &str| {
        wasm_plugin(name, &format!("{name}.wasm"))
            .target_ingress(name)
            .config(config)
            .spec("limits: {callTimeout: 1s}")
    };
    let route = |name: &str| ingress(name).host(&format!("{name}.example")).path("/", "a");
    let upstream = "upstream outbound|80||hanging.default.svc.cluster.local\ntimeout 60000";
    let yaml = single_route(&origin)
        + route("hostile")
        + route("callout")
        + route("body")
        + service("hanging").endpoints(&[hanging.address])
        + plugin("hostile", "if x-hostile yes\nrequest_headers pause")
        + plugin("callout", upstream).spec("allowedUpstreams: ['hanging:80']")
        + plugin("body", "request buffer");
    let files = [("hostile.wasm", &*hostile), ("callout.wasm", &*callout), ("body.wasm", &*body)];
    let gateway = start(&yaml, &files);
    for name in ["hostile", "body"] {
        until("the plugins are live", || gateway.get(&format!("{name}.example"), "/").status() == 200);
    }
    until("the callout is live", || {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: callout.example\r\n\r\n");
        asked.recv_timeout(Duration::from_millis(200)).is_ok()
    });
    // The callout has reached its upstream before its stream is dropped.
    let is_begun = |name: &str| match name {
        "callout" => asked.recv_timeout(DEADLINE).unwrap(),
        _ => assert_eq!(gateway.get("a.example", "/").status(), 200),
    };
    for round in 0..20 {
        for name in ["hostile", "callout", "body"] {
            drop_http1(&gateway, name, &is_begun);
            drop_http2(&gateway, name, &is_begun);
        }
        until("the callouts are cancelled", || hanging.open() == 0);
        assert_eq!(gateway.get("hostile.example", "/").status(), 200, "{round}");
    }
    assert_eq!(origin.requests().iter().filter(|seen| seen.line.starts_with("POST")).count(), 0);
}

/// Sends half of a request, and closes the connection.
fn drop_http1(gateway: &TestGateway, name: &str, is_begun: &dyn Fn(&str)) {
    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {name}.example\r\nX-Hostile: yes\r\nContent-Length: 10\r\n\r\nhello"
    ));
    is_begun(name);
    client.stream.shutdown(Shutdown::Both).unwrap();
}

/// Sends half of a request, and resets its stream.
fn drop_http2(gateway: &TestGateway, name: &str, is_begun: &dyn Fn(&str)) {
    // The connection is driven by another thread while this one waits.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut send = runtime.block_on(async {
        let stream = TcpStream::connect(gateway.gateway.http).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        send
    });
    let request = Request::post(format!("http://{name}.example/")).header("x-hostile", "yes");
    let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data("hello".into(), false).unwrap();
    is_begun(name);
    body.send_reset(h2::Reason::CANCEL);
    let ended = runtime.block_on(async { tokio::time::timeout(DEADLINE, response).await.unwrap() });
    assert!(ended.is_err(), "{name}: {ended:?}");
}
