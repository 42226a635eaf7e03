//! `conformance bench` as a user runs it: its checks have to catch a peer that talks to a wrong backend.
//!
//! Needs nginx, HAProxy and wrk. Not here: whether a figure is good.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../../gateway/tests/support/missing.rs"]
mod missing;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Two runs at a time would be on the same two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Rounds and seconds of runs.
const ONCE: (&str, &str) = ("1", "0.3");
const SHORT: (&str, &str) = ("2", "0.3");
/// h2load counts the handshakes as part of its time.
const LONGER: (&str, &str) = ("2", "1.5");

#[test]
fn a_wrong_backend_makes_the_leg_void() {
    if is_skipped("a_wrong_backend_makes_the_leg_void", &["nginx", "haproxy", "wrk"]) {
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
fn small_requests_have_a_result() {
    cpu_case("small", SHORT, &["wrk"]);
}

#[test]
fn small_requests_over_tls_have_a_result() {
    cpu_case("tls-h1", SHORT, &["wrk"]);
}

#[test]
fn http2_has_a_result() {
    cpu_case("tls-h2", LONGER, &["h2load"]);
}

#[test]
fn new_connections_have_a_result() {
    cpu_case("connect", SHORT, &[]);
}

#[test]
fn handshakes_have_a_result() {
    let Some(report) = cpu_case("handshake", SHORT, &[]) else { return };
    // No CPU of our time does a P-256 signature, two X25519 operations and all around them in 20 µs.
    let cpu = report["series"][0]["cpu"]["haproxy"].as_f64().unwrap();
    assert!(cpu > 20.0, "{report:#}");
}

#[test]
fn large_bodies_have_a_result_with_and_without_splice() {
    let Some(report) = cpu_case("large", SHORT, &["h2load"]) else { return };
    let [plain, tls] = [0, 1].map(|series| &report["series"][series]["cpu"]);
    assert!(plain["haproxy-splice"].as_f64().unwrap() > 0.0, "{report:#}");
    assert!(tls["haproxy-splice"].is_null(), "{report:#}");
    // A GB at 20 GB/s of one core would be 50 ms.
    assert!(tls["haproxy"].as_f64().unwrap() > 50.0, "{report:#}");
}

/// A case of CPU time: no leg is void, and everybody's time is no nonsense. None if a program is missing.
#[track_caller]
fn cpu_case(case: &str, length: (&str, &str), programs: &[&str]) -> Option<serde_json::Value> {
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
fn memory_has_a_figure_for_each_state() {
    if is_skipped("memory_has_a_figure_for_each_state", &["nginx", "haproxy"]) {
        return;
    }
    let output = bench("nginx,haproxy", ONCE, &["--case", "memory", "--held", "300"]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 3, "{report:#}");
    let kib = |state: usize| figures[state]["values"]["haproxy"]["median"].as_f64().unwrap();
    assert!((0.0..=30.0).contains(&kib(0)), "{report:#}");
    assert!((4.0..=60.0).contains(&kib(1)), "a TLS connection has keys and buffers: {report:#}");
}

#[test]
fn the_gateway_reuses_upstream_connections() {
    // `cargo test --workspace` builds it for its own tests.
    let gateway = Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("gateway");
    if !gateway.is_file() {
        missing::skipped("the_gateway_reuses_upstream_connections: the gateway is not built");
        return;
    }
    if is_skipped("the_gateway_reuses_upstream_connections", &["nginx"]) {
        return;
    }
    let output = bench("gateway", ONCE, &["--case", "reuse", "--gateway", gateway.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let share = report["figures"][0]["values"]["gateway"]["median"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&share), "{report:#}");
}

#[test]
fn ingresses_of_a_real_api_server_are_served_and_timed() {
    const TEST: &str = "ingresses_of_a_real_api_server_are_served_and_timed";
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
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
    assert_eq!(figures.len(), 10, "{report:#}");
    for figure in figures {
        let value = figure["values"]["gateway"]["median"].as_f64().unwrap();
        let what = figure["what"].as_str().unwrap();
        match figure["unit"].as_str().unwrap() {
            // Nothing can be served a microsecond after it was accepted.
            "ms" => assert!((0.001..20_000.0).contains(&value), "{what}: {value}"),
            "requests" => assert!(value.abs() < 0.5, "{what}: {value}"),
            _ => assert!((5.0..500.0).contains(&value), "{what}: {value}"),
        }
    }
}

#[test]
fn a_case_about_the_gateway_alone_is_skipped_loudly_without_it() {
    if is_skipped("a_case_about_the_gateway_alone_is_skipped_loudly_without_it", &["nginx", "haproxy"]) {
        return;
    }
    let output = bench("nginx,haproxy", ONCE, &["--case", "reuse"]);
    assert!(!output.status.success(), "nothing was measured");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("SKIPPED: bench case Reuse"), "{said}");
}

/// A short run. Few connections, so that opening them stays below 1 % of the requests on a busy machine.
fn bench(peers: &str, (rounds, seconds): (&str, &str), args: &[&str]) -> Output {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["bench", "--peers", peers, "--rounds", rounds, "--seconds", seconds])
        .args(["--connections", "2", "--output", "json"])
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
    missing::skipped(&format!("{test}: not installed: {}", missing.join(", ")));
    true
}
