//! `conformance bench` as a user runs it: its checks have to catch a peer that talks to a wrong backend.
//!
//! Needs nginx, HAProxy and wrk. Not here: whether a figure is good.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn a_wrong_backend_makes_the_leg_void() {
    if is_skipped("a_wrong_backend_makes_the_leg_void", &["nginx", "haproxy", "wrk"]) {
        return;
    }
    let output = bench(&["--misroute", "haproxy"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let legs = report["legs"].as_array().unwrap();
    assert_eq!(legs.len(), 4, "{report:#}");
    for leg in legs {
        let void = leg["void"].as_array().unwrap();
        assert!(leg["requests"].as_u64().unwrap() > 0, "{leg:#}");
        if leg["peer"] == "haproxy" {
            let said = leg["void"].to_string();
            assert!(said.contains("the answer came from decoy"), "{leg:#}");
            assert!(said.contains("the backend saw 0 requests"), "{leg:#}");
        } else {
            assert!(void.is_empty(), "{leg:#}");
        }
    }
    assert!(!output.status.success(), "a void leg has to fail the run");
}

#[test]
fn right_backends_make_a_result() {
    if is_skipped("right_backends_make_a_result", &["nginx", "haproxy", "wrk"]) {
        return;
    }
    let output = bench(&[]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["ratios"]["nginx"]["median"].as_f64().unwrap() > 0.1, "{report:#}");
    for leg in report["legs"].as_array().unwrap() {
        assert!(leg["user"].as_f64().unwrap() + leg["system"].as_f64().unwrap() > 0.1, "{leg:#}");
    }
}

/// A short run. Few connections, so that opening them stays below 1 % of the requests on a busy machine.
fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args([
            "bench",
            "--peers",
            "nginx,haproxy",
            "--rounds",
            "2",
            "--seconds",
            "0.3",
            "--connections",
            "2",
        ])
        .args(["--output", "json"])
        .args(args)
        .output()
        .unwrap()
}

/// Whether a program is missing; says so past the capture, and to the list that `conformance/test` prints.
fn is_skipped(test: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !dirs.iter().any(|dir| dir.join(program).is_file()))
        .copied()
        .collect();
    if missing.is_empty() {
        return false;
    }
    let line = format!("SKIPPED: {test}: not installed: {}\n", missing.join(", "));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("GATEWAY_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(Path::new(&list)).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    true
}
