//! `--case routes`: memory of a route, and CPU time per request with many hosts.
//!
//! Memory is that of the whole process: objects of the source, routing table, Problems. `cargo bench -p routing`
//! measures compile times and lookups alone.

use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::figure::{Figure, Goal, Spread};
use super::gateway_load::{GatewayLoad, LoadedProxy, ScriptedLoad, cpu_figure};
use super::objects;
use super::peer::PeerKind;
use super::process::{self, ChildProcess};
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

/// Measures the case.
pub(crate) struct RoutesCase<'a>(pub(crate) GatewayLoad<'a>);

impl RoutesCase<'_> {
    /// Measures memory, then the rounds of load: in each, one leg with one host and one leg with all hosts.
    ///
    /// # Errors
    /// A program cannot be started or exits, or a response does not come from the backend.
    pub(crate) fn measure(&self) -> Result<Vec<Figure>> {
        let few = settled_memory(&mut self.start(SMALL_ROUTE_COUNT)?.process)?;
        print_message(&format!("{SMALL_ROUTE_COUNT} routes: {} KiB", few / 1024));
        let mut gateway = self.start(LARGE_ROUTE_COUNT)?;
        let many = settled_memory(&mut gateway.process)?;
        print_message(&format!("{LARGE_ROUTE_COUNT} routes: {} KiB", many / 1024));
        let [one_host, all_hosts] = self.cpu(&mut gateway)?;

        let each = many.saturating_sub(few) as f64 / (LARGE_ROUTE_COUNT - SMALL_ROUTE_COUNT) as f64 / 1024.0;
        let values = Spread::from_rounds(&[each]).map(|spread| (PeerKind::Gateway, spread));
        let what = format!("small GET, {LARGE_ROUTE_COUNT} hosts at random; ratio to one of them");
        Ok(vec![
            Figure {
                what: format!("each route, {SMALL_ROUTE_COUNT} to {LARGE_ROUTE_COUNT}"),
                unit: "KiB RSS",
                values: values.into_iter().collect(),
                ratio: None,
                target: Goal::AtMost(2.0),
            },
            cpu_figure(what, &one_host, &all_hosts, Goal::RatioAtMost(1.05)),
        ])
    }

    /// Measures the CPU time per request with one host and with all of them.
    fn cpu(&self, gateway: &mut LoadedProxy) -> Result<[Vec<f64>; 2]> {
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
        let loads = [one, all].map(|script| ScriptedLoad { proxy: gateway, script });
        let mut cpu = self.0.rounds(&loads)?.into_iter();
        gateway.process.check_alive()?;
        Ok([cpu.next().unwrap_or_default(), cpu.next().unwrap_or_default()])
    }

    /// Starts a gateway with this number of routes.
    fn start(&self, routes: usize) -> Result<LoadedProxy> {
        let dir = self.0.dir.join(format!("{routes}-routes"));
        let files = dir.join("files");
        fs::create_dir_all(&files)?;
        let ports = self.0.backend.ports();
        let services = (0..SERVICES).map(|index| objects::service(&format!("svc{index}"), ports));
        fs::write(files.join("services.yaml"), services.collect::<String>())?;
        for first in (0..routes).step_by(INGRESSES_PER_FILE) {
            let ingresses: String = (first..routes.min(first + INGRESSES_PER_FILE)).map(ingress).collect();
            fs::write(files.join(format!("{first:06}.yaml")), ingresses)?;
        }
        self.0.start(&dir, READY_TIMEOUT)
    }
}

/// Returns the minimum resident memory, once it no longer shrinks.
fn settled_memory(process: &mut ChildProcess) -> Result<u64> {
    let (mut least, mut since) = (process.rss()?, Instant::now());
    while since.elapsed() < SETTLE_DURATION {
        process::pause();
        process.check_alive()?;
        let now = process.rss()?;
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    Ok(least)
}

fn ingress(index: usize) -> String {
    objects::ingress(&format!("i{index}"), &format!("h{index}.example"), &format!("svc{}", index % SERVICES))
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
