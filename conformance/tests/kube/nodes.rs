//! The install script of the README, and a node that is lost under load.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cluster::{GATEWAY_NAMESPACE, repository_root, run, wait_until};
use crate::http_client::{LoadGenerator, MAX_LATENCY};

/// Maximum latency of a request to an endpoint on the lost node: 2.5 s until the gateway probes the dead peer
/// (gateway/ARCHITECTURE.md), and another attempt.
const LOST_NODE_LATENCY: Duration = Duration::from_millis(2500).saturating_add(MAX_LATENCY);

/// Two gateways and four apps run on two nodes. One node is powered off.
pub(crate) fn install_and_lose_one() {
    let script = repository_root().join("conformance/example/install.sh");
    let output = run("sh", &[script.to_str().unwrap()]);
    assert!(output.contains("blue.example.com") && output.contains("\"pod\""), "{output}");

    // Requests go to the gateway on the other node, as from a load balancer that has detected the lost node.
    let fields = "jsonpath={range .items[?(@.spec.nodeName==\"node-1\")]}{.status.podIP}{\"\\n\"}{end}";
    let pods = run("kubectl", &["-n", GATEWAY_NAMESPACE, "get", "pods", "-o", fields]);
    let gateway: SocketAddr = format!("{}:8080", pods.lines().next().unwrap()).parse().unwrap();
    let load: Vec<_> = (0..2).map(|_| LoadGenerator::start(gateway, "blue.example.com")).collect();
    // After 100 requests each worker has an idle connection to each app, as under lasting load.
    for load in &load {
        wait_until("the load has started", || load.succeeded() > 100);
    }
    assert_eq!(ready_apps(), ["node-1", "node-2"], "the lost node would have no app");
    run("conformance", &["cluster", "stop", "node-2"]);
    wait_until("the lost app is replaced", || ready_apps() == ["node-1", "node-1"]);
    // After 100 more requests each worker has connected to the new app.
    for load in &load {
        let before = load.succeeded();
        wait_until("the load goes on", || load.succeeded() > before + 100);
    }
    for load in load {
        let report = load.finish_without_failure_within(LOST_NODE_LATENCY);
        crate::print_past_capture(&format!(
            "    node lost: {} requests, slowest {:?}\n",
            report.succeeded, report.slowest
        ));
    }
    run("conformance", &["cluster", "start", "node-2"]);
    run("kubectl", &["-n", GATEWAY_NAMESPACE, "rollout", "status", "deployment/gateway", "--timeout=60s"]);
}

/// Returns the node of each ready, non-terminating app pod.
fn ready_apps() -> Vec<String> {
    let fields = "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status},\
                  {.metadata.deletionTimestamp},{.spec.nodeName}{\"\\n\"}{end}";
    let output = run("kubectl", &["get", "pods", "-l", "app=blue", "-o", fields]);
    let mut nodes: Vec<_> =
        output.lines().filter_map(|pod| pod.strip_prefix("True,,")).map(str::to_owned).collect();
    nodes.sort();
    nodes
}
