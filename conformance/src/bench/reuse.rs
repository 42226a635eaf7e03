//! `--case reuse`: share of requests on a reused upstream connection, with many workers and many Services.
//!
//! Measures the gateway alone, by its own counters: 32 workers, 50 Services of one endpoint each, 200 requests/s. The
//! load uses keep-alive connections, each of which requests all Services in turn. Before the measurement, every
//! connection has requested every Service once, so the load is steady.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::backend::Backend;
use super::figure::{Figure, Goal, Spread};
use super::http;
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess, PinnedProgram};
use crate::terminal::print_message;

const WORKERS: u16 = 32;
const SERVICES: u8 = 50;
const REQUESTS_PER_SECOND: u32 = 200;
/// Length of the leg relative to a CPU leg: 30 s by default.
const LEG_FACTOR: f64 = 10.0;
/// Maximum duration relative to the nominal one. A slower load is not 200 requests/s.
const MAX_DELAY_FACTOR: f64 = 1.5;

/// Measures once, with this number of client connections.
///
/// # Errors
/// The gateway cannot be started or exits, a request fails, or the load is too slow.
pub(crate) fn measure(
    dir: &Path,
    program: PinnedProgram<'_>,
    backend: &Backend,
    connections: u16,
    seconds: f64,
) -> Result<Figure> {
    let endpoints = backend.addresses(SERVICES).into_iter().enumerate();
    let yaml: String = endpoints.map(|(index, address)| manifests(index, address)).collect();
    let (mut gateway, port, admin) = process::with_free_ports(|[http, https, admin]| {
        let command = peer::gateway(program).workers(WORKERS).files(dir, &yaml)?.listen([http, https, admin]);
        let mut gateway = ChildProcess::spawn("gateway", command, dir)?;
        gateway.wait_until(|| peer::is_ok(admin, "/readyz"))?;
        Ok((gateway, http, admin))
    })?;
    let mut clients: Vec<_> = (0..connections).map(|_| http::connect(port)).collect::<Result<_>>()?;
    for client in &mut clients {
        for service in 0..SERVICES {
            http::get_keep_alive(client, &host(service.into()))?;
        }
    }
    let before = counters(admin)?;
    let requests = send_paced(&mut clients, seconds * LEG_FACTOR)?;
    let after = counters(admin)?;
    gateway.check_alive()?;
    let (reuses, connects) = (after.reuses - before.reuses, after.connects - before.connects);
    ensure!(
        reuses + connects >= requests,
        "{requests} responses, but {reuses} reuses and {connects} connects"
    );
    print_message(&format!(
        "upstream reuse: {reuses} of {requests} requests, {connects} connects; {} before",
        before.connects
    ));
    let share = Spread::from_rounds(&[reuses as f64 / (reuses + connects) as f64]);
    Ok(Figure {
        what: format!(
            "upstream reuse, {WORKERS} workers, {REQUESTS_PER_SECOND} requests/s, {SERVICES} Services"
        ),
        unit: "share",
        values: share.into_iter().map(|share| (PeerKind::Gateway, share)).collect::<BTreeMap<_, _>>(),
        ratio: None,
        target: Goal::AtLeast(0.99),
    })
}

/// Sends requests at a fixed rate. The connections take turns, and each next request goes to the next Service.
fn send_paced(clients: &mut [TcpStream], seconds: f64) -> Result<u64> {
    let requests = (seconds * f64::from(REQUESTS_PER_SECOND)).round() as u64;
    let start = Instant::now();
    let mut due = start;
    let mut turns = 0..requests;
    'all: loop {
        for client in &mut *clients {
            let Some(turn) = turns.next() else { break 'all };
            while let Some(early) =
                due.checked_duration_since(Instant::now()).filter(|early| !early.is_zero())
            {
                std::thread::park_timeout(early);
            }
            due += Duration::from_secs(1) / REQUESTS_PER_SECOND;
            http::get_keep_alive(client, &host(service_of(turn)))?;
        }
    }
    let took = start.elapsed().as_secs_f64();
    ensure!(
        took < seconds * MAX_DELAY_FACTOR + 1.0,
        "{requests} requests took {took:.1} s: not {REQUESTS_PER_SECOND} a second"
    );
    Ok(requests)
}

/// Returns the Service of a turn. Each pass over all Services starts one further: with a plain remainder, a connection
/// would request only a few Services if both numbers have a common divisor.
fn service_of(turn: u64) -> u64 {
    let services = u64::from(SERVICES);
    (turn + turn / services) % services
}

fn host(service: u64) -> String {
    format!("h{service}.example")
}

fn manifests(index: usize, address: SocketAddr) -> String {
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: i{index}, namespace: bench}}
spec:
  ingressClassName: gateway
  rules:
    - host: {}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {{service: {{name: s{index}, port: {{number: 80}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: s{index}, namespace: bench, annotations: {{wasm-gateway.dev/endpoints: '{address}'}}}}
spec: {{ports: [{{port: 80}}]}}
",
        host(index as u64)
    )
}

/// The gateway's counters of upstream connections.
#[derive(Clone, Copy, Debug, PartialEq)]
struct UpstreamCounters {
    reuses: u64,
    connects: u64,
}

fn counters(admin: u16) -> Result<UpstreamCounters> {
    parse(&http::get(admin, "/metrics", "")?.body).context("no counters of upstream connections in /metrics")
}

fn parse(metrics: &str) -> Option<UpstreamCounters> {
    let value = |name: &str| {
        let lines = metrics.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(key, _)| *key == name).find_map(|(_, value)| value.trim().parse().ok())
    };
    Some(UpstreamCounters {
        reuses: value("gateway_upstream_connection_reuses_total")?,
        connects: value("gateway_upstream_connects_total")?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{SERVICES, UpstreamCounters, parse, service_of};

    #[test]
    fn parse_finds_upstream_counters() {
        let text = "# HELP gateway_upstream_connects Connections opened to endpoints.\n\
            # TYPE gateway_upstream_connects counter\n\
            gateway_upstream_connects_total 12\ngateway_upstream_connect_failures_total 3\n\
            gateway_upstream_connection_reuses_total 4711\n";
        assert_eq!(parse(text), Some(UpstreamCounters { reuses: 4711, connects: 12 }));
        assert_eq!(parse("gateway_upstream_connects_total 12\n"), None);
    }

    #[test]
    fn every_connection_requests_every_service() {
        let services: BTreeSet<_> = (0..100_000).step_by(10).map(service_of).collect();
        assert_eq!(services.len(), usize::from(SERVICES));
    }
}
