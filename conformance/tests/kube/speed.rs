//! Time from the API server's response to `apply` until the first 200, under churn.
//!
//! The times are printed, not asserted, because the machine and this process are shared. `conformance bench --case
//! kube` measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cluster::{Polling, cluster, wait_until_polled};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::http_client::{self, LoadGenerator};
use crate::objects::TestNamespace;

/// The limit is far above the goal of 30 ms, but a poll of the API or a lost event would exceed it.
const POLLING: Polling = Polling { limit: Duration::from_secs(2), interval: Duration::from_millis(1) };

const INGRESSES: usize = 100;

/// Applies Ingresses one by one and polls each every ms on a warm connection. Meanwhile 100 EndpointSlices and one
/// other Ingress change a second.
pub(crate) fn applied_to_served() {
    let space = TestNamespace::new("speed");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    space.serve("app", "live.speed.example");
    gateway.wait_until_served_by("live.speed.example", "app");
    let load = LoadGenerator::start(gateway.http, "live.speed.example");
    let stop = Arc::new(AtomicBool::new(false));
    let churn = churn(&stop);

    let mut client = http_client::connect(gateway.http).unwrap();
    let mut times = Vec::new();
    for number in 0..INGRESSES {
        let host = format!("n{number}.speed.example");
        let mut ingress = space.ingress("app", &host);
        ingress["metadata"]["name"] = format!("n{number}").into();
        cluster().apply(&ingress);
        let is_served = || client.get(&host, "/").unwrap().status == 200;
        times.push(wait_until_polled(POLLING, &format!("{host} is served"), is_served));
    }
    stop.store(true, Ordering::Relaxed);
    let rate = churn.join().unwrap();
    let report = load.finish_without_failure();
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    crate::print_past_capture(&format!(
        "    applied → served: {INGRESSES} Ingresses, p50 {:?} p99 {:?} max {:?}; {rate:.0} slice writes/s; {} requests to a live route, {} failed; RSS {} KiB\n",
        at(50),
        at(99),
        at(100),
        report.succeeded,
        report.failed,
        gateway.rss_kib()
    ));
    gateway.stop();
}

/// Writes 100 slices a second of Services without requests, and one Ingress a second. Returns the writes per second.
fn churn(stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<f64> {
    let stop = Arc::clone(stop);
    let space = TestNamespace::without_class("noise");
    let endpoints = [(endpoint::NODE_IP, 9).into(), (std::net::IpAddr::from([10, 50, 0, 2]), 9).into()];
    for service in (0..10).map(|number| format!("s{number}")) {
        space.app(&service, endpoints[0]);
    }
    cluster().apply(&space.ingress_of("speed", "s0", "edit.speed.example"));
    std::thread::spawn(move || {
        let writes =
            (0..).take_while(|_| !stop.load(Ordering::Relaxed)).map(|turn: usize| match turn % 100 {
                0 => space.ingress_of("speed", "s0", &format!("edit{turn}.speed.example")),
                _ => space.slice(&format!("s{}", turn % 10), 1, &endpoints[..1 + turn / 10 % 2]),
            });
        cluster().write_steadily(100, writes)
    })
}
