//! The metrics page: its formats, the families that do not count requests, and the rules of Prometheus.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use gateway::observe::counters::RequestLabels;
use gateway::settings::Settings;
use missing::is_missing;
use support::fixtures::{ingress, service};
use support::{Origin, TestGateway, Wire, until};

/// Starts a gateway with one Ingress that is served and one that has a Problem, and sends three requests.
fn gateway(settings: Settings) -> (TestGateway, Origin) {
    let origin = Origin::named("a");
    let yaml = ingress("one").host("a.example").path("/", "a")
        + ingress("two").host("b.example").path("/", "absent")
        + service("a").endpoints(&[origin.address]);
    let gateway = TestGateway::unready(&yaml, settings);
    until("the gateway is ready", || gateway.admin("/readyz").0 == 200);
    for _ in 0..3 {
        assert_eq!(gateway.get("a.example", "/").status(), 200);
    }
    (gateway, origin)
}

#[test]
fn metrics_pass_the_rules_of_prometheus() {
    if is_missing("promtool", "metrics_pass_the_rules_of_prometheus") {
        return;
    }
    let (gateway, _origin) = gateway(Settings::default());
    let page = gateway.admin("/metrics").1;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let report =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.is_empty(), "{report}\n{page}");
}

#[test]
fn page_has_the_format_that_the_scraper_accepts() {
    let (gateway, _origin) = gateway(Settings::default());
    let accept = |accept: &str| {
        let mut client = Wire::connect(gateway.gateway.admin);
        client.send(format!("GET /metrics HTTP/1.1\r\nHost: admin\r\nAccept: {accept}\r\n\r\n"));
        let response = client.response();
        (response.field("content-type").unwrap().to_owned(), response.text().to_owned())
    };
    let (kind, page) = accept("*/*");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(page.contains("# TYPE gateway_requests_total counter\n") && !page.contains("# EOF"), "{page}");
    let (kind, page) = accept("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(page.contains("# TYPE gateway_requests counter\n") && page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn requests_have_durations_and_bytes_by_service() {
    let (gateway, _origin) = gateway(Settings::default());
    let labels = "{namespace=\"default\",ingress=\"one\",service=\"a\"}";
    let with_bound = labels.replace('{', "{le=\"+Inf\",");
    until("all requests are counted", || {
        let page = gateway.admin("/metrics").1;
        let has = |line: String| page.lines().any(|found| found == line);
        has(format!("gateway_request_duration_seconds_count{labels} 3"))
            && has(format!("gateway_request_duration_seconds_bucket{with_bound} 3"))
            && has(format!("gateway_upstream_first_byte_seconds_count{labels} 3"))
            && has(format!("gateway_response_body_bytes_total{labels} 3"))
    });
}

#[test]
fn labels_of_requests_can_be_switched_off() {
    let (gateway, _origin) = gateway(Settings { request_labels: RequestLabels::None, ..Settings::default() });
    let labels = "{namespace=\"\",ingress=\"\",service=\"\"}";
    until("all requests are counted", || {
        gateway.admin("/metrics").1.contains(&format!("gateway_request_duration_seconds_count{labels} 3\n"))
    });
    let page = gateway.admin("/metrics").1;
    assert!(!page.contains("ingress=\"one\""), "{page}");
}

#[test]
fn control_plane_shows_problems_table_and_process() {
    let (gateway, _origin) = gateway(Settings::default());
    let page = gateway.admin("/metrics").1;
    for line in [
        "gateway_problems{reason=\"ServiceNotFound\"} 1",
        "gateway_generation 1",
        "gateway_endpoints{state=\"unready\"} 0",
        concat!("gateway_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in:\n{page}");
    }
    let value = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in:\n{page}")).parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_cpu_seconds_total") > 0.0);
    assert!(value("process_open_fds") > 3.0 && value("process_max_fds") >= value("process_open_fds"));
    assert!(value("gateway_generation_timestamp_seconds") >= value("process_start_time_seconds"));
    assert!(value("gateway_table_hash") > 0.0);
}
