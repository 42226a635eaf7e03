//! The status of Ingresses, Events, conditions of our kinds, and leader election.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{cluster, wait_until, wait_until_within};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::objects::{TestNamespace, class_with_config, of_another_controller};
use crate::rights::calls_about;

const ADDRESS: &str = "192.0.2.7";

/// Maximum time until another replica replaces a killed leader.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(15);

/// Ingresses of the test with many of them.
const MANY: usize = 150;

/// Starts a gateway with a namespace, a class and a Lease of this name. The class belongs to another controller, so that the
/// gateways of other tests do not serve it.
fn start(name: &str, flags: &[&str]) -> Gateway {
    start_taken(name, &[&["--set", "status.takenClasses=on"], flags].concat())
}

fn start_taken(name: &str, flags: &[&str]) -> Gateway {
    let lease = format!("status.lease={name}");
    let namespace = format!("namespaces={name}");
    let own = ["--set", &lease, "--set", &namespace, "--class", name];
    Gateway::start(&cluster().gateway_kubeconfig(), &[&own, flags].concat())
}

/// Returns a namespace with a class of the same name, which belongs to another controller.
fn namespace(name: &str) -> TestNamespace {
    let space = TestNamespace::without_class(name);
    cluster().apply(&of_another_controller(crate::objects::class(name)));
    space
}

/// Returns the addresses in the status of an Ingress.
fn addresses(ingress: &Value) -> Vec<String> {
    let found = cluster().get(ingress).unwrap_or_default();
    let points = found["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
    let address = |point: Value| point["ip"].as_str().or(point["hostname"].as_str()).unwrap().to_owned();
    points.into_iter().map(address).collect()
}

fn wait_for_addresses(ingress: &Value, expected: &[&str]) {
    let name = &ingress["metadata"]["name"];
    wait_until(&format!("{name} has addresses {expected:?}"), || addresses(ingress) == expected);
}

/// An Ingress is served when it has its status. It loses the status when it leaves the class.
pub(crate) fn written_and_withdrawn() {
    let space = namespace("status");
    let gateway = start("status", &["--status-address", "LB.example", "--status-address", ADDRESS]);
    space.app("app", endpoint::start("app"));
    let mut ingress = space.ingress("app", "status.example");
    cluster().apply(&ingress);
    wait_for_addresses(&ingress, &[ADDRESS, "lb.example"]);
    assert!(gateway.get("status.example").is(200, "app"), "the status comes after the route");

    let uid = cluster().get(&ingress).unwrap()["metadata"]["uid"].clone();
    let is_live = |event: &Value| event["reason"] == "Live" && event["regarding"]["uid"] == uid;
    wait_until("an Event says that it is live", || cluster().events_about(&ingress).iter().any(is_live));

    ingress["spec"]["ingressClassName"] = "elsewhere".into();
    cluster().apply(&ingress);
    wait_for_addresses(&ingress, &[]);
    ingress["spec"]["ingressClassName"] = "status".into();
    cluster().apply(&ingress);
    wait_for_addresses(&ingress, &[ADDRESS, "lb.example"]);
    gateway.stop();
}

/// The addresses follow the type and the status of the Service.
pub(crate) fn follows_service() {
    let space = namespace("exposed");
    let mut service = space.service("front");
    service["spec"]["type"] = "LoadBalancer".into();
    let gateway = start("exposed", &["--status-service", "exposed/front"]);
    wait_until("the missing Service is a Problem", || {
        gateway.page("/problems").body.contains("Service exposed/front: ServiceNotFound")
    });
    cluster().apply(&service);
    space.serve("app", "exposed.example");
    let ingress = space.ingress("app", "exposed.example");
    gateway.wait_until_served_by("exposed.example", "app");
    // The cluster assigns an address to the load balancer.
    wait_until("the load balancer has an address", || !addresses(&ingress).is_empty());
    let assigned = cluster().get(&service).unwrap()["status"]["loadBalancer"]["ingress"][0]["ip"].clone();
    wait_for_addresses(&ingress, &[assigned.as_str().unwrap()]);
    service["spec"]["externalIPs"] = json!([ADDRESS]);
    cluster().apply(&service);
    wait_until("the external address is added", || addresses(&ingress).contains(&ADDRESS.to_owned()));
    service["spec"]["externalIPs"] = json!([]);

    service["spec"]["type"] = "NodePort".into();
    cluster().apply(&service);
    let nodes = crate::cluster::run(
        "kubectl",
        &["get", "nodes", "-o", "jsonpath={.items[*].status.addresses[?(@.type==\"InternalIP\")].address}"],
    );
    let nodes: Vec<_> = nodes.split_whitespace().collect();
    assert!(!nodes.is_empty());
    wait_until("the addresses are those of nodes", || {
        let found = addresses(&ingress);
        !found.is_empty() && found.iter().all(|address| nodes.contains(&address.as_str()))
    });
    service["spec"]["type"] = "ClusterIP".into();
    cluster().apply(&service);
    let cluster_ip = cluster().get(&service).unwrap()["spec"]["clusterIP"].as_str().unwrap().to_owned();
    wait_for_addresses(&ingress, &[&cluster_ip]);
    gateway.stop();
}

/// The status of another controller is left as it is, and is taken over when that controller withdraws it.
pub(crate) fn conflict() {
    let space = TestNamespace::without_class("fight");
    let ingress = space.ingress("app", "fight.example");
    cluster().apply(&ingress);
    let theirs = |points: Value| {
        let mut ingress = ingress.clone();
        ingress.as_object_mut().unwrap().remove("spec");
        ingress["status"] = json!({ "loadBalancer": points });
        ingress
    };
    cluster().apply_status("other-controller", &theirs(json!({ "ingress": [{ "ip": "192.0.2.99" }] })));
    cluster().apply(&of_another_controller(crate::objects::class("fight")));
    space.app("app", endpoint::start("app"));
    let gateway = start("fight", &["--status-address", ADDRESS]);
    let is_reported = || {
        let problems = gateway.page("/problems").body;
        problems.lines().any(|line| {
            line.contains("fight/app")
                && line.contains("StatusNotWritten")
                && line.contains("other-controller")
        })
    };
    wait_until("the conflict is a Problem", is_reported);
    assert_eq!(addresses(&ingress), ["192.0.2.99"]);
    assert!(gateway.get("fight.example").is(200, "app"), "the route does not depend on the status");

    cluster().apply_status("other-controller", &theirs(json!({})));
    wait_for_addresses(&ingress, &[ADDRESS]);
    wait_until("the Problem has ended", || !is_reported());
    gateway.stop();
}

/// The status of a class of another controller is written once its IngressClassConfig says so.
pub(crate) fn taken_class() {
    let space = TestNamespace::without_class("taken");
    let class = of_another_controller(class_with_config("taken", "taken"));
    let config = |status: Value| {
        json!({
            "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
            "metadata": { "name": "taken" }, "spec": status,
        })
    };
    cluster().apply(&config(json!({})));
    cluster().apply(&class);
    space.serve("app", "taken.example");
    let ingress = space.ingress("app", "taken.example");
    let gateway = start_taken("taken", &["--status-address", ADDRESS]);
    gateway.wait_until_served_by("taken.example", "app");
    // A missing Service shows that the gateway writes.
    let mut broken = space.ingress("absent", "broken.taken.example");
    broken["metadata"]["name"] = "broken".into();
    cluster().apply(&broken);
    wait_until("the gateway writes an Event", || !cluster().events_about(&broken).is_empty());
    assert_eq!(addresses(&ingress), [""; 0]);
    cluster().apply(&config(json!({ "status": true })));
    wait_for_addresses(&ingress, &[ADDRESS]);
    cluster().apply(&config(json!({ "status": false })));
    wait_for_addresses(&ingress, &[]);
    gateway.stop();
}

/// A killed leader is replaced within 15 s, and one that is terminated at once.
pub(crate) fn leader_killed() {
    let space = namespace("leader");
    let flags = ["--status-address", ADDRESS];
    let first = start("leader", &flags);
    let is_leader =
        |gateway: &Gateway| gateway.page("/metrics").body.lines().any(|line| line == "gateway_leader 1");
    wait_until("the first replica is the leader", || is_leader(&first));
    let second = start("leader", &flags);
    space.serve("app", "leader.example");
    let ingress = |name: &str| {
        let mut ingress = space.ingress("app", &format!("{name}.leader.example"));
        ingress["metadata"]["name"] = name.into();
        ingress
    };
    cluster().apply(&ingress("before"));
    wait_for_addresses(&ingress("before"), &[ADDRESS]);
    assert!(!is_leader(&second));
    drop(first);
    cluster().apply(&ingress("after"));
    let taken = wait_until_within(TAKEOVER_TIMEOUT, "the second replica writes", || {
        addresses(&ingress("after")) == [ADDRESS]
    });
    let third = start("leader", &flags);
    second.terminate();
    let released =
        wait_until_within(TAKEOVER_TIMEOUT, "the third replica is the leader", || is_leader(&third));
    crate::print_past_capture(&format!("    leader killed: {taken:?}; leader terminated: {released:?}\n"));
    third.stop();
}

/// Each of many new Ingresses gets its status by one write.
pub(crate) fn many_at_once() {
    let space = namespace("many");
    let gateway = start("many", &["--status-address", ADDRESS]);
    space.app("app", endpoint::start("app"));
    let ingress = |number: usize| {
        let mut ingress = space.ingress("app", &format!("n{number}.many.example"));
        ingress["metadata"]["name"] = format!("n{number}").into();
        ingress
    };
    for number in 0..MANY {
        cluster().apply(&ingress(number));
    }
    gateway.wait_until_served_by(&format!("n{}.many.example", MANY - 1), "app");
    for number in 0..MANY {
        wait_for_addresses(&ingress(number), &[ADDRESS]);
    }
    let writes = calls_about("gateway", "many", "ingresses/status");
    assert_eq!(writes, MANY);
    gateway.stop();
}

/// A Problem causes a Warning with the uid of its object, until it is mended. Objects of our kinds get conditions.
pub(crate) fn events_and_conditions() {
    let space = namespace("events");
    let gateway = start("events", &[]);
    space.serve("app", "events.example");
    let mut ingress = space.ingress("app", "events.example");
    ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "absent".into();
    cluster().apply(&ingress);
    let uid = cluster().get(&ingress).unwrap()["metadata"]["uid"].clone();
    let warning = |reason: &str| {
        let events = cluster().events_about(&ingress);
        events.into_iter().find(|event| {
            event["reason"] == reason && event["type"] == "Warning" && event["regarding"]["uid"] == uid
        })
    };
    wait_until("the missing Service is an Event", || warning("ServiceNotFound").is_some());
    let event = warning("ServiceNotFound").unwrap();
    let note = event["note"].as_str().unwrap();
    assert!(note.starts_with("spec.rules[0].http.paths[0].backend") && note.contains("absent"), "{note}");
    let described = crate::cluster::run("kubectl", &["-n", "events", "describe", "ingress", "app"]);
    assert!(described.contains("ServiceNotFound"), "{described}");

    let policy = |target: &str| {
        json!({
            "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": { "name": "policy", "namespace": "events" },
            "spec": {
                "targetRefs": [{ "group": "networking.k8s.io", "kind": "Ingress", "name": target }],
                "bodySize": "1Mi",
            },
        })
    };
    let condition = |kind: &str| {
        let found = cluster().get(&policy("app")).unwrap_or_default();
        let generation = found["metadata"]["generation"].clone();
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind)?;
        let is_observed = found["observedGeneration"] == generation;
        is_observed.then(|| format!("{} {}", found["status"], found["reason"]).replace('"', ""))
    };
    cluster().apply(&policy("absent"));
    wait_until("the policy has no target", || {
        condition("Accepted").as_deref() == Some("True Accepted")
            && condition("Ready").as_deref() == Some("False TargetNotFound")
    });
    cluster().apply(&policy("app"));
    wait_until("the policy is ready", || condition("Ready").as_deref() == Some("True Ready"));
    gateway.stop();
}
