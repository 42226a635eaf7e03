//! `--case routes`: memory of a route, and CPU time per request with many hosts.
//!
//! Memory is that of the whole process: objects of the source, routing table, Problems. `cargo bench -p routing`
//! measures compile times and lookups alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::backend::Backend;
use super::figure::{Figure, Goal, Spread};
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess};
use super::wrk::Wrk;
use super::{leg, tell};

/// Numbers of routes. DESIGN §8 defines the memory of a route as the difference between the two.
const SMALL_ROUTE_COUNT: usize = 1_000;
const LARGE_ROUTE_COUNT: usize = 100_000;
/// Number of Services that all routes share.
const SERVICES: usize = 100;
/// Number of Ingresses in one file.
const INGRESSES_PER_FILE: usize = 1_000;
/// Time for reading and compiling, on a busy machine and in a debug build.
const READY_TIMEOUT: Duration = Duration::from_secs(600);
/// Memory is settled after this time without shrinking. The allocator releases the memory of a compile with a delay.
const SETTLE_DURATION: Duration = Duration::from_secs(2);
/// Duration of the load before the first round, in seconds. It requests every host, because the first request of a
/// route allocates its counters. It is not counted.
const WARM_UP_SECONDS: f64 = 10.0;

/// Measures memory, then the given rounds of load: in each, one leg with one host and one leg with all hosts.
///
/// # Errors
/// A program cannot be started or exits, or a response does not come from the backend.
pub(crate) fn measure(
    rounds: (u32, f64),
    load: &Wrk,
    (program, backend): ((&Path, usize), &Backend),
    dir: &Path,
) -> Result<Vec<Figure>> {
    let start = |routes| RoutesGateway::start(&dir.join(routes_name(routes)), program, routes, backend);
    let few = start(SMALL_ROUTE_COUNT)?.settled_memory()?;
    tell(&format!("{SMALL_ROUTE_COUNT} routes: {} KiB", few / 1024));
    let mut gateway = start(LARGE_ROUTE_COUNT)?;
    let many = gateway.settled_memory()?;
    tell(&format!("{LARGE_ROUTE_COUNT} routes: {} KiB", many / 1024));
    let (single, all) = cpu(rounds, load, (&mut gateway, backend), dir)?;

    let own = |rounds: &[f64]| {
        Spread::from_rounds(rounds).map(|spread| (PeerKind::Gateway, spread)).into_iter().collect()
    };
    let each = many.saturating_sub(few) as f64 / (LARGE_ROUTE_COUNT - SMALL_ROUTE_COUNT) as f64 / 1024.0;
    let ratios: Vec<f64> = single.iter().zip(&all).map(|(single, all)| all / single).collect();
    Ok(vec![
        Figure {
            what: format!("each route, {SMALL_ROUTE_COUNT} to {LARGE_ROUTE_COUNT}"),
            unit: "KiB RSS",
            values: own(&[each]),
            ratio: None,
            target: Goal::AtMost(2.0),
        },
        Figure {
            what: format!("small GET, {LARGE_ROUTE_COUNT} hosts at random; ratio to one of them"),
            unit: "µs CPU/request",
            values: own(&all),
            ratio: Spread::from_rounds(&ratios),
            target: Goal::RatioAtMost(1.05),
        },
    ])
}

/// Returns the CPU time per request in µs of each round, with one host and with all of them.
fn cpu(
    (rounds, seconds): (u32, f64),
    load: &Wrk,
    (gateway, backend): (&mut RoutesGateway, &Backend),
    dir: &Path,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (single, all) = (dir.join("one.lua"), dir.join("all.lua"));
    let in_order = dir.join("in_order.lua");
    fs::write(&single, script((LARGE_ROUTE_COUNT / 2, 1), RANDOM_ORDER))?;
    fs::write(&all, script((0, LARGE_ROUTE_COUNT), RANDOM_ORDER))?;
    fs::write(&in_order, script((0, LARGE_ROUTE_COUNT), IN_ORDER))?;
    let warmed = load.run_script(gateway.http, WARM_UP_SECONDS, &in_order)?;
    ensure!(
        warmed.requests >= LARGE_ROUTE_COUNT as u64,
        "the load asked only {} of {LARGE_ROUTE_COUNT} hosts to warm up",
        warmed.requests
    );
    let (mut with_one, mut with_all) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for (script, figures) in [(&single, &mut with_one), (&all, &mut with_all)] {
            let (counts, used) = (backend.counts()?, gateway.process.cpu()?);
            let summary = load.run_script(gateway.http, seconds, script)?;
            let used = gateway.process.cpu()?.since(used);
            let wrong =
                leg::check_counts(summary.requests, load.connections, backend.counts()?.since(counts));
            ensure!(
                wrong.is_empty() && summary.problems.is_empty(),
                "round {round}: {}",
                [wrong, summary.problems].concat().join("; ")
            );
            figures.push((used.user + used.system) / summary.requests.max(1) as f64);
        }
        tell(&format!(
            "round {round}: {:.2?} µs with one host, {:.2?} with all",
            with_one.last(),
            with_all.last()
        ));
    }
    gateway.process.check_alive()?;
    Ok((with_one, with_all))
}

/// A running gateway with many routes.
struct RoutesGateway {
    process: ChildProcess,
    http: u16,
}

impl RoutesGateway {
    fn start(dir: &Path, (program, core): (&Path, usize), routes: usize, backend: &Backend) -> Result<Self> {
        let files = dir.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("services.yaml"), services(backend.ports()))?;
        for first in (0..routes).step_by(INGRESSES_PER_FILE) {
            let ingresses: String = (first..routes.min(first + INGRESSES_PER_FILE)).map(ingress).collect();
            fs::write(files.join(format!("{first:06}.yaml")), ingresses)?;
        }
        process::with_free_ports(|[http, https, admin]| {
            let command = peer::gateway(program, core).folder(&files).listen([http, https, admin]);
            let mut process = ChildProcess::spawn("gateway", command, dir)?;
            process.wait_at_most(READY_TIMEOUT, || peer::is_ok(admin, "/readyz"))?;
            Ok(Self { process, http })
        })
    }

    /// Returns the minimum resident memory, once it no longer shrinks.
    fn settled_memory(&mut self) -> Result<u64> {
        let (mut least, mut since) = (self.process.rss()?, Instant::now());
        while since.elapsed() < SETTLE_DURATION {
            process::pause();
            self.process.check_alive()?;
            let now = self.process.rss()?;
            if now < least {
                (least, since) = (now, Instant::now());
            }
        }
        Ok(least)
    }
}

fn routes_name(routes: usize) -> String {
    format!("{routes}-routes")
}

fn ingress(index: usize) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: i{index}
  namespace: bench
spec:
  ingressClassName: gateway
  rules:
    - host: h{index}.example
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: svc{}
                port:
                  number: 80
---
",
        index % SERVICES
    )
}

fn services([first, second]: [u16; 2]) -> String {
    let mut text = String::new();
    for index in 0..SERVICES {
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "apiVersion: v1
kind: Service
metadata:
  name: svc{index}
  namespace: bench
  annotations:
    wasm-gateway.dev/endpoints: \"127.0.0.1:{first},127.0.0.1:{second}\"
spec:
  ports:
    - port: 80
---
"
        );
    }
    text
}

/// Lua expressions of the next request. `n` counts the requests, `count` is the number of hosts.
const RANDOM_ORDER: &str = "math.random(count)";
const IN_ORDER: &str = "n % count + 1";

/// Returns a wrk script that requests `count` hosts. It creates all requests before the load starts.
fn script((first, count): (usize, usize), next: &str) -> String {
    format!(
        "local requests = {{}}
local count, n = {count}, 0
init = function(args)
  for i = 1, {count} do
    requests[i] = wrk.format(\"GET\", \"/\", {{ Host = \"h\" .. ({first} + i - 1) .. \".example\" }})
  end
end
request = function()
  n = n + 1
  return requests[{next}]
end
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_hosts_match_ingress_hosts() {
        assert!(ingress(7).contains("host: h7.example"));
        assert!(script((0, 100), IN_ORDER).contains("\"h\" .. (0 + i - 1) .. \".example\""));
    }
}
