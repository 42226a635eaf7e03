//! `--case kube`: how soon an Ingress is served after the API server has taken it, and what many cost in memory.
//!
//! Runs inside `conformance cluster run -- …`, whose API server, etcd and controllers share the machine with the
//! gateway. Times begin with the API server's answer and end with the first 200, asked for each millisecond on a
//! connection that stands; the Service is there before. Not here: whether it is right (conformance/tests/kube.rs).

mod poll;
mod writes;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::figure::{Figure, Spread, Target};
use super::peer::{self, Kind};
use super::process::{self, Process};
use super::tell;
use poll::{Live, Warm};
use writes::Writes;

/// DESIGN §8, milliseconds.
const LIMIT: f64 = 30.0;

/// An Ingress that is not served after so long is lost.
const LOST: Duration = Duration::from_secs(60);

/// Memory is read at the number of Ingresses that was asked for, and at so many times (in tenths) as many: 10,000
/// beside 3000.
const MORE: (usize, usize) = (10, 3);

/// A line of progress for so many Ingresses.
const PROGRESS: usize = 250;

/// Whether this process is in a cluster of `conformance cluster run`.
pub(crate) fn is_inside() -> bool {
    std::env::var_os("CLUSTER_LOGS").is_some() && std::env::var_os("KUBECONFIG").is_some()
}

/// Measures once: so many Ingresses at once, then as many one by one under churn, then more for the memory.
///
/// # Errors
/// The gateway or the API server dies or refuses, or an Ingress is never served.
pub(crate) fn measure(dir: &Path, program: (&Path, usize), count: usize) -> Result<Vec<Figure>> {
    let writes = Writes::begin()?;
    let mut gateway = Gateway::start(dir, program)?;
    gateway.wait_for(writes::LIVE, 200)?;
    let mut figures = Vec::new();

    let live = Live::start(gateway.http)?;
    let at_once = gateway.at_once(&writes, 0..count)?;
    figures.extend(times(&format!("{count} Ingresses at once"), &at_once, Target::None));
    figures.push(failed("live route, Ingresses at once", live.end()?));
    figures.push(memory(count, gateway.process.settled_rss()?));
    writes.delete_all()?;
    gateway.wait_for(&writes::host(count - 1), 404)?;

    let live = Live::start(gateway.http)?;
    let churn = writes.churn();
    let one_by_one = gateway.one_by_one(&writes, 0..count)?;
    let rate = churn.end()?;
    let what = format!("{count} Ingresses one by one, {rate:.0} slice writes/s");
    figures.extend(times(&what, &one_by_one, Target::AtMost(LIMIT)));
    figures.push(failed("live route, Ingresses one by one", live.end()?));

    let more = count * MORE.0 / MORE.1;
    gateway.at_once(&writes, count..more)?;
    figures.push(memory(more, gateway.process.settled_rss()?));
    gateway.process.check_alive()?;
    Ok(figures)
}

struct Gateway {
    process: Process,
    http: u16,
}

impl Gateway {
    fn start(dir: &Path, (program, core): (&Path, usize)) -> Result<Self> {
        let kubeconfig = std::env::var_os("KUBECONFIG").context("no KUBECONFIG")?;
        process::with_free_ports(|[http, https, admin]| {
            let command = peer::gateway(program, core).cluster(Path::new(&kubeconfig));
            let mut process = Process::spawn("gateway-kube", command.listen([http, https, admin]), dir)?;
            process.wait_until(|| peer::is_ok(admin, "/readyz"))?;
            Ok(Self { process, http })
        })
    }

    fn wait_for(&mut self, host: &str, status: u16) -> Result<()> {
        Warm::connect(self.http)?.wait_for(host, status, Instant::now() + LOST)?;
        self.process.check_alive()
    }

    /// Times in milliseconds, in the order of the API server's answers. Who is asked next waits for the one before, so
    /// that a time can come out too long but never too short.
    fn at_once(&self, writes: &Writes, numbers: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let (began, count) = (Instant::now(), numbers.len());
        let mut warm = Warm::connect(self.http)?;
        let mut times = Vec::with_capacity(count);
        for answered in writes.at_once(numbers) {
            let (number, at) = answered?;
            warm.wait_for(&writes::host(number), 200, at + LOST)?;
            times.push(at.elapsed().as_secs_f64() * 1e3);
            if times.len() % (4 * PROGRESS) == 0 {
                tell(&format!("at once: {} of {count} after {:.1?}", times.len(), began.elapsed()));
            }
        }
        Ok(times)
    }

    /// Times in milliseconds.
    fn one_by_one(&self, writes: &Writes, numbers: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let (began, count) = (Instant::now(), numbers.len());
        let mut warm = Warm::connect(self.http)?;
        let mut times = Vec::with_capacity(count);
        for number in numbers {
            let at = writes.one(number)?;
            warm.wait_for(&writes::host(number), 200, at + LOST)?;
            times.push(at.elapsed().as_secs_f64() * 1e3);
            if times.len() % PROGRESS == 0 {
                let [p50, p99, max] = percentiles(&times);
                tell(&format!(
                    "one by one: {} of {count} after {:.1?}; so far p50 {p50:.1} p99 {p99:.1} max {max:.1} ms",
                    times.len(),
                    began.elapsed()
                ));
            }
        }
        Ok(times)
    }
}

fn figure(what: String, unit: &'static str, value: f64, target: Target) -> Figure {
    let values = Spread::of(&[value]).into_iter().map(|spread| (Kind::Gateway, spread)).collect();
    Figure { what, unit, values, ratio: None, target }
}

fn times(what: &str, times: &[f64], p99_target: Target) -> [Figure; 3] {
    let [p50, p99, max] = percentiles(times);
    let of =
        |name, value, target| figure(format!("{what}: applied → first 200, {name}"), "ms", value, target);
    [of("p50", p50, Target::None), of("p99", p99, p99_target), of("max", max, Target::None)]
}

fn failed(what: &str, live: poll::Seen) -> Figure {
    let poll::Seen { good, bad, slowest } = live;
    tell(&format!("{what}: {good} good answers, {bad} others, slowest {slowest:.1?}"));
    figure(format!("{what}: other than 200"), "requests", bad as f64, Target::AtMost(0.0))
}

fn memory(count: usize, bytes: u64) -> Figure {
    figure(format!("gateway with {count} Ingresses"), "MiB RSS", bytes as f64 / 1024.0 / 1024.0, Target::None)
}

/// The median, the 99th percentile and the highest; 0 without any.
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
    fn percentiles_are_values_that_were_measured_and_never_too_low() {
        let hundred: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(percentiles(&hundred), [50.0, 99.0, 99.0]);
        let thousand: Vec<f64> = (0..1001).map(f64::from).collect();
        assert_eq!(percentiles(&thousand), [500.0, 990.0, 1000.0]);
        assert_eq!(percentiles(&[]), [0.0; 3]);
    }
}
