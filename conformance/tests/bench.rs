//! `conformance bench` on the command line. Its checks must detect a peer that is connected to a wrong backend.
//!
//! Needs nginx, HAProxy, wrk and h2load. The tests do not judge figures.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../../gateway/tests/support/missing.rs"]
mod missing;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Held during a run: two concurrent runs would share the same two cores.
static BENCH_LOCK: Mutex<()> = Mutex::new(());

/// Length of a run.
#[derive(Clone, Copy)]
struct Length {
    rounds: &'static str,
    seconds: &'static str,
}

const ONE_ROUND: Length = Length { rounds: "1", seconds: "0.3" };
const SHORT: Length = Length { rounds: "2", seconds: "0.3" };
/// For h2load, whose time includes the handshakes.
const LONG: Length = Length { rounds: "2", seconds: "1.5" };

#[test]
fn wrong_backend_makes_the_leg_void() {
    if is_skipped("wrong_backend_makes_the_leg_void", &["nginx", "haproxy", "wrk"]) {
        return;
    }
    let output = bench("nginx,haproxy", SHORT, &["--misroute", "haproxy"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let legs = report["series"][0]["legs"].as_array().unwrap();
    assert_eq!(legs.len(), 4, "{report:#}");
    for leg in legs {
        let void = leg["void"].as_array().unwrap();
        assert!(leg["requests"].as_u64().unwrap() > 0, "{leg:#}");
        if leg["peer"] == "haproxy" {
            let reasons = leg["void"].to_string();
            assert!(reasons.contains("the response came from decoy"), "{leg:#}");
            assert!(reasons.contains("the backend saw 0 requests"), "{leg:#}");
        } else {
            assert!(void.is_empty(), "{leg:#}");
        }
    }
    assert!(!output.status.success(), "a void leg must fail the run");
}

#[test]
fn case_small_has_a_result() {
    cpu_case("small", SHORT, &["wrk"]);
}

#[test]
fn case_tls_h1_has_a_result() {
    cpu_case("tls-h1", SHORT, &["wrk"]);
}

#[test]
fn case_tls_h2_has_a_result() {
    cpu_case("tls-h2", LONG, &["h2load"]);
}

#[test]
fn case_connect_has_a_result() {
    cpu_case("connect", SHORT, &[]);
}

#[test]
fn case_handshake_has_a_result() {
    let Some(report) = cpu_case("handshake", SHORT, &[]) else { return };
    // No current CPU performs a P-256 signature and two X25519 operations in 20 µs.
    let cpu = report["series"][0]["cpu"]["haproxy"].as_f64().unwrap();
    assert!(cpu > 20.0, "{report:#}");
}

#[test]
fn case_large_has_results_with_and_without_splice() {
    let Some(report) = cpu_case("large", SHORT, &["h2load"]) else { return };
    let [plain, tls] = [0, 1].map(|series| &report["series"][series]["cpu"]);
    assert!(plain["haproxy-splice"].as_f64().unwrap() > 0.0, "{report:#}");
    assert!(tls["haproxy-splice"].is_null(), "{report:#}");
    // 50 ms per GB are 20 GB/s on one core.
    assert!(tls["haproxy"].as_f64().unwrap() > 50.0, "{report:#}");
}

/// Runs a CPU case. Asserts that no leg is void and that all times are plausible. Returns `None` if it is skipped.
#[track_caller]
fn cpu_case(case: &str, length: Length, programs: &[&str]) -> Option<serde_json::Value> {
    let needed = [&["nginx", "haproxy"], programs].concat();
    if is_skipped(&format!("bench case {case}"), &needed) {
        return None;
    }
    let output = bench("nginx,haproxy", length, &["--case", case]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for series in report["series"].as_array().unwrap() {
        let ratio = series["ratios"]["nginx"]["median"].as_f64().unwrap();
        assert!((0.05..20.0).contains(&ratio), "{report:#}");
        for leg in series["legs"].as_array().unwrap() {
            assert!(leg["user"].as_f64().unwrap() + leg["system"].as_f64().unwrap() > 0.1, "{leg:#}");
        }
    }
    Some(report)
}

#[test]
fn case_memory_has_a_figure_for_each_state() {
    if is_skipped("case_memory_has_a_figure_for_each_state", &["nginx", "haproxy"]) {
        return;
    }
    let output = bench("nginx,haproxy", ONE_ROUND, &["--case", "memory", "--held", "300"]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 3, "{report:#}");
    let kib = |state: usize| figures[state]["values"]["haproxy"]["median"].as_f64().unwrap();
    assert!((0.0..=30.0).contains(&kib(0)), "{report:#}");
    assert!((4.0..=60.0).contains(&kib(1)), "a TLS connection needs keys and buffers: {report:#}");
}

#[test]
fn case_reuse_reports_a_share() {
    // `cargo test --workspace` builds the gateway.
    let gateway = Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("gateway");
    if !gateway.is_file() {
        missing::skipped("case_reuse_reports_a_share: the gateway is not built");
        return;
    }
    if is_skipped("case_reuse_reports_a_share", &["nginx"]) {
        return;
    }
    let output = bench("gateway", ONE_ROUND, &["--case", "reuse", "--gateway", gateway.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let share = report["figures"][0]["values"]["gateway"]["median"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&share), "{report:#}");
}

#[test]
fn case_filters_reports_each_filter() {
    let Some(figures) = gateway_figures("case_filters_reports_each_filter", "filters") else { return };
    assert_eq!(figures.len(), 4, "{figures:#?}");
    for figure in figures {
        let ratio = figure["ratio"]["median"].as_f64().unwrap();
        assert!((0.2..5.0).contains(&ratio), "{figure:#}");
    }
}

#[test]
fn case_plugins_reports_each_chain_and_the_memory() {
    let Some(figures) = gateway_figures("case_plugins_reports_each_chain_and_the_memory", "plugins") else {
        return;
    };
    // Seven chains, and the memory of an instance of four modules.
    assert_eq!(figures.len(), 11, "{figures:#?}");
    for figure in &figures {
        assert!(figure["values"]["gateway"]["median"].is_number(), "{figure:#}");
    }
    for figure in &figures[7..] {
        let kib = figure["values"]["gateway"]["median"].as_f64().unwrap();
        assert!((1.0..32_768.0).contains(&kib), "{figures:#?}");
    }
}

/// Measures a case of the gateway alone. Returns its figures, or `None` if a program is missing.
fn gateway_figures(test: &str, case: &str) -> Option<Vec<serde_json::Value>> {
    let gateway = Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("gateway");
    if !gateway.is_file() {
        missing::skipped(&format!("{test}: the gateway is not built"));
        return None;
    }
    if is_skipped(test, &["nginx", "wrk"]) {
        return None;
    }
    let output = bench("gateway", ONE_ROUND, &["--case", case, "--gateway", gateway.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if let Some(reason) = stderr.lines().find(|line| line.contains("wasm32-wasip1 (rustup")) {
        missing::skipped(&format!("{test}: {reason}"));
        return None;
    }
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["figures"].as_array().cloned()
}

#[test]
fn case_kube_reports_times_and_memory() {
    const TEST: &str = "case_kube_reports_times_and_memory";
    let tool = env!("CARGO_BIN_EXE_conformance");
    let gateway = Path::new(tool).with_file_name("gateway");
    let parts = Command::new(tool).args(["cluster", "parts"]).output().unwrap();
    if !gateway.is_file() || !parts.status.success() {
        return missing::skipped(&format!(
            "{TEST}: no gateway, or {}",
            String::from_utf8_lossy(&parts.stderr).trim()
        ));
    }
    if is_skipped(TEST, &["nginx"]) {
        return;
    }
    let args = ["--case", "kube", "--ingresses", "30", "--gateway", gateway.to_str().unwrap()];
    let _guard = BENCH_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(tool)
        .args([
            "cluster", "run", "--nodes", "1", "--", tool, "bench", "--peers", "gateway", "--output", "json",
        ])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 13, "{report:#}");
    for figure in figures {
        let value = figure["values"]["gateway"]["median"].as_f64().unwrap();
        let what = figure["what"].as_str().unwrap();
        match figure["unit"].as_str().unwrap() {
            // No Ingress is served within 1 µs.
            "ms" => assert!((0.001..20_000.0).contains(&value), "{what}: {value}"),
            "requests" if what.starts_with("API") => assert!((1.0..10.0).contains(&value), "{what}: {value}"),
            "requests" => assert!(value.abs() < 0.5, "{what}: {value}"),
            "s" => assert!((0.0..60.0).contains(&value), "{what}: {value}"),
            _ => assert!((5.0..500.0).contains(&value), "{what}: {value}"),
        }
    }
}

#[test]
fn case_reuse_without_gateway_is_reported_as_skipped() {
    if is_skipped("case_reuse_without_gateway_is_reported_as_skipped", &["nginx", "haproxy"]) {
        return;
    }
    let output = bench("nginx,haproxy", ONE_ROUND, &["--case", "reuse"]);
    assert!(!output.status.success(), "nothing was measured");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("SKIPPED: bench case Reuse"), "{stderr}");
}

/// Runs the benchmark. With 2 connections, new ones stay below 1 % of the requests even on a busy machine.
fn bench(peers: &str, length: Length, args: &[&str]) -> Output {
    let _guard = BENCH_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["bench", "--peers", peers, "--rounds", length.rounds, "--seconds", length.seconds])
        .args(["--connections", "2", "--output", "json"])
        .args(args)
        .output()
        .unwrap()
}

/// Returns whether the test is skipped because a program is missing. Reports that past the capture, for
/// `conformance/test`.
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
    missing::skipped(&format!("{test}: not installed: {}", missing.join(", ")));
    true
}
