//! RBAC rights of the gateway: exactly the documented ones, fewer, and those of one namespace.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificates::{certificate, is_trusted};
use crate::cluster::{
    GATEWAY_NAMESPACE, Polling, WAIT_TIMEOUT, cluster, manifest_objects, repository_root, wait_until,
    wait_until_ok,
};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::objects::{TestNamespace, class, class_with_config, of_another_controller, with_tls};

/// The cluster has an object for every call that the gateway makes. No call is forbidden, and every allowed call is
/// made.
pub(crate) fn documented_rules() {
    let space = TestNamespace::without_class("rights");
    // A class of another controller: the default backend of one of ours would serve in all other tests too.
    cluster().apply(&of_another_controller(class_with_config("rights", "rights")));
    cluster().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
        "metadata": { "name": "rights" },
        "spec": {
            "defaultBackend": { "namespace": "rights", "service": "rest", "port": 80 },
            "defaultCertificate": { "namespace": "rights", "name": "pair" },
            "status": true,
        },
    }));
    let certificate = certificate("rights.example");
    cluster().apply(&space.secret("pair", &certificate));
    plugin_with_config_map("rights", "app");
    space.app("rest", endpoint::start("rest"));
    space.serve("app", "rights.example");
    cluster().apply(&with_tls(space.ingress("app", "rights.example"), "rights.example", "pair"));
    cluster().apply(&policy("rights", "app"));
    grant_in_cluster("exact", cluster().rules());
    let flags = ["--class", "rights", "--status-address", "192.0.2.1", "--set", "status.lease=rights"];
    // The second gateway finds the Event of the first, and counts in it.
    let gateway = Gateway::start(&cluster().kubeconfig("exact", None), &flags);
    wait_until("an Event was created", || {
        calls_of("exact").contains(&["events.k8s.io", "events", "create"].map(str::to_owned))
    });
    gateway.stop();
    let gateway = Gateway::start(&cluster().kubeconfig("exact", None), &flags);
    gateway.wait_until_served_by("rights.example", "app");
    gateway.wait_until_served_by("unknown.rights.example", "rest");
    wait_until("the certificate is used", || is_trusted(gateway.https, "rights.example", &certificate));
    let mut allowed = calls_allowed_by(cluster().rules());
    allowed.extend(calls_allowed_by(cluster().own_rules()));
    // Listed objects are served before their watches start.
    wait_until("all that is allowed was used", || calls_of("exact") == allowed);
    gateway.stop();
    assert_eq!(calls_of("exact"), allowed);
}

/// API group, resource and verb.
type Call = [String; 3];

/// Returns the calls of an account by the audit log of the API server. Panics if one was forbidden.
fn calls_of(account: &str) -> BTreeSet<Call> {
    let calls = events_of(account).into_iter().map(|event| {
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow", "{event:#}");
        call_of(&event)
    });
    calls.collect()
}

/// Returns the allowed calls of an account that made forbidden calls too.
fn allowed_calls_of(account: &str) -> BTreeSet<Call> {
    let events = events_of(account).into_iter();
    let allowed = events.filter(|event| event["annotations"]["authorization.k8s.io/decision"] == "allow");
    allowed.map(|event| call_of(&event)).collect()
}

/// Returns the number of calls of an account about a resource in a namespace.
pub(crate) fn calls_about(account: &str, namespace: &str, resource: &str) -> usize {
    let is_about = |event: &&Value| {
        let [_, called, _] = call_of(event);
        called == resource && event["objectRef"]["namespace"] == namespace
    };
    events_of(account).iter().filter(is_about).count()
}

/// Returns who wrote the status of which Ingress in a namespace: account and name.
pub(crate) fn status_writers(namespace: &str) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_write = |event: &Value| {
        let [_, called, verb] = call_of(event);
        called == "ingresses/status" && verb == "patch" && event["objectRef"]["namespace"] == namespace
    };
    let writes = audit_events().into_iter().filter(is_write);
    writes.map(|event| (text(&event["user"]["username"]), text(&event["objectRef"]["name"]))).collect()
}

fn call_of(event: &Value) -> Call {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    [text(&object["apiGroup"]), resource, text(&event["verb"])]
}

fn events_of(account: &str) -> Vec<Value> {
    let user = format!("system:serviceaccount:{GATEWAY_NAMESPACE}:{account}");
    let mut events = audit_events();
    events.retain(|event| event["user"]["username"] == user.as_str());
    events
}

/// Returns the audit log of the API server.
fn audit_events() -> Vec<Value> {
    let log = PathBuf::from(std::env::var_os("CLUSTER_LOGS").unwrap()).join("audit.log");
    let log = std::fs::read_to_string(log).unwrap();
    // The last line may be incomplete.
    let (log, _) = log.rsplit_once('\n').unwrap_or_default();
    log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
}

fn calls_allowed_by(rules: &Value) -> BTreeSet<Call> {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut calls = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let call = |verb| [group.clone(), resource.clone(), verb];
                calls.extend(texts(&rule["verbs"]).into_iter().map(call));
            }
        }
    }
    calls
}

/// A missing rule causes a Problem and a log line, which all other tests check to be absent.
pub(crate) fn missing_rule() {
    let space = TestNamespace::new("less");
    let rules = without(cluster().rules(), "namespaces");
    grant_in_cluster("less", &rules);
    let gateway = Gateway::start(&cluster().kubeconfig("less", None), &[]);
    space.serve("app", "less.example");
    gateway.wait_until_served_by("less.example", "app");
    wait_until("the missing right is a Problem", || {
        let problems = gateway.page("/problems").body;
        problems.contains("NotPermitted") && problems.contains("Namespace")
    });
    assert!(gateway.log().contains("forbidden"), "the log must name a forbidden call");

    // The right is granted while the gateway runs.
    grant_in_cluster("less", cluster().rules());
    wait_until("the Problem has ended", || !gateway.page("/problems").body.contains("NotPermitted"));
}

/// With a Role instead of a ClusterRole, that namespace is served, and the missing features are Problems.
pub(crate) fn namespace_role() {
    let (inside, outside) = (TestNamespace::without_class("inside"), TestNamespace::without_class("outside"));
    account("narrow");
    // The gateways of other tests leave the policy to the one that serves its Ingress.
    cluster().apply(&of_another_controller(class("narrow")));
    let mut allowed = BTreeSet::new();
    // The Role of conformance/example/namespace.yaml, for an account without other rights.
    for mut object in manifest_objects(&repository_root().join("conformance/example/namespace.yaml")) {
        object["metadata"] = json!({ "name": "narrow", "namespace": "inside" });
        if object["kind"] == "RoleBinding" {
            object["roleRef"]["name"] = "narrow".into();
            object["subjects"][0]["name"] = "narrow".into();
        } else {
            allowed = calls_allowed_by(&object["rules"]);
        }
        cluster().apply(&object);
    }
    plugin_with_config_map("inside", "in");
    cluster().apply(&policy("inside", "in"));
    grant_lease("narrow");
    let settings = ["namespaces=inside", "status.lease=narrow", "status.takenClasses=on"];
    let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
    let flags: Vec<_> =
        ["--class", "narrow", "--status-address", "192.0.2.1"].into_iter().chain(settings).collect();
    let gateway = Gateway::start(&cluster().kubeconfig("narrow", None), &flags);
    for (space, name) in [(&inside, "in"), (&outside, "out")] {
        space.app(name, endpoint::start(name));
        cluster().apply(&space.ingress_of("narrow", name, &format!("{name}.narrow.example")));
    }
    let pair = certificate("in.narrow.example");
    cluster().apply(&inside.secret("pair", &pair));
    let ingress = inside.ingress_of("narrow", "in", "in.narrow.example");
    cluster().apply(&with_tls(ingress, "in.narrow.example", "pair"));
    gateway.wait_until_served_by("in.narrow.example", "in");
    wait_until("the certificate is used", || is_trusted(gateway.https, "in.narrow.example", &pair));
    assert_eq!(gateway.get("out.narrow.example").status, 404);
    // The second gateway finds the Event of the first, and counts in it.
    wait_until("an Event was created", || {
        allowed_calls_of("narrow").contains(&["events.k8s.io", "events", "create"].map(str::to_owned))
    });
    drop(gateway);
    let gateway = Gateway::start(&cluster().kubeconfig("narrow", None), &flags);
    // The gateway makes every allowed call.
    wait_until_all_used(&allowed, "narrow");
    for kind in ["Namespace ", "Node ", "IngressClass ", "IngressClassConfig "] {
        wait_until(&format!("the missing right to {kind} is a Problem"), || {
            let problems = gateway.page("/problems").body;
            problems.lines().any(|line| line.contains("NotPermitted") && line.contains(kind))
        });
    }
}

/// Waits until an account has made every allowed call. Panics with the unused ones.
fn wait_until_all_used(allowed: &BTreeSet<Call>, account: &str) {
    let polling = Polling { limit: WAIT_TIMEOUT, interval: Duration::from_millis(50) };
    wait_until_ok(polling, || {
        let unused: Vec<_> = allowed.difference(&allowed_calls_of(account)).cloned().collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("allowed and not used: {unused:?}")) }
    });
}

/// The ClusterRole `view` suffices for `gateway explain`, which lists the kinds that it may not read.
pub(crate) fn view_role_explains() {
    let space = TestNamespace::without_class("look");
    space.app("app", endpoint::start("app"));
    cluster().apply(&space.ingress_of("look", "app", "look.example"));
    account("viewer");
    bind_in_cluster("viewer", "view");
    let kubeconfig = cluster().kubeconfig("viewer", None);
    let explain = |flags: &[&str]| {
        let mut command = Command::new(crate::gateway_process::path());
        command.args(["explain", "http://look.example/", "--kubeconfig"]).arg(&kubeconfig);
        let process = command.args(flags).output().unwrap();
        (
            process.status.code(),
            String::from_utf8(process.stdout).unwrap() + &String::from_utf8(process.stderr).unwrap(),
        )
    };
    wait_until("the objects are there", || {
        let (code, output) = explain(&["--class", "look", "--namespace", "look"]);
        code == Some(0) && output.contains("Service look/app")
    });
    let (code, output) = explain(&["--class", "look"]);
    assert!(code == Some(0) && output.contains("Service look/app"), "{output}");
    for kind in ["IngressClass", "Secret"] {
        assert!(output.contains(&format!("{kind} *: NotPermitted")), "{output}");
    }
}

/// Creates a plugin whose module is in a ConfigMap and invalid, and which fails open.
fn plugin_with_config_map(namespace: &str, ingress: &str) {
    cluster().apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "module", "namespace": namespace }, "data": { "a.wasm": "no module" },
    }));
    cluster().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "WasmPlugin",
        "metadata": { "name": "plugin", "namespace": namespace },
        "spec": {
            "url": "configmap://module/a.wasm",
            "failStrategy": "FAIL_OPEN",
            "targetRefs": [{ "group": "networking.k8s.io", "kind": "Ingress", "name": ingress }],
        },
    }));
}

/// Returns a policy of an Ingress.
fn policy(namespace: &str, ingress: &str) -> Value {
    json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "RoutePolicy",
        "metadata": { "name": "policy", "namespace": namespace },
        "spec": {
            "targetRefs": [{ "group": "networking.k8s.io", "kind": "Ingress", "name": ingress }],
            "bodySize": "1Mi",
        },
    })
}

/// Grants an account the rules of the Role in the gateway's own namespace.
fn grant_lease(name: &str) {
    let metadata = json!({ "name": name, "namespace": GATEWAY_NAMESPACE });
    cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": cluster().own_rules(),
    }));
    cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": GATEWAY_NAMESPACE }],
    }));
}

fn account(name: &str) {
    cluster().apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": GATEWAY_NAMESPACE },
    }));
}

/// Creates an account with these rules in the whole cluster.
fn grant_in_cluster(name: &str, rules: &Value) {
    account(name);
    cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": rules,
    }));
    bind_in_cluster(name, name);
    grant_lease(name);
}

fn bind_in_cluster(name: &str, role: &str) {
    cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": GATEWAY_NAMESPACE }],
    }));
}

/// Returns the rules except for those of one resource.
fn without(rules: &Value, resource: &str) -> Value {
    let rules = rules.as_array().unwrap().iter();
    let remaining: Vec<_> = rules.filter(|rule| rule["resources"][0] != resource).cloned().collect();
    remaining.into()
}
