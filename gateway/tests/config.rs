//! `gateway config` as a program: with a file, an environment and flags.
//!
//! Not here: the rules for values (`gateway/src/cli/config/tests.rs`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a folder, with only these environment variables.
fn gateway(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn printed_configuration_has_origins_and_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "timeouts:\n  stall: 90s\n  requestHeader: 3s\n")
        .unwrap();
    let arguments =
        ["config", "--config", "gateway.yaml", "--http", "127.0.0.1:80", "--set", "drain.delay=0s"];
    let first = gateway(folder.path(), &[("GATEWAY_TIMEOUTS_REQUEST_HEADER", "4s")], &arguments);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let printed = text(&first.stdout);
    for line in [
        "  stall: 1m30s # gateway.yaml:2",
        "  requestHeader: 4s # GATEWAY_TIMEOUTS_REQUEST_HEADER",
        "  http: \"127.0.0.1:80\" # --http",
        "  delay: 0s # --set",
        "  keepAlive: 1m15s # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}:\n{printed}");
    }
    std::fs::write(folder.path().join("again.yaml"), &printed).unwrap();
    let again = gateway(folder.path(), &[], &["config", "--config", "again.yaml"]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" #").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(values(&text(&again.stdout)), values(&printed), "{}", text(&again.stderr));
}

#[test]
fn wrong_configuration_fails_config_and_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "timeout:\n  stall: 90s\n").unwrap();
    for command in ["config", "run"] {
        let output = gateway(folder.path(), &[], &[command, "--files", ".", "--config", "gateway.yaml"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        assert!(
            stderr.contains("gateway.yaml:1: unknown key \"timeout\"; did you mean timeouts?"),
            "{stderr}"
        );
    }
}
