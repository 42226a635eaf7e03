//! Classes, their configs and policies, and definitions that come later.

use serde_json::{Value, json};

use crate::objects::{Space, class, class_with};
use crate::origin;
use crate::program::Gateway;
use crate::wire::{Load, Wire};
use crate::world::{until, world};

/// A class appears, gets a config, changes it, and goes; the load on another class notices nothing.
pub(crate) fn added_changed_removed() {
    let (space, other) = (Space::without_class("classy"), Space::new("calm"));
    let gateway = Gateway::start(&world().documented(), &[]);
    other.serve("calm", "calm.example");
    gateway.until_served_by("calm.example", "calm");
    let load = Load::start(gateway.http, "calm.example");

    space.serve("app", "classy.example");
    space.app("rest", origin::start("rest"));
    gateway.until_status("classy.example", 404);
    world().apply(&class("classy"));
    gateway.until_served_by("classy.example", "app");

    // A config that leaves this namespace out takes its hosts away.
    let config = |namespaces: Value| {
        json!({
            "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
            "metadata": { "name": "classy" }, "spec": { "allowedNamespaces": namespaces },
        })
    };
    world().apply(&config(json!(["elsewhere"])));
    world().apply(&class_with("classy", "classy"));
    gateway.until_status("classy.example", 404);
    world().apply(&config(json!(["elsewhere", "classy"])));
    gateway.until_served_by("classy.example", "app");

    world().delete(&class("classy"));
    gateway.until_status("classy.example", 404);
    // The controller of a class is immutable; another one of the same name is not ours.
    let mut foreign = class("classy");
    foreign["spec"]["controller"] = "example.com/somebody".into();
    world().apply(&foreign);
    world().apply(&space.ingress("rest", "rest.example"));
    // What is written after that and served shows that it was seen.
    let mut marker = other.ingress("calm", "marker.example");
    marker["metadata"]["name"] = "marker".into();
    world().apply(&marker);
    gateway.until_served_by("marker.example", "calm");
    assert_eq!(gateway.get("rest.example").status, 404);
    world().delete(&foreign);
    world().apply(&class("classy"));
    gateway.until_served_by("classy.example", "app");
    gateway.until_served_by("rest.example", "rest");
    load.end_without_failure();
    gateway.end();
}

/// Without our definitions all else is served; they take effect when they come, and their end when they go.
pub(crate) fn definitions_later() {
    world().remove_definitions();
    let space = Space::new("later");
    let gateway = Gateway::start(&world().documented(), &[]);
    space.serve("app", "later.example");
    gateway.until_served_by("later.example", "app");
    let load = Load::start(gateway.http, "later.example");

    world().install_definitions();
    world().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "RoutePolicy",
        "metadata": { "name": "small", "namespace": "later" },
        "spec": {
            "targetRefs": [{ "group": "networking.k8s.io", "kind": "Ingress", "name": "app" }],
            "bodySize": "16",
        },
    }));
    let post = || {
        let mut wire = Wire::connect(gateway.http).unwrap();
        wire.post("later.example", "/", &"x".repeat(64)).unwrap().status
    };
    until("the policy is in force", || post() == 413);
    load.end_without_failure();
    gateway.end();
}
