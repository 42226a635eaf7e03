//! What a plugin may take of the gateway: time outside of requests, old versions, and failures that it chooses itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;
#[path = "support/version_module.rs"]
mod version_module;

use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gateway::settings::Settings;
use plugins::{PROTOCOLS, Protocol, get, is_closed, module, post, rename_module, start_with, wasm_plugin};
use serde_json::Value;
use support::fixtures::{Manifests, ingress, service};
use support::{DEADLINE, Follows, Origin, TestGateway, Then, ok, settings, single_route, until};
use version_module::version_module;

/// Returns a count of the only plugin, as `/plugins` reports it.
fn count(gateway: &TestGateway, name: &str) -> u64 {
    let plugins: Value = serde_json::from_str(&gateway.admin("/plugins?output=json").1).unwrap();
    plugins[0][name].as_u64().unwrap()
}

fn start_hostile(yaml: &Manifests, path: &Path) -> TestGateway {
    let gateway = start_with(yaml, &[("hostile.wasm", path)], one_worker());
    // A plugin that fails open lets requests pass before it is loaded.
    until("the plugin is ready", || gateway.admin("/plugins").1.contains(" ready"));
    gateway
}

#[test]
fn guest_fails_its_stream_and_its_instance_lives() {
    let Some(path) = module("hostile", "guest_fails_its_stream_and_its_instance_lives") else { return };
    let origin = Origin::echo();
    for phase in ["request_headers", "request_body", "response_headers"] {
        for (strategy, status) in [("FAIL_CLOSE", 503), ("FAIL_OPEN", 200)] {
            let plugin = wasm_plugin("hostile", "hostile.wasm")
                .config(&format!("if x-hostile yes\n{phase} fail"))
                .spec(&format!("failStrategy: {strategy}"));
            let gateway = start_hostile(&(single_route(&origin) + plugin), &path);
            for protocol in PROTOCOLS {
                let request = post("/", "hello").field("x-hostile", "yes");
                let response = request.send(gateway.gateway.http, protocol);
                assert_eq!(response.status, status, "{phase} {strategy} {protocol:?} {response:?}");
                assert_eq!(is_closed(&response), status == 503, "{phase} {strategy} {response:?}");
                assert_eq!(post("/", "hello").send(gateway.gateway.http, protocol).text(), "hello");
            }
            assert_eq!(count(&gateway, "traps"), 0, "{phase} {strategy}");
            assert_eq!(count(&gateway, "failedRequests"), 2, "{phase} {strategy}");
        }
    }
}

#[test]
fn plugins_see_the_path_that_the_endpoint_gets() {
    let Some(path) = module("headers", "plugins_see_the_path_that_the_endpoint_gets") else { return };
    let origin = Origin::echo();
    let plugin = wasm_plugin("path", "path.wasm").config("request join :path x-path");
    let gateway = start_with(&(single_route(&origin) + plugin), &[("path.wasm", &path)], settings(|_| {}));
    for (target, expected) in [
        ("/a//b?c", "/a//b?c"),
        ("/public/../admin?a=/../", "/admin?a=/../"),
        ("/public/%2e%2E/admin", "/admin"),
    ] {
        assert_eq!(gateway.get("a.example", target).status(), 200, "{target}");
        let request = origin.last();
        assert_eq!((request.target(), request.field("x-path")), (expected, Some(expected)), "{target}");
    }
}

#[test]
fn slow_ticks_take_a_twentieth_of_a_worker() {
    let Some(path) = module("hostile", "slow_ticks_take_a_twentieth_of_a_worker") else { return };
    let origin = Origin::echo();
    // A tick each 20 ms that takes 5 ms.
    let plugin = wasm_plugin("hostile", "hostile.wasm").config("tick busy");
    let gateway = start_hostile(&(single_route(&origin) + plugin), &path);
    let instances = count(&gateway, "instances");
    let (began_at, before) = (Instant::now(), count(&gateway, "calls"));
    until("each instance has ticked", || count(&gateway, "calls") > before + 6 * instances);
    let ticks_each = (count(&gateway, "calls") - before).div_ceil(instances).saturating_sub(2);
    let least = Duration::from_millis(5 * 19) * u32::try_from(ticks_each).unwrap();
    assert!(began_at.elapsed() > least, "{ticks_each} ticks in {:?}", began_at.elapsed());
}

#[test]
fn trapping_ticks_stop_and_requests_go_on() {
    let Some(path) = module("hostile", "trapping_ticks_stop_and_requests_go_on") else { return };
    let origin = Origin::echo();
    let plugin = wasm_plugin("hostile", "hostile.wasm").config("tick panic");
    let gateway = start_hostile(&(single_route(&origin) + plugin), &path);
    until("ticks have trapped", || count(&gateway, "traps") >= 3);
    let traps = count(&gateway, "traps");
    for _ in 0..200 {
        assert_eq!(get("/").send(gateway.gateway.http, Protocol::Http1).status, 200);
    }
    // One probe a second at most; the spare of the worker may tick just before the breaker opens.
    assert!(count(&gateway, "traps") <= traps + 4, "{} traps", count(&gateway, "traps"));
    assert!(gateway.admin("/plugins").1.contains("breaker closed"));
}

#[test]
fn held_head_leaves_before_the_body_when_resumed() {
    let Some(path) = module("callout", "held_head_leaves_before_the_body_when_resumed") else { return };
    let (sender, heads) = mpsc::channel();
    let origin = Origin::start(move |call| {
        let _ = sender.send(call.request.line.clone());
        call.read_body()?;
        let response = ok(&String::from_utf8_lossy(&call.request.body));
        call.wire.stream.write_all(response.as_bytes()).map(|()| Then::Keep)
    });
    let authorizer = Origin::named("authorizer");
    let plugin = wasm_plugin("callout", "callout.wasm")
        .config("upstream outbound|80||authorizer.default.svc.cluster.local\ntimeout 5000")
        .spec("allowedUpstreams: ['authorizer:80']\nallowOnHeadersStopIteration: true");
    let yaml = single_route(&origin) + service("authorizer").endpoints(&[authorizer.address]) + plugin;
    let gateway = start_with(&yaml, &[("callout.wasm", &path)], settings(|_| {}));
    while heads.try_recv().is_ok() {}
    let mut client = gateway.client();
    client.send("POST /held HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    let line = heads.recv_timeout(DEADLINE).expect("the head leaves without the body");
    assert!(line.starts_with("POST /held"), "{line}");
    client.send("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
}

/// An origin that begins a response, and ends it at a signal.
fn slow_origin() -> (Origin, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(receiver);
    let origin = Origin::start(move |call| {
        if !call.request.line.contains("/slow") {
            return call.wire.stream.write_all(ok("fast").as_bytes()).map(|()| Then::Keep);
        }
        call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nslow")?;
        let _ = receiver.lock().unwrap().recv_timeout(DEADLINE);
        call.wire.stream.write_all(b"slow").map(|()| Then::Keep)
    });
    (origin, sender)
}

fn one_worker() -> Settings {
    settings(|settings| settings.workers = Some(1))
}

fn change_version(gateway: &TestGateway, version: usize, functions: &str) {
    rename_module(gateway.folder.path(), "v.wasm", &version_module(version, functions));
}

fn serves(gateway: &TestGateway, version: usize) -> bool {
    let response = get("/").send(gateway.gateway.http, Protocol::Http1);
    response.field("x-version") == Some(&version.to_string())
}

#[test]
fn third_version_ends_the_first_without_a_failed_request() {
    let (origin, finish) = slow_origin();
    let gateway = TestGateway::with("", one_worker());
    change_version(&gateway, 1, "");
    gateway.replace("all.yaml", &(single_route(&origin) + wasm_plugin("v", "v.wasm")));
    until("the first version is live", || serves(&gateway, 1));
    let mut slow = gateway.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut response = slow.head().unwrap().unwrap();
    let of_one_version = count(&gateway, "instances");
    for version in 2..=4 {
        let began_at = Instant::now();
        change_version(&gateway, version, "");
        until("the version is live", || serves(&gateway, version));
        assert!(began_at.elapsed() < Duration::from_secs(2), "{version}: {:?}", began_at.elapsed());
        assert!(count(&gateway, "instances") <= 2 * of_one_version, "{version}");
    }
    finish.send(()).unwrap();
    slow.body(&mut response, Follows::Response).unwrap();
    assert_eq!(response.text(), "slowslow");
}

/// Holds the body of a response until its end.
const HOLDS_BODIES: &str = r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (select (i32.const 0) (i32.const 1) (local.get 2)))"#;

#[test]
fn third_version_fails_streams_that_the_first_must_see() {
    let (origin, finish) = slow_origin();
    let gateway = TestGateway::with("", one_worker());
    change_version(&gateway, 1, HOLDS_BODIES);
    gateway.replace("all.yaml", &(single_route(&origin) + wasm_plugin("v", "v.wasm")));
    until("the first version is live", || serves(&gateway, 1));
    let (mut slow, heads) = (gateway.client(), origin.heads());
    slow.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(heads + 1);
    for version in 2..=3 {
        change_version(&gateway, version, HOLDS_BODIES);
        until("the version is live", || serves(&gateway, version));
    }
    // The third version waited for 10 s. Then the failStrategy of the plugin closed the stream.
    let response = slow.response();
    assert_eq!((response.status(), response.field("gateway-reason")), (503, Some("plugin_failed")));
    drop(finish);
}

#[test]
fn edits_are_limited_in_bytes() {
    let text = r#"(module
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 0) "x-a")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (local $i i32)
            (loop $again
                (if (i32.eq (call $add (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)) (i32.const 0))
                    (then
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (br_if $again (i32.lt_u (local.get $i) (i32.const 100000))))))
            ;; Traps if all 100,000 edits were taken.
            (if (i32.eq (local.get $i) (i32.const 100000)) (then (unreachable)))
            (i32.const 0)))"#;
    let module = wat::parse_str(text).unwrap();
    let origin = Origin::echo();
    let gateway = TestGateway::start("");
    rename_module(gateway.folder.path(), "edits.wasm", &module);
    let plugin = wasm_plugin("edits", "edits.wasm").spec("limits: {callTimeout: 1s}");
    gateway.replace(
        "all.yaml",
        &(single_route(&origin) + ingress("b").host("b.example").path("/", "a") + plugin),
    );
    plugins::until_live(&gateway, &get("/"));
    let response = get("/").send(gateway.gateway.http, Protocol::Http1);
    assert_eq!(response.status, 200, "{response:?}");
    let added = origin.last().fields.iter().filter(|(name, _)| name == "x-a").count();
    assert!((100..=1000).contains(&added), "{added} edits were taken");
}
