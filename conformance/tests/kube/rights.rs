//! What the gateway may do: exactly what is documented, less than that, and one namespace only.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::certificates::{certificate, is_trusted};
use crate::cluster::{GATEWAY_NAMESPACE, cluster, manifest_objects, repository_root, wait_until};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::objects::{TestNamespace, class_with, with_tls};

/// Everything that makes the gateway read something is there; nothing is forbidden, and nothing is allowed that it
/// does not use.
pub(crate) fn documented_rules() {
    let space = TestNamespace::without_class("rights");
    // Of another controller: the default backend of a class of ours would answer in all other tests too.
    let mut class = class_with("rights", "rights");
    class["spec"]["controller"] = "example.com/somebody".into();
    cluster().apply(&class);
    cluster().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
        "metadata": { "name": "rights" },
        "spec": {
            "defaultBackend": { "namespace": "rights", "service": "rest", "port": 80 },
            "defaultCertificate": { "namespace": "rights", "name": "pair" },
        },
    }));
    let certificate = certificate("rights.example");
    cluster().apply(&space.secret("pair", &certificate));
    space.app("rest", endpoint::start("rest"));
    space.serve("app", "rights.example");
    cluster().apply(&with_tls(space.ingress("app", "rights.example"), "rights.example", "pair"));
    grant_in_cluster("exact", cluster().rules());
    let gateway = Gateway::start(&cluster().kubeconfig("exact", None), &["--class", "rights"]);
    gateway.wait_until_served_by("rights.example", "app");
    gateway.wait_until_served_by("unknown.rights.example", "rest");
    wait_until("it has its certificate", || is_trusted(gateway.https, "rights.example", &certificate));
    let allowed = calls_allowed_by(cluster().rules());
    // What was listed is served before it is watched.
    wait_until("all that is allowed was used", || calls_of("exact") == allowed);
    gateway.stop();
    assert_eq!(calls_of("exact"), allowed);
}

/// API group, resource and verb.
type Call = [String; 3];

/// What the API server's audit log says of an account that may do all that it does.
fn calls_of(account: &str) -> BTreeSet<Call> {
    let calls = events_of(account).into_iter().map(|event| {
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow", "{event:#}");
        call_of(&event)
    });
    calls.collect()
}

/// What it says of an account that was refused something, without that.
fn allowed_calls_of(account: &str) -> BTreeSet<Call> {
    let events = events_of(account).into_iter();
    let allowed = events.filter(|event| event["annotations"]["authorization.k8s.io/decision"] == "allow");
    allowed.map(|event| call_of(&event)).collect()
}

fn call_of(event: &Value) -> Call {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    [text(&object["apiGroup"]), text(&object["resource"]), text(&event["verb"])]
}

fn events_of(account: &str) -> Vec<Value> {
    let log = PathBuf::from(std::env::var_os("CLUSTER_LOGS").unwrap()).join("audit.log");
    let log = std::fs::read_to_string(log).unwrap();
    // The last line may be half written.
    let (log, _) = log.rsplit_once('\n').unwrap_or_default();
    let user = format!("system:serviceaccount:{GATEWAY_NAMESPACE}:{account}");
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["user"]["username"] == user.as_str()).collect()
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

/// Without a rule its objects are a Problem: this is what every other test looks for in vain.
pub(crate) fn missing_rule() {
    let space = TestNamespace::new("less");
    let rules = without(cluster().rules(), "namespaces");
    grant_in_cluster("less", &rules);
    let gateway = Gateway::start(&cluster().kubeconfig("less", None), &[]);
    space.serve("app", "less.example");
    gateway.wait_until_served_by("less.example", "app");
    wait_until("it is a Problem", || {
        let problems = gateway.page("/problems").body;
        problems.contains("NotPermitted") && problems.contains("Namespace")
    });
    assert!(gateway.log().contains("forbidden"), "this is what a forbidden call looks like");

    // The right is given while it runs.
    grant_in_cluster("less", cluster().rules());
    wait_until("the Problem is gone", || !gateway.page("/problems").body.contains("NotPermitted"));
}

/// A Role instead of a ClusterRole: that namespace is served, and what needs more says that it is off.
pub(crate) fn namespace_role() {
    let (inside, outside) = (TestNamespace::without_class("inside"), TestNamespace::without_class("outside"));
    account("narrow");
    let mut allowed = BTreeSet::new();
    // As conformance/example/namespace.yaml documents it, but for an account that may do nothing else.
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
    let flags = ["--set", "namespaces=inside", "--class", "narrow"];
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
    wait_until("it has its certificate", || is_trusted(gateway.https, "in.narrow.example", &pair));
    assert_eq!(gateway.get("out.narrow.example").status, 404);
    // All of them are needed.
    wait_until("all that is allowed was used", || allowed.is_subset(&allowed_calls_of("narrow")));
    for kind in ["Namespace ", "Node ", "IngressClass ", "IngressClassConfig "] {
        wait_until(&format!("{kind} is output to be off"), || {
            let problems = gateway.page("/problems").body;
            problems.lines().any(|line| line.contains("NotPermitted") && line.contains(kind))
        });
    }
}

/// Whoever may look at a cluster may ask why a request goes where it goes, and is told what he may not see.
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
        let done = command.args(flags).output().unwrap();
        (
            done.status.code(),
            String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap(),
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

fn account(name: &str) {
    cluster().apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": GATEWAY_NAMESPACE },
    }));
}

/// An account of this name with these rules.
fn grant_in_cluster(name: &str, rules: &Value) {
    account(name);
    cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": rules,
    }));
    bind_in_cluster(name, name);
}

fn bind_in_cluster(name: &str, role: &str) {
    cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": GATEWAY_NAMESPACE }],
    }));
}

/// The rules less those for one resource.
fn without(rules: &Value, resource: &str) -> Value {
    let rules = rules.as_array().unwrap().iter();
    let kept: Vec<_> = rules.filter(|rule| rule["resources"][0] != resource).cloned().collect();
    kept.into()
}
