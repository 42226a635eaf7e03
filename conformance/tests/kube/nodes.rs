//! The README's install in the cluster, and a node that dies under load.

use std::net::SocketAddr;

use crate::wire::Load;
use crate::world::{SYSTEM, run, tree, until};

/// Two gateways and four apps on two nodes; one node loses its power.
pub(crate) fn install_and_lose_one() {
    let script = tree().join("conformance/example/install.sh");
    let said = run("sh", &[script.to_str().unwrap()]);
    assert!(said.contains("blue.example.com") && said.contains("\"pod\""), "{said}");

    // The gateway of the node that stays, addressed itself: what a client behind a load balancer that knows of the
    // lost node sees.
    let fields = "jsonpath={range .items[?(@.spec.nodeName==\"node-1\")]}{.status.podIP}{\"\\n\"}{end}";
    let pods = run("kubectl", &["-n", SYSTEM, "get", "pods", "-o", fields]);
    let gateway: SocketAddr = format!("{}:8080", pods.lines().next().unwrap()).parse().unwrap();
    let load: Vec<_> = (0..2).map(|_| Load::start(gateway, "blue.example.com")).collect();
    // Then each worker has kept a connection to each app, as it has under any load that lasts.
    for load in &load {
        until("the load has begun", || load.good() > 100);
    }
    run("conformance", &["cluster", "stop", "node-2"]);
    until("the lost pods are replaced", || {
        let fields = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        run("kubectl", &["get", "node", "node-2", "-o", fields]) == "Unknown"
    });
    run("kubectl", &["rollout", "status", "deployment/blue", "--timeout=60s"]);
    for load in load {
        let report = load.end_without_failure();
        crate::tell(&format!("    node lost: {} requests, slowest {:?}\n", report.good, report.slowest));
    }
    run("conformance", &["cluster", "start", "node-2"]);
    run("kubectl", &["-n", SYSTEM, "rollout", "status", "deployment/gateway", "--timeout=60s"]);
}
