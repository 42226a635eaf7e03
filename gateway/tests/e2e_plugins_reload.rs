//! Changes of plugins under load: no request fails, and nothing is left of old versions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/program.rs"]
mod program;
mod support;
#[path = "support/version_module.rs"]
mod version_module;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plugins::{Protocol, get, module, rename_module, start, until_live, wasm_plugin};
use program::Program;
use support::{Origin, TestGateway, Wire, single_route, until};
use version_module::version_module;

/// Requests under load while plugins are reloaded.
const REQUESTS: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// Time between two reloads under load.
const RELOAD_INTERVAL: Duration = Duration::from_millis(100);
/// Reloads of the memory test.
const RELOADS: usize = if cfg!(debug_assertions) { 100 } else { 1_000 };
/// Maximum growth of the resident memory over all of them.
const MAX_GROWTH_KIB: u64 = 5 * 1024;

/// Clients with one connection each, until a number of requests is sent.
struct Load {
    sent: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(gateway: &TestGateway) -> Self {
        let (sent, address) = (Arc::new(AtomicUsize::new(0)), gateway.gateway.http);
        let client = |_| {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || {
                let (mut client, mut versions) = (Wire::connect(address), Vec::new());
                while sent.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                    let response = client.get("a.example", "/");
                    assert_eq!(response.status(), 200, "{response:?}");
                    let version = response.field("x-version").unwrap().to_owned();
                    if versions.last() != Some(&version) {
                        versions.push(version);
                    }
                }
                versions
            })
        };
        let clients = (0..4).map(client).collect();
        Self { sent, clients }
    }

    fn is_running(&self) -> bool {
        self.sent.load(Ordering::Relaxed) < REQUESTS
    }

    /// Returns the versions that each client saw.
    fn versions(self) -> Vec<Vec<String>> {
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

/// Waits for a moment of the load, which no event marks.
fn pause(time: Duration) {
    let stopped = AtomicBool::new(false);
    let began = Instant::now();
    while began.elapsed() < time && !stopped.load(Ordering::Relaxed) {
        std::thread::park_timeout(time.saturating_sub(began.elapsed()));
    }
}

/// Changes the plugin again and again while clients send requests. None fails, and the last version serves at the end.
fn change_under_load(gateway: &TestGateway, change: impl Fn(usize)) {
    let load = Load::start(gateway);
    let mut version = 0;
    while load.is_running() {
        version += 1;
        change(version);
        pause(RELOAD_INTERVAL);
    }
    let seen = load.versions();
    assert!(seen.iter().all(|versions| versions.len() > version.min(8) / 4), "{version} versions: {seen:?}");
    let live = || get("/").send(gateway.gateway.http, Protocol::Http1);
    until("the last version is live", || live().field("x-version") == Some(&version.to_string()));
}

#[test]
fn changed_modules_take_over_without_a_failed_request() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start("");
    rename_module(gateway.folder.path(), "v.wasm", &version_module(0, ""));
    gateway.replace("all.yaml", &(single_route(&origin) + wasm_plugin("v", "v.wasm")));
    until_live(&gateway, &get("/"));
    change_under_load(&gateway, |version| {
        rename_module(gateway.folder.path(), "v.wasm", &version_module(version, ""));
    });
}

#[test]
fn changed_configurations_take_over_without_a_failed_request() {
    let Some(path) = module("headers", "changed_configurations_take_over_without_a_failed_request") else {
        return;
    };
    let origin = Origin::named("a");
    let yaml = |version: usize| {
        single_route(&origin)
            + wasm_plugin("v", "v.wasm").config(&format!("response set x-version {version}"))
    };
    let gateway = start(&yaml(0), &[("v.wasm", &path)]);
    change_under_load(&gateway, |version| {
        gateway.replace("all.yaml", &yaml(version));
    });
}

#[test]
fn broken_replacement_keeps_the_version_that_serves() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start("");
    rename_module(gateway.folder.path(), "v.wasm", &version_module(1, ""));
    gateway.replace("all.yaml", &(single_route(&origin) + wasm_plugin("v", "v.wasm")));
    until_live(&gateway, &get("/"));
    rename_module(gateway.folder.path(), "v.wasm", b"broken");
    until("the replacement is refused", || gateway.admin("/problems").1.contains("PluginRefused"));
    let live = || get("/").send(gateway.gateway.http, Protocol::Http1);
    assert_eq!(live().field("x-version"), Some("1"));
    rename_module(gateway.folder.path(), "v.wasm", &version_module(2, ""));
    until("the next version is live", || live().field("x-version") == Some("2"));
    until("the Problem is gone", || !gateway.admin("/problems").1.contains("PluginRefused"));
}

#[test]
fn changed_module_is_live_in_two_seconds() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start("");
    rename_module(gateway.folder.path(), "v.wasm", &version_module(1, ""));
    gateway.replace("all.yaml", &(single_route(&origin) + wasm_plugin("v", "v.wasm")));
    until_live(&gateway, &get("/"));
    let began = Instant::now();
    rename_module(gateway.folder.path(), "v.wasm", &version_module(2, ""));
    let live = || get("/").send(gateway.gateway.http, Protocol::Http1);
    until("the version is live", || live().field("x-version") == Some("2"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn reloads_do_not_grow_the_process() {
    let origin = Origin::named("a");
    let mut program = Program::start("", &[]);
    rename_module(program.folder(), "v.wasm", &version_module(0, ""));
    program.rename("all.yaml", &(single_route(&origin) + wasm_plugin("v", "v.wasm")));
    let mut reload = |version: usize| {
        rename_module(program.folder(), "v.wasm", &version_module(version, ""));
        until("the version is live", || {
            Wire::connect(program.http).get("a.example", "/").field("x-version") == Some(&version.to_string())
        });
    };
    // Allocator and caches settle.
    (1..=RELOADS / 10).for_each(&mut reload);
    let before = program.rss_kib();
    let mut program_reloads = RELOADS / 10 + 1..=RELOADS + RELOADS / 10;
    program_reloads.by_ref().for_each(&mut reload);
    let growth = program.rss_kib().saturating_sub(before);
    assert!(growth < MAX_GROWTH_KIB, "{RELOADS} reloads grew the process by {growth} KiB");
    program.signal(rustix::process::Signal::TERM);
    program.wait();
}
