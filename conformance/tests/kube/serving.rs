//! Ingresses, endpoints and namespaces come, change and go.

use crate::objects::Space;
use crate::origin;
use crate::program::Gateway;
use crate::wire::Load;
use crate::world::{until, world};

/// EndpointSlice writes a second.
const CHURN: u32 = 100;

/// So many a second have to be reached: the API server shares its cores with all others, and takes what they leave.
const LEAST_CHURN: f64 = 50.0;

/// Created, given another backend, another host, and deleted.
pub(crate) fn life_of_an_ingress() {
    let space = Space::new("life");
    let gateway = Gateway::start(&world().documented(), &[]);
    gateway.until_status("life.example", 404);
    space.serve("first", "life.example");
    gateway.until_served_by("life.example", "first");

    space.app("second", origin::start("second"));
    let mut ingress = space.ingress("first", "life.example");
    let backend = "/spec/rules/0/http/paths/0/backend/service/name";
    *ingress.pointer_mut(backend).unwrap() = "second".into();
    world().apply(&ingress);
    gateway.until_served_by("life.example", "second");

    ingress["spec"]["rules"][0]["host"] = "other.example".into();
    world().apply(&ingress);
    gateway.until_served_by("other.example", "second");
    gateway.until_status("life.example", 404);

    // A Service that goes takes its host's answers, not the host: 503, until it is back.
    world().delete(&space.service("second"));
    gateway.until_status("other.example", 503);
    world().apply(&space.service("second"));
    gateway.until_served_by("other.example", "second");

    world().delete(&ingress);
    gateway.until_status("other.example", 404);
    gateway.end();
}

/// Eight slices are rewritten 100 times a second in all, half of the time with an endpoint that refuses connections.
pub(crate) fn endpoint_churn() {
    let space = Space::new("churn");
    let gateway = Gateway::start(&world().documented(), &[]);
    let port = origin::start("app").port();
    // Addresses that are local in this cluster, for nodes that it does not have.
    let at = |last: u8| (std::net::Ipv4Addr::new(10, 51, 0, last), port).into();
    let all: Vec<_> = (101..109).map(|last| origin::start_at(at(last), "app")).collect();
    let dead = at(250);
    world().apply(&space.service("app"));
    for (number, endpoint) in all.iter().enumerate() {
        world().apply(&space.slice("app", number, &[*endpoint]));
    }
    world().apply(&space.ingress("app", "churn.example"));
    gateway.until_served_by("churn.example", "app");

    let load: Vec<_> = (0..2).map(|_| Load::start(gateway.http, "churn.example")).collect();
    let writes = (0..500).map(|turn| {
        let (slice, round) = (turn % all.len(), turn / all.len());
        let mut some = vec![all[(slice + round) % all.len()]];
        if round % 2 == 0 {
            some.push(dead);
        }
        space.slice("app", slice, &some)
    });
    let rate = world().write_steadily(CHURN, writes);
    for load in load {
        load.end_without_failure();
    }
    crate::tell(&format!("    churn: {rate:.0} changes a second\n"));
    assert!(rate > LEAST_CHURN, "{rate:.0} changes a second are no churn, even on a machine that is busy");
    for number in 0..all.len() {
        world().apply(&space.slice("app", number, &[dead]));
    }
    gateway.until_status("churn.example", 502);
    world().apply(&space.slice("app", 0, &all));
    gateway.until_served_by("churn.example", "app");
    gateway.end();
}

/// The oldest Ingress has the host, until its namespace is on its way out.
pub(crate) fn namespace_deleted() {
    let (old, new) = (Space::new("goes"), Space::without_class("stays"));
    let gateway = Gateway::start(&world().documented(), &[]);
    old.serve("old", "both.example");
    gateway.until_served_by("both.example", "old");
    // Of the same second the one in the namespace that sorts first is older.
    new.app("new", origin::start("new"));
    world().apply(&new.ingress_of("goes", "new", "both.example"));
    until("the conflict is known", || gateway.page("/problems").body.contains("stays/new"));
    assert!(gateway.get("both.example").is(200, "old"));

    let load = Load::start(gateway.http, "both.example");
    old.delete();
    gateway.until_served_by("both.example", "new");
    load.end_without_failure();
    gateway.end();
}

/// Each serves its class, although both see all objects.
pub(crate) fn two_gateways() {
    let space = Space::without_class("pair");
    let mut classes = ["pair-blue", "pair-green"].map(crate::objects::class);
    for class in &mut classes {
        // Neither controller is ours: a class is served by whom it was given to.
        class["spec"]["controller"] = "example.com/somebody".into();
        world().apply(class);
    }
    let [blue, green] =
        ["pair-blue", "pair-green"].map(|class| Gateway::start(&world().documented(), &["--class", class]));
    for (name, class) in [("blue", "pair-blue"), ("green", "pair-green")] {
        space.app(name, origin::start(name));
        world().apply(&space.ingress_of(class, name, &format!("{name}.pair.example")));
    }
    blue.until_served_by("blue.pair.example", "blue");
    green.until_served_by("green.pair.example", "green");
    assert_eq!(blue.get("green.pair.example").status, 404);
    assert_eq!(green.get("blue.pair.example").status, 404);

    // It moves to the other class: there it comes, here it goes.
    world().apply(&space.ingress_of("pair-green", "blue", "blue.pair.example"));
    green.until_served_by("blue.pair.example", "blue");
    blue.until_status("blue.pair.example", 404);
    blue.end();
    green.end();
}
