//! `--case routes`: memory of a route, and CPU time per request with many hosts.
//!
//! Memory is that of the whole process: objects of the source, routing table, Problems. `cargo bench -p routing`
//! measures compile times and lookups alone.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::backend::Backend;
use super::figure::{Figure, Goal, Spread};
use super::gateway_load::GatewayLoad;
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess, PinnedProgram};
use crate::terminal::print_message;

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

/// CPU time per request in µs, one value for each round.
#[derive(Default)]
struct CpuRounds {
    one_host: Vec<f64>,
    all_hosts: Vec<f64>,
}

/// Measures the case.
pub(crate) struct RoutesCase<'a>(pub(crate) GatewayLoad<'a>);

impl RoutesCase<'_> {
    /// Measures memory, then the rounds of load: in each, one leg with one host and one leg with all hosts.
    ///
    /// # Errors
    /// A program cannot be started or exits, or a response does not come from the backend.
    pub(crate) fn measure(&self) -> Result<Vec<Figure>> {
        let start = |routes| {
            let dir = self.0.dir.join(format!("{routes}-routes"));
            RoutesGateway::start(&dir, self.0.gateway, routes, self.0.backend)
        };
        let few = start(SMALL_ROUTE_COUNT)?.settled_memory()?;
        print_message(&format!("{SMALL_ROUTE_COUNT} routes: {} KiB", few / 1024));
        let mut gateway = start(LARGE_ROUTE_COUNT)?;
        let many = gateway.settled_memory()?;
        print_message(&format!("{LARGE_ROUTE_COUNT} routes: {} KiB", many / 1024));
        let CpuRounds { one_host, all_hosts } = self.cpu(&mut gateway)?;

        let gateway_value = |rounds: &[f64]| {
            Spread::from_rounds(rounds).map(|spread| (PeerKind::Gateway, spread)).into_iter().collect()
        };
        let each = many.saturating_sub(few) as f64 / (LARGE_ROUTE_COUNT - SMALL_ROUTE_COUNT) as f64 / 1024.0;
        let ratios: Vec<f64> = one_host.iter().zip(&all_hosts).map(|(one, all)| all / one).collect();
        Ok(vec![
            Figure {
                what: format!("each route, {SMALL_ROUTE_COUNT} to {LARGE_ROUTE_COUNT}"),
                unit: "KiB RSS",
                values: gateway_value(&[each]),
                ratio: None,
                target: Goal::AtMost(2.0),
            },
            Figure {
                what: format!("small GET, {LARGE_ROUTE_COUNT} hosts at random; ratio to one of them"),
                unit: "µs CPU/request",
                values: gateway_value(&all_hosts),
                ratio: Spread::from_rounds(&ratios),
                target: Goal::RatioAtMost(1.05),
            },
        ])
    }

    /// Measures the CPU time per request with one host and with all of them.
    fn cpu(&self, gateway: &mut RoutesGateway) -> Result<CpuRounds> {
        let GatewayLoad { wrk, dir, .. } = &self.0;
        let (one, all, in_order) = (dir.join("one.lua"), dir.join("all.lua"), dir.join("in_order.lua"));
        let middle = LARGE_ROUTE_COUNT / 2;
        fs::write(&one, script(middle..middle + 1, RANDOM_ORDER))?;
        fs::write(&all, script(0..LARGE_ROUTE_COUNT, RANDOM_ORDER))?;
        fs::write(&in_order, script(0..LARGE_ROUTE_COUNT, IN_ORDER))?;
        let warmed = wrk.run_script(gateway.http, WARM_UP_SECONDS, &in_order)?;
        ensure!(
            warmed.requests >= LARGE_ROUTE_COUNT as u64,
            "the load requested only {} of {LARGE_ROUTE_COUNT} hosts to warm up",
            warmed.requests
        );
        let mut cpu = CpuRounds::default();
        for round in 1..=self.0.rounds {
            for (script, figures) in [(&one, &mut cpu.one_host), (&all, &mut cpu.all_hosts)] {
                figures.push(self.0.cpu_per_request(&gateway.process, gateway.http, script)?);
            }
            print_message(&format!(
                "round {round}: {:.2?} µs with one host, {:.2?} with all",
                cpu.one_host.last(),
                cpu.all_hosts.last()
            ));
        }
        gateway.process.check_alive()?;
        Ok(cpu)
    }
}

/// A running gateway with many routes.
struct RoutesGateway {
    process: ChildProcess,
    http: u16,
}

impl RoutesGateway {
    fn start(dir: &Path, program: PinnedProgram<'_>, routes: usize, backend: &Backend) -> Result<Self> {
        let files = dir.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("services.yaml"), services(backend.ports()))?;
        for first in (0..routes).step_by(INGRESSES_PER_FILE) {
            let ingresses: String = (first..routes.min(first + INGRESSES_PER_FILE)).map(ingress).collect();
            fs::write(files.join(format!("{first:06}.yaml")), ingresses)?;
        }
        process::with_free_ports(|[http, https, admin]| {
            let command = peer::gateway(program).folder(&files).listen([http, https, admin]);
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
fn script(hosts: Range<usize>, next: &str) -> String {
    let (first, count) = (hosts.start, hosts.len());
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
        assert!(script(0..100, IN_ORDER).contains("\"h\" .. (0 + i - 1) .. \".example\""));
    }
}
