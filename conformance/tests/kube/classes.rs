//! IngressClasses, their configs, policies, and CRDs that are installed late.

use serde_json::{Value, json};

use crate::cluster::{cluster, wait_until};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::http_client::{self, LoadGenerator};
use crate::objects::{TestNamespace, class, class_with_config, of_another_controller};

/// A class is created, gets a config, changes it, and is deleted. Requests to another class do not fail.
pub(crate) fn added_changed_removed() {
    let (space, other) = (TestNamespace::without_class("classy"), TestNamespace::new("calm"));
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    other.serve("calm", "calm.example");
    gateway.wait_until_served_by("calm.example", "calm");
    let load = LoadGenerator::start(gateway.http, "calm.example");

    space.serve("app", "classy.example");
    space.app("rest", endpoint::start("rest"));
    gateway.wait_until_status("classy.example", 404);
    cluster().apply(&class("classy"));
    gateway.wait_until_served_by("classy.example", "app");

    // A config that does not allow this namespace removes its hosts.
    let config = |namespaces: Value| {
        json!({
            "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
            "metadata": { "name": "classy" }, "spec": { "allowedNamespaces": namespaces },
        })
    };
    cluster().apply(&config(json!(["elsewhere"])));
    cluster().apply(&class_with_config("classy", "classy"));
    gateway.wait_until_status("classy.example", 404);
    cluster().apply(&config(json!(["elsewhere", "classy"])));
    gateway.wait_until_served_by("classy.example", "app");

    cluster().delete(&class("classy"));
    gateway.wait_until_status("classy.example", 404);
    // The controller of a class is immutable, so the class is created again with another controller.
    let foreign = of_another_controller(class("classy"));
    cluster().apply(&foreign);
    cluster().apply(&space.ingress("rest", "rest.example"));
    // A later Ingress that is served shows that the gateway has seen the class.
    let mut marker = other.ingress("calm", "marker.example");
    marker["metadata"]["name"] = "marker".into();
    cluster().apply(&marker);
    gateway.wait_until_served_by("marker.example", "calm");
    assert_eq!(gateway.get("rest.example").status, 404);
    cluster().delete(&foreign);
    cluster().apply(&class("classy"));
    gateway.wait_until_served_by("classy.example", "app");
    gateway.wait_until_served_by("rest.example", "rest");
    load.finish_without_failure();
    gateway.stop();
}

/// Without our CRDs all other objects are served. Policies take effect once the CRDs are installed.
pub(crate) fn crds_later() {
    cluster().remove_crds();
    let space = TestNamespace::new("later");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    space.serve("app", "later.example");
    gateway.wait_until_served_by("later.example", "app");
    let load = LoadGenerator::start(gateway.http, "later.example");

    cluster().install_crds();
    cluster().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "RoutePolicy",
        "metadata": { "name": "small", "namespace": "later" },
        "spec": {
            "targetRefs": [{ "group": "networking.k8s.io", "kind": "Ingress", "name": "app" }],
            "bodySize": "16",
        },
    }));
    let post = || {
        let mut client = http_client::connect(gateway.http).unwrap();
        client.post("later.example", "/", &"x".repeat(64)).unwrap().status
    };
    wait_until("the policy is in force", || post() == 413);
    load.finish_without_failure();
    gateway.stop();
}
