//! Ingresses, endpoints and namespaces are created, changed and deleted.

use crate::cluster::{cluster, wait_until};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::http_client::LoadGenerator;
use crate::objects::{TestNamespace, class, of_another_controller};

/// EndpointSlice writes per second.
const CHURN_RATE: u32 = 100;

/// Minimum writes per second. The API server shares its cores with all other processes, so [`CHURN_RATE`] is not always
/// reached.
const MIN_CHURN_RATE: f64 = 50.0;

/// An Ingress is created, gets another backend and another host, and is deleted.
pub(crate) fn ingress_lifecycle() {
    let space = TestNamespace::new("life");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    gateway.wait_until_status("life.example", 404);
    space.serve("first", "life.example");
    gateway.wait_until_served_by("life.example", "first");

    space.app("second", endpoint::start("second"));
    let mut ingress = space.ingress("first", "life.example");
    let backend = "/spec/rules/0/http/paths/0/backend/service/name";
    *ingress.pointer_mut(backend).unwrap() = "second".into();
    cluster().apply(&ingress);
    gateway.wait_until_served_by("life.example", "second");

    ingress["spec"]["rules"][0]["host"] = "other.example".into();
    cluster().apply(&ingress);
    gateway.wait_until_served_by("other.example", "second");
    gateway.wait_until_status("life.example", 404);

    // Without its Service the host stays and responds with 503.
    cluster().delete(&space.service("second"));
    gateway.wait_until_status("other.example", 503);
    cluster().apply(&space.service("second"));
    gateway.wait_until_served_by("other.example", "second");

    cluster().delete(&ingress);
    gateway.wait_until_status("other.example", 404);
    gateway.stop();
}

/// Eight slices are rewritten 100 times a second in total. Half of the writes contain an endpoint that refuses
/// connections.
pub(crate) fn endpoint_churn() {
    let space = TestNamespace::new("churn");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    let port = endpoint::start("app").port();
    // Local addresses of this cluster, in the ranges of nodes that it does not have.
    let at = |last: u8| (std::net::Ipv4Addr::new(10, 51, 0, last), port).into();
    let all: Vec<_> = (101..109).map(|last| endpoint::start_at(at(last), "app")).collect();
    let dead = at(250);
    cluster().apply(&space.service("app"));
    for (number, endpoint) in all.iter().enumerate() {
        cluster().apply(&space.slice("app", number, &[*endpoint]));
    }
    cluster().apply(&space.ingress("app", "churn.example"));
    gateway.wait_until_served_by("churn.example", "app");

    let load: Vec<_> = (0..2).map(|_| LoadGenerator::start(gateway.http, "churn.example")).collect();
    let writes = (0..500).map(|turn| {
        let (slice, round) = (turn % all.len(), turn / all.len());
        let mut some = vec![all[(slice + round) % all.len()]];
        if round % 2 == 0 {
            some.push(dead);
        }
        space.slice("app", slice, &some)
    });
    let rate = cluster().write_steadily(CHURN_RATE, writes);
    for load in load {
        load.finish_without_failure();
    }
    crate::print_past_capture(&format!("    churn: {rate:.0} changes a second\n"));
    assert!(rate > MIN_CHURN_RATE, "{rate:.0} changes a second are too few");
    for number in 0..all.len() {
        cluster().apply(&space.slice("app", number, &[dead]));
    }
    gateway.wait_until_status("churn.example", 502);
    cluster().apply(&space.slice("app", 0, &all));
    gateway.wait_until_served_by("churn.example", "app");
    gateway.stop();
}

/// The oldest Ingress has the host until its namespace terminates.
pub(crate) fn namespace_deleted() {
    let (old, new) = (TestNamespace::new("goes"), TestNamespace::without_class("stays"));
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    old.serve("old", "both.example");
    gateway.wait_until_served_by("both.example", "old");
    // Of Ingresses created in the same second, that of the first namespace by name is the older one.
    new.app("new", endpoint::start("new"));
    cluster().apply(&new.ingress_of("goes", "new", "both.example"));
    wait_until("the conflict is a Problem", || gateway.page("/problems").body.contains("stays/new"));
    assert!(gateway.get("both.example").is(200, "old"));

    let load = LoadGenerator::start(gateway.http, "both.example");
    old.delete();
    gateway.wait_until_served_by("both.example", "new");
    load.finish_without_failure();
    gateway.stop();
}

/// Each of two gateways serves its class, although both read all objects.
pub(crate) fn two_gateways() {
    let space = TestNamespace::without_class("pair");
    // Neither controller is ours: `--class` selects the gateway.
    for name in ["pair-blue", "pair-green"] {
        cluster().apply(&of_another_controller(class(name)));
    }
    let [blue, green] = ["pair-blue", "pair-green"]
        .map(|class| Gateway::start(&cluster().gateway_kubeconfig(), &["--class", class]));
    for (name, class) in [("blue", "pair-blue"), ("green", "pair-green")] {
        space.app(name, endpoint::start(name));
        cluster().apply(&space.ingress_of(class, name, &format!("{name}.pair.example")));
    }
    blue.wait_until_served_by("blue.pair.example", "blue");
    green.wait_until_served_by("green.pair.example", "green");
    assert_eq!(blue.get("green.pair.example").status, 404);
    assert_eq!(green.get("blue.pair.example").status, 404);

    // An Ingress that changes its class moves to the other gateway.
    cluster().apply(&space.ingress_of("pair-green", "blue", "blue.pair.example"));
    green.wait_until_served_by("blue.pair.example", "blue");
    blue.wait_until_status("blue.pair.example", 404);
    blue.stop();
    green.stop();
}
