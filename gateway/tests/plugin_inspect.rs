//! `gateway plugin inspect`: its report and its exit code. What it says of Envoy is compared with Envoy itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../plugin-host/guests/envoy.rs"]
mod envoy_config;
#[path = "../plugin-host/tests/host/support/functions.rs"]
mod functions;
#[path = "support/missing.rs"]
mod missing;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use envoy_config::{Plugin, Setup};
use functions::FUNCTIONS;
use missing::skipped;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What every module needs, apart from the marker.
const BASE: &str = r#"(memory (export "memory") 1)
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))"#;

/// A headers callback of ABI 0.2.
const HEADERS: &str =
    r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;

/// Writes a module of the text format, with these markers.
fn write(folder: &TempDir, name: &str, (imports, markers): (&str, &[&str])) -> PathBuf {
    let export = |version: &&str| format!("(func (export \"proxy_abi_version_{version}\"))");
    let markers: String = markers.iter().map(export).collect();
    let path = folder.path().join(name);
    std::fs::write(&path, wat::parse_str(format!("(module {imports} {BASE} {markers})")).unwrap()).unwrap();
    path
}

fn inspect(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["plugin", "inspect"]).arg(file).args(arguments).output().unwrap()
}

fn inspect_json(file: &Path) -> (Option<i32>, Value) {
    let output = inspect(file, &["--output", "json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn module_is_described_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let items = &format!(
        r#"(@custom "wasm-gateway.config-schema" "{{\"type\":\"object\",\"contains\":{{}}}}")
        (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0)) {HEADERS}"#
    );
    let file = write(&folder, "guest.wasm", (items, &["0_2_1"]));
    let output = inspect(&file, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace(&*file.to_string_lossy(), "guest.wasm");
    let is_fixed = |line: &&str| !line.starts_with("  sha256  ");
    let lines: Vec<_> = text.lines().filter(is_fixed).collect();
    assert_eq!(
        lines.join("\n"),
        r#"guest.wasm
  abi           0.2.1
  size          352 bytes: code 33, data 0, wasm-gateway.config-schema 31
  called        proxy_on_context_create
                proxy_on_vm_start
                proxy_on_configure
                proxy_on_request_headers
  not called    proxy_on_new_connection
  imports       env.proxy_log
  exports       proxy_on_new_connection
                proxy_on_request_headers
                memory
                proxy_on_memory_allocate
                proxy_on_context_create
                proxy_on_vm_start
                proxy_on_configure
                proxy_abi_version_0_2_1
  config        JSON Schema:
                {
                  "contains": {},
                  "type": "object"
                }
                not checked by the gateway: contains
  this gateway  loads it
  Envoy         loads it
  Higress       loads it"#
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn refused_module_is_described_too() {
    let folder = tempfile::tempdir().unwrap();
    let import = r#"(import "env" "proxy_none" (func (param i32)))"#;
    let file = write(&folder, "guest.wasm", (import, &["0_2_1"]));
    let (code, json) = inspect_json(&file);
    assert_eq!(code, Some(1));
    assert_eq!(
        json["imports"],
        json!([{"module": "env", "name": "proxy_none", "type": "(i32) -> ()", "known": false}])
    );
    let own = json!({
        "host": "this gateway",
        "accepts": false,
        "reason": "the import env.proxy_none (i32) -> () is not one that the host has",
    });
    assert_eq!(json["hosts"][0], own);
    let text = String::from_utf8(inspect(&file, &[]).stdout).unwrap();
    assert!(text.contains("  imports       env.proxy_none (i32) -> (): unknown\n"), "{text}");
}

#[test]
fn schema_that_the_gateway_refuses_is_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let section = r#"(@custom "wasm-gateway.config-schema" "{\"$ref\":\"https://schemas.example/a\"}")"#;
    let (code, json) = inspect_json(&write(&folder, "guest.wasm", (section, &["0_2_1"])));
    let reason = json["hosts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("refers to \"https://schemas.example/a\""), "{reason}");
    assert_eq!(
        (code, &json["hosts"][1]["accepts"]),
        (Some(1), &true.into()),
        "Envoy does not read the section"
    );
}

#[test]
fn file_that_is_no_module_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "not a module").unwrap();
    for (file, code, message) in [
        (text, 1, "is refused: not a valid WebAssembly module"),
        (folder.path().join("missing.wasm"), 2, "missing.wasm cannot be read: No such file"),
    ] {
        let output = inspect(&file, &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{error}");
        assert!(error.starts_with("gateway plugin inspect: ") && error.contains(message), "{error}");
    }
}

/// A module, and the hosts that load it.
struct Row {
    items: &'static str,
    markers: &'static [&'static str],
    loads: Loads,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loads {
    Both,
    Higress,
    Neither,
}

const fn row(items: &'static str, markers: &'static [&'static str], loads: Loads) -> Row {
    Row { items, markers, loads }
}

const ROWS: &[Row] = &[
    row("", &["0_2_1"], Loads::Both),
    row("", &["0_2_0"], Loads::Both),
    row("", &["0_2_100"], Loads::Higress),
    row("", &[], Loads::Neither),
    row(r#"(import "env" "proxy_get_log_level" (func (param i32) (result i32)))"#, &["0_2_1"], Loads::Both),
    row(
        r#"(import "env" "proxy_get_log_level" (func (param i32) (result i32)))"#,
        &["0_2_0"],
        Loads::Neither,
    ),
    row(r#"(import "env" "proxy_continue_request" (func (result i32)))"#, &["0_1_0"], Loads::Both),
    row(r#"(import "env" "proxy_continue_request" (func (result i32)))"#, &["0_2_0"], Loads::Neither),
    row(r#"(import "env" "proxy_continue_request" (func))"#, &["0_1_0"], Loads::Neither),
    row(r#"(import "env" "proxy_continue_stream" (func (param i32) (result i32)))"#, &["0_2_0"], Loads::Both),
    row(
        r#"(import "env" "proxy_continue_stream" (func (param i32) (result i32)))"#,
        &["0_1_0"],
        Loads::Neither,
    ),
    row(r#"(import "env" "proxy_redis_init" (func (param i32) (result i32)))"#, &["0_2_1"], Loads::Higress),
    row(r#"(import "env" "proxy_none" (func))"#, &["0_2_1"], Loads::Neither),
    row(r#"(import "env" "pthread_equal" (func (param i32 i32) (result i32)))"#, &["0_2_1"], Loads::Both),
    row(r#"(import "env" "emscripten_notify_memory_growth" (func (param i32)))"#, &["0_2_1"], Loads::Both),
    row(r#"(import "env" "abort" (func (param i32 i32 i32 i32)))"#, &["0_2_1"], Loads::Neither),
    row(
        r#"(import "wasi_snapshot_preview1" "proc_raise" (func (param i32) (result i32)))"#,
        &["0_2_1"],
        Loads::Neither,
    ),
    row(
        r#"(import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
        &["0_2_1"],
        Loads::Both,
    ),
    row(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#,
        &["0_2_0"],
        Loads::Both,
    ),
    row(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#,
        &["0_1_0"],
        Loads::Neither,
    ),
    row(
        r#"(func (export "proxy_on_response_headers") (param i32 i32) (result i32) (i32.const 0))"#,
        &["0_1_0"],
        Loads::Both,
    ),
    row(
        r#"(func (export "proxy_on_response_headers") (param i32 i32) (result i32) (i32.const 0))"#,
        &["0_2_1"],
        Loads::Neither,
    ),
];

#[test]
fn other_hosts_have_their_own_verdict() {
    let folder = tempfile::tempdir().unwrap();
    for Row { items, markers, loads } in ROWS {
        let (_, json) = inspect_json(&write(&folder, "guest.wasm", (items, markers)));
        let hosts = &json["hosts"];
        let verdict = match (&hosts[1]["accepts"], &hosts[2]["accepts"]) {
            (Value::Bool(true), Value::Bool(true)) => Loads::Both,
            (Value::Bool(false), Value::Bool(true)) => Loads::Higress,
            _ => Loads::Neither,
        };
        assert!(verdict == *loads, "{markers:?} {items} {hosts}");
    }
}

#[test]
fn verdict_about_envoy_is_that_of_envoy() {
    let Some(program) = envoy_config::program() else {
        return skipped("gateway plugin inspect beside Envoy: not installed: envoy");
    };
    let folder = tempfile::tempdir().unwrap();
    for Row { items, markers, loads } in ROWS {
        let module = write(&folder, "guest.wasm", (items, markers));
        let (is_loaded, log) = envoy_loads(&program, &folder, module);
        assert_eq!(is_loaded, *loads == Loads::Both, "{markers:?} {items}: {log}");
    }
    let mut accepted = String::new();
    for (name, params) in FUNCTIONS {
        let (from, name) = match name.strip_prefix("wasi ") {
            Some(name) => ("wasi_snapshot_preview1", name),
            None => ("env", *name),
        };
        let import = format!("(import \"{from}\" \"{name}\" (func (param {params}) (result i32)))");
        let module = write(&folder, "guest.wasm", (&import, &["0_2_1"]));
        if inspect_json(&module).1["hosts"][1]["accepts"] == true {
            accepted += &import;
        } else {
            let (is_loaded, log) = envoy_loads(&program, &folder, module);
            assert!(!is_loaded, "{import}: {log}");
        }
    }
    let (is_loaded, log) =
        envoy_loads(&program, &folder, write(&folder, "guest.wasm", (&accepted, &["0_2_1"])));
    assert!(is_loaded, "{log}");
}

/// Returns whether Envoy loads a module, and its log.
fn envoy_loads(program: &Path, folder: &TempDir, module: PathBuf) -> (bool, String) {
    let plugin = Plugin { module, config: String::new(), holds_head: false };
    let endpoint = "127.0.0.1:1".parse().unwrap();
    let setup = Setup { port: 0, endpoint, plugins: vec![plugin], clusters: Vec::new() };
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, envoy_config::config(&setup)).unwrap();
    let output = Command::new(program).args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}
