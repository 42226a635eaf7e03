//! `gateway plugin run`: what it serves and prints, with modules that are already built.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use support::{Message, Wire, until};
use tempfile::TempDir;

/// A `gateway plugin run` process. Its drop kills it.
struct Running {
    child: Child,
    http: SocketAddr,
    output: Arc<Mutex<String>>,
    folder: TempDir,
}

impl Running {
    /// Starts the command with a module, and waits until it prints its address.
    fn start(module: &[u8], config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "guest.wasm", module);
        replace(folder.path(), "config.yaml", config.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args([
            "plugin",
            "run",
            "--http",
            "127.0.0.1:0",
            "--module",
            "guest.wasm",
            "--config",
            "config.yaml",
        ]);
        command.current_dir(folder.path()).stdout(Stdio::piped()).env_remove("GATEWAY_LOG");
        let mut child = command.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (shared, lines) = (Arc::clone(&output), BufReader::new(child.stdout.take().unwrap()).lines());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{line}\n");
            }
        });
        let mut running = Self { child, http: support::ANY_PORT, output, folder };
        until("the address is printed", || running.output().contains("an echo endpoint\n"));
        let text = running.output();
        let address = text.strip_prefix("http://").and_then(|text| text.split('/').next());
        running.http = address.unwrap().parse().unwrap();
        running
    }

    fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn until_printed(&self, text: &str) {
        until(text, || self.output().contains(text));
    }

    fn get(&self, target: &str) -> Message {
        Wire::connect(self.http).get("shop.example", target)
    }

    fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Renames a file into place.
fn replace(folder: &Path, name: &str, content: &[u8]) {
    std::fs::write(folder.join(".new"), content).unwrap();
    std::fs::rename(folder.join(".new"), folder.join(name)).unwrap();
}

/// Returns a module that sets a response field to a text, logs it, and refuses an empty configuration.
fn guest(text: &str) -> Vec<u8> {
    let length = text.len();
    let module = format!(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 64) "x-guest") (data (i32.const 96) {text:?})
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.ne (local.get 1) (i32.const 0)))
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                (drop (call $log (i32.const 2) (i32.const 96) (i32.const {length})))
                (drop (call $add (i32.const 2) (i32.const 64) (i32.const 7) (i32.const 96) (i32.const {length})))
                (i32.const 0)))"#
    );
    wat::parse_str(module).unwrap()
}

#[test]
fn request_is_printed_with_the_calls_of_the_plugin() {
    let running = Running::start(&guest("one"), "a");
    running.until_printed("\nversion ");
    let response = running.get("/hats?size=5");
    assert_eq!(response.field("x-guest"), Some("one"), "{response:?}{}", running.output());
    assert!(response.text().starts_with("GET /hats?size=5\nhost: shop.example\n"), "{}", response.text());
    running.until_printed("GET shop.example/hats 200 in ");
    running.until_printed("\n  end ");
    let output = running.output();
    let (_, calls) = output.split_once("/hats 200 in ").unwrap();
    let calls: Vec<_> = calls.lines().skip(1).map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert_eq!(calls, ["log info: one", "response headers", "end"], "{output}");
    assert_eq!(running.stop().code(), Some(0));
}

#[test]
fn new_module_and_new_configuration_serve() {
    let running = Running::start(&guest("one"), "a");
    running.until_printed("\nversion ");
    replace(running.folder.path(), "guest.wasm", &guest("two"));
    until("the new module serves", || running.get("/").field("x-guest") == Some("two"));
    running.until_printed(" s after the change\n");

    replace(running.folder.path(), "config.yaml", b"''");
    running.until_printed("refused: proxy_on_configure refused the configuration; version ");
    assert_eq!(running.get("/").field("x-guest"), Some("two"), "the version before serves");
    replace(running.folder.path(), "config.yaml", b"b");
    until("the third version is printed", || running.output().matches(" after the change\n").count() == 2);

    replace(running.folder.path(), "guest.wasm", b"broken");
    running.until_printed("refused: not a valid WebAssembly module");
    assert_eq!(running.get("/").field("x-guest"), Some("two"), "the version before serves");
}
