//! `--case kube`: time until an Ingress is served after the API server accepted it, and memory of many Ingresses.
//!
//! Runs inside `conformance cluster run -- …`. API server, etcd and controllers share the machine with the gateway.
//! Each time starts with the API server's response and ends with the first 200, polled every millisecond on an open
//! connection. The Service exists before. conformance/tests/kube.rs tests correctness.

mod endpoint;
mod poll;
mod writes;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::figure::{Figure, Goal, Spread};
use super::http;
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess, PinnedProgram};
use crate::terminal::print_message;
use poll::{KeepAliveClient, LiveRouteLoad};
use writes::ApiWriter;

/// Target of the 99th percentile (DESIGN §8), in milliseconds.
const MAX_P99_MS: f64 = 30.0;

/// Time after which an Ingress that is not served is a failure.
const SERVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time after which a report that is not written is a failure.
const REPORT_TIMEOUT: Duration = Duration::from_secs(600);

/// Memory is read with the requested number of Ingresses and with 10/3 of it: 3000 and 10,000 by default.
const MEMORY_FACTOR: (usize, usize) = (10, 3);

/// Number of Ingresses between two progress messages.
const PROGRESS_INTERVAL: usize = 250;

/// Returns true inside a cluster of `conformance cluster run`.
pub(crate) fn is_inside() -> bool {
    std::env::var_os("CLUSTER_LOGS").is_some() && std::env::var_os("KUBECONFIG").is_some()
}

/// Measures `count` Ingresses in parallel, then one by one under churn, then more of them for memory.
///
/// # Errors
/// The gateway or a request to the API server fails, or an Ingress is not served within 60 s.
pub(crate) fn measure(
    dir: &Path,
    program: PinnedProgram<'_>,
    count: usize,
    reports: Reports,
) -> Result<Vec<Figure>> {
    let writes = ApiWriter::connect()?;
    let mut gateway = KubeGateway::start(dir, program, reports)?;
    gateway.wait_for(writes::LIVE_HOST, 200)?;
    let mut figures = Vec::new();

    let live = LiveRouteLoad::start(gateway.http)?;
    let at_once = gateway.create_in_parallel(&writes, 0..count)?;
    figures.extend(times(&format!("{count} Ingresses at once"), &at_once, Goal::None));
    figures.push(failed("live route, Ingresses at once", live.stop()?));
    if reports == Reports::Written {
        figures.extend(gateway.wait_for_reports(count)?);
    }
    figures.push(memory(count, gateway.process.settled_rss()?));
    writes.delete_all()?;
    gateway.wait_for(&writes::host(count - 1), 404)?;

    let live = LiveRouteLoad::start(gateway.http)?;
    let churn = writes.churn();
    let one_by_one = gateway.create_one_by_one(&writes, 0..count)?;
    let rate = churn.stop()?;
    let what = format!("{count} Ingresses one by one, {rate:.0} slice writes/s");
    figures.extend(times(&what, &one_by_one, Goal::AtMost(MAX_P99_MS)));
    figures.push(failed("live route, Ingresses one by one", live.stop()?));

    let more = count * MEMORY_FACTOR.0 / MEMORY_FACTOR.1;
    gateway.create_in_parallel(&writes, count..more)?;
    figures.push(memory(more, gateway.process.settled_rss()?));
    gateway.process.check_alive()?;
    Ok(figures)
}

/// Whether the gateway writes statuses and Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reports {
    /// It does.
    Written,
    /// It does not.
    Off,
}

struct KubeGateway {
    process: ChildProcess,
    http: u16,
    admin: u16,
}

impl KubeGateway {
    fn start(dir: &Path, program: PinnedProgram<'_>, reports: Reports) -> Result<Self> {
        let kubeconfig = std::env::var_os("KUBECONFIG").context("no KUBECONFIG")?;
        process::with_free_ports(|[http, https, admin]| {
            let mut command = peer::gateway(program).cluster(Path::new(&kubeconfig));
            if reports == Reports::Written {
                command = command.reports(writes::NAMESPACE);
            }
            let mut process = ChildProcess::spawn("gateway-kube", command.listen([http, https, admin]), dir)?;
            process.wait_until(|| peer::is_ok(admin, "/readyz"))?;
            Ok(Self { process, http, admin })
        })
    }

    fn wait_for(&mut self, host: &str, status: u16) -> Result<()> {
        KeepAliveClient::connect(self.http)?.wait_for(host, status, Instant::now() + SERVE_TIMEOUT)?;
        self.process.check_alive()
    }

    /// Waits until each of `count` Ingresses and the live one has a status and an Event.
    fn wait_for_reports(&self, count: usize) -> Result<[Figure; 3]> {
        let began = Instant::now();
        let mut times = Vec::new();
        for kind in ["status", "event"] {
            while self.reports(kind)? <= count as u64 {
                ensure!(began.elapsed() < REPORT_TIMEOUT, "not all reports of kind {kind} are written");
                std::thread::park_timeout(Duration::from_millis(200));
            }
            times.push(began.elapsed().as_secs_f64());
        }
        let [statuses, events] = [0, 1].map(|index| times.get(index).copied().unwrap_or_default());
        let per_ingress = (self.reports("status")? + self.reports("event")?) as f64 / (count + 1) as f64;
        let after =
            |what: &str| format!("{count} Ingresses at once: last {what} written after the last first 200");
        Ok([
            figure(after("status"), "s", statuses, Goal::None),
            figure(after("Event"), "s", events, Goal::None),
            figure(
                "API requests of the gateway for each new Ingress".to_owned(),
                "requests",
                per_ingress,
                Goal::None,
            ),
        ])
    }

    /// Returns the number of reports of a kind that were written.
    fn reports(&self, kind: &str) -> Result<u64> {
        let page = http::get(self.admin, "/metrics", "")?;
        let name = format!("gateway_reports_total{{kind=\"{kind}\"}} ");
        let line = page.body.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.parse().ok()).with_context(|| format!("no metric {name}"))
    }

    /// Returns milliseconds, in the order of the API server's responses. Hosts are polled one after another, so a time may
    /// be too long but never too short.
    fn create_in_parallel(&self, writes: &ApiWriter, numbers: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let (began, count) = (Instant::now(), numbers.len());
        let mut client = KeepAliveClient::connect(self.http)?;
        let mut times = Vec::with_capacity(count);
        for answered in writes.apply_all(numbers) {
            let (number, at) = answered?;
            client.wait_for(&writes::host(number), 200, at + SERVE_TIMEOUT)?;
            times.push(at.elapsed().as_secs_f64() * 1e3);
            if times.len() % (4 * PROGRESS_INTERVAL) == 0 {
                print_message(&format!("at once: {} of {count} after {:.1?}", times.len(), began.elapsed()));
            }
        }
        Ok(times)
    }

    /// Returns milliseconds.
    fn create_one_by_one(&self, writes: &ApiWriter, numbers: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let (began, count) = (Instant::now(), numbers.len());
        let mut client = KeepAliveClient::connect(self.http)?;
        let mut times = Vec::with_capacity(count);
        for number in numbers {
            let at = writes.apply_one(number)?;
            client.wait_for(&writes::host(number), 200, at + SERVE_TIMEOUT)?;
            times.push(at.elapsed().as_secs_f64() * 1e3);
            if times.len() % PROGRESS_INTERVAL == 0 {
                let [p50, p99, max] = percentiles(&times);
                print_message(&format!(
                    "one by one: {} of {count} after {:.1?}; so far p50 {p50:.1} p99 {p99:.1} max {max:.1} ms",
                    times.len(),
                    began.elapsed()
                ));
            }
        }
        Ok(times)
    }
}

fn figure(what: String, unit: &'static str, value: f64, target: Goal) -> Figure {
    let values =
        Spread::from_rounds(&[value]).into_iter().map(|spread| (PeerKind::Gateway, spread)).collect();
    Figure { what, unit, values, ratio: None, target }
}

fn times(what: &str, times: &[f64], p99_target: Goal) -> [Figure; 3] {
    let [p50, p99, max] = percentiles(times);
    let of =
        |name, value, target| figure(format!("{what}: applied → first 200, {name}"), "ms", value, target);
    [of("p50", p50, Goal::None), of("p99", p99, p99_target), of("max", max, Goal::None)]
}

fn failed(what: &str, live: poll::LiveRouteReport) -> Figure {
    let poll::LiveRouteReport { succeeded, failed: bad, slowest } = live;
    print_message(&format!("{what}: {succeeded} good responses, {bad} others, slowest {slowest:.1?}"));
    figure(format!("{what}: other than 200"), "requests", bad as f64, Goal::AtMost(0.0))
}

fn memory(count: usize, bytes: u64) -> Figure {
    figure(format!("gateway with {count} Ingresses"), "MiB RSS", bytes as f64 / 1024.0 / 1024.0, Goal::None)
}

/// Returns the median, the 99th percentile and the maximum. 0 without values.
fn percentiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    [50, 99, 100].map(|share| sorted.get((last * share).div_ceil(100)).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    #[test]
    fn percentiles_are_measured_values_rounded_up() {
        let hundred: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(percentiles(&hundred), [50.0, 99.0, 99.0]);
        let thousand: Vec<f64> = (0..1001).map(f64::from).collect();
        assert_eq!(percentiles(&thousand), [500.0, 990.0, 1000.0]);
        assert_eq!(percentiles(&[]), [0.0; 3]);
    }
}
