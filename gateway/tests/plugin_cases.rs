//! `gateway plugin test`: cases in the real gateway, with modules that are already built.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;

use std::path::{Path, PathBuf};
use std::process::Command;

use missing::skipped;
use modules::NoModule;

/// Returns the path of a guest, or notes that the test is skipped.
fn module(name: &str) -> Option<PathBuf> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-host/guests");
    match modules::module(&guests, name) {
        Ok(path) => Some(path),
        Err(NoModule::Missing(reason)) => {
            skipped(&format!("gateway plugin test: {reason}"));
            None
        }
        Err(NoModule::Failed(reason)) => panic!("{reason}"),
    }
}

/// Runs the cases. Returns the exit code, standard output without times, and standard error.
fn run(module: &Path, cases: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cases")).unwrap();
    for (name, text) in cases {
        std::fs::write(folder.path().join("cases").join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["plugin", "test", "--module"]).arg(module).arg(folder.path()).env_remove("GATEWAY_LOG");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| match line.split_once(" (") {
        Some((line, time)) if time.ends_with(" ms)") => line,
        _ => line,
    });
    let lines: Vec<_> = lines.collect();
    (output.status.code(), lines.join("\n"), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn cases_that_pass_exit_with_zero() {
    let Some(headers) = module("headers") else { return };
    let cases = [
        (
            "edits.yaml",
            r#"
config: "request set x-a 1\nrequest remove x-b\nresponse add x-c 2\nresponse_trailers set x-d 3"
request:
  {method: POST, authority: "shop.example:81", path: "/a?b=c", headers: ["X-B: 1", "x-e: 2"], body: ab, bodyPieces: [cd]}
upstream: {status: 201, headers: ["x-c: 1"], body: "yes", trailers: ["x-d: 1"]}
expect:
  request:
    {method: POST, authority: "shop.example:81", path: "/a?b=c", headers: ["x-a: 1", "x-e: 2"], absent: [x-b], body: abcd}
  reachesUpstream: true
  response: {status: 201, headers: ["x-c: 1", "x-c: 2"], body: "yes", trailers: ["x-d: 3"]}
"#,
        ),
        (
            "head.yml",
            "request: {method: HEAD}\nupstream: {headers: ['content-length: 5']}\nexpect: {response: {body: ''}}",
        ),
        ("time.yaml", "now: '2026-11-29T10:00:00Z'\nexpect: {reachesUpstream: false}\n"),
        ("notes.txt", "is no case"),
    ];
    let (code, output, errors) = run(&headers, &cases);
    let expected = "edits: ok\nhead: ok\ntime: skipped: it sets the clock\n2 passed, 0 failed, 1 skipped";
    assert_eq!((code, output.as_str(), errors.as_str()), (Some(0), expected, ""));
}

#[test]
fn failed_case_shows_what_was_expected_and_recorded() {
    let Some(headers) = module("headers") else { return };
    let (code, output, errors) = run(
        &headers,
        &[
            (
                "different.yaml",
                "config: 'request set x-a 1'\nupstream: {body: goods}\nexpect: {request: {headers: ['x-a: 2']}, \
                 response: {status: 201}, log: ['info: hello']}\n",
            ),
            ("refused.yaml", "config: nonsense\n"),
        ],
    );
    assert_eq!((code, errors.as_str()), (Some(1), ""));
    let begin = "different: failed\n  request at the endpoint: `x-a`: expected \"2\", found \"1\"\n  response at the \
                 client: `:status`: expected \"201\", found \"200\"\n  log line `info: hello` is missing; log: empty\n  \
                 request at the endpoint:\n    :method: GET\n    :path: /\n    :authority: example.com\n    x-a: 1\n";
    assert!(output.starts_with(begin), "{output}");
    assert!(output.contains("\n  response at the client:\n    :status: 200\n"), "{output}");
    let end = "\n    \"goods\"\nrefused: failed\n  proxy_on_configure refused the configuration: unknown line in the \
               configuration: nonsense\n0 passed, 2 failed, 0 skipped";
    assert!(output.ends_with(end), "{output}");
}

#[test]
fn callouts_get_the_answers_of_the_case() {
    let Some(callout) = module("callout") else { return };
    let case = |to: &str, callouts: &str, expect: &str| {
        format!(
            "config: \"upstream {to}\\npath /check\\ntimeout 300\"\ncallouts: [{callouts}]\nexpect: {expect}\n"
        )
    };
    let own = "outbound|80||authz.shop.svc.cluster.local";
    let (code, output, errors) = run(
        &callout,
        &[
            (
                "1-allowed.yaml",
                &case(
                    "shop/authz:8080",
                    "{to: 'shop/authz:8080', expect: {method: POST, path: /check, authority: check.example, \
                     headers: ['x-original-path: /'], body: ask}, response: {headers: ['x-user: ann']}}",
                    "{request: {headers: ['x-user: ann']}}",
                ),
            ),
            (
                "2-denied.yaml",
                &case(
                    own,
                    &format!("{{to: '{own}', response: {{status: 403, body: no}}}}"),
                    "{reachesUpstream: false, response: {status: 403, body: \"denied: no\\n\"}}",
                ),
            ),
            (
                "3-reset.yaml",
                &case(
                    "authz:1",
                    "{to: 'authz:1', failure: Reset}",
                    "{reachesUpstream: false, response: {status: 503, body: \"the call failed\\n\"}}",
                ),
            ),
            (
                "4-timeout.yaml",
                &case(
                    "authz:1",
                    "{to: 'authz:1', failure: Timeout}",
                    "{reachesUpstream: false, response: {status: 503, body: \"the call failed\\n\"}}",
                ),
            ),
            ("5-missing.yaml", &case("authz:1", "{to: 'authz:1'}, {to: 'authz:1'}", "{}")),
            ("6-malformed.yaml", &case("authz", "{to: authz}", "{}")),
        ],
    );
    assert_eq!((code, errors.as_str()), (Some(1), ""));
    let begin = "1-allowed: ok\n2-denied: ok\n3-reset: ok\n4-timeout: ok\n5-missing: failed\n  callout 1 to `authz:1` is \
                 missing\n";
    assert!(output.starts_with(begin), "{output}");
    let end = "6-malformed: failed\n  \"authz\" is no upstream: write NAME:PORT, NAMESPACE/NAME:PORT or \
               outbound|PORT||NAME.NAMESPACE.svc.cluster.local\n4 passed, 2 failed, 0 skipped";
    assert!(output.ends_with(end), "{output}");
}

#[test]
fn trap_and_log_of_the_guest_are_shown() {
    let guest = wat::parse_str(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 64) "about to fail")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
            (func $named (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (drop (call $log (i32.const 1) (i32.const 64) (i32.const 13))) unreachable))"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, guest.unwrap()).unwrap();
    let expected = [("a.yaml", "expect: {response: {status: 503}, log: ['debug: about to']}")];
    assert_eq!(run(&path, &expected).1, "a: ok\n1 passed, 0 failed, 0 skipped");
    let (_, output, errors) = run(&path, &[("a.yaml", "expect: {response: {status: 200}}")]);
    assert!(
        output.contains(
            "\n  log debug: about to fail\n  log critical: trap in request headers: wasm `unreachable`"
        ),
        "{output}"
    );
    assert!(output.contains("named\n") && errors.is_empty(), "{output}{errors}");
}

#[test]
fn cases_that_cannot_run_are_errors() {
    let module = Path::new("/nonexistent.wasm");
    for (name, cases, expected) in [
        ("none", &[][..], "has no case: add a file NAME.yaml"),
        ("malformed", &[("a.yaml", "request: {methud: GET}")], "a.yaml is no case"),
        ("no module", &[("a.yaml", "{}")], "/nonexistent.wasm cannot be read"),
    ] {
        let (code, output, errors) = run(module, cases);
        assert!(errors.starts_with("gateway plugin test: ") && errors.contains(expected), "{name}: {errors}");
        assert_eq!((code, output.as_str()), (Some(1), ""), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cases")).unwrap();
    std::fs::write(folder.path().join("cases/a.yaml"), "{}").unwrap();
    for command in ["build", "test"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gateway")).args(["plugin", command]).arg(folder.path()).output();
        let errors = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(
            errors.contains("Cargo.toml does not exist: name the folder of a plugin, or write one by"),
            "{errors}"
        );
    }
}
