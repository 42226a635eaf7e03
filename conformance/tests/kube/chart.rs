//! The Helm chart: install, requests through each kind of address, upgrades under load, rollback, scope and uninstall.
//!
//! The namespaces enforce the Pod Security level `restricted`. Not here: renders (`tests/chart`), and rights in detail
//! (`rights`), which are those of the plain manifests.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{cluster, repository_root, run, wait_until};
use crate::endpoint;
use crate::http_client::{LoadGenerator, LoadMode, fetch};
use crate::objects::TestNamespace;
use crate::plugins::config_map;
use crate::rights::status_writers;
use crate::version_module::version_module;

/// The image of the chart's values.
const IMAGE: &str = "wasm-gateway.dev/gateway:0.1.0";

/// Maximum latency of a request while pods are replaced on two busy cores.
const ROLLOUT_LATENCY: Duration = Duration::from_secs(5);

/// Requests of each load generator between two changes of the release.
const REQUESTS_BETWEEN_CHANGES: u64 = 100;

/// A release in a namespace of the same name, with a class of the same name and a controller of its own.
struct Release {
    name: &'static str,
}

impl Release {
    /// Creates the namespace and installs the chart. Waits until all pods are ready.
    fn install(name: &'static str, values: &[&str]) -> Self {
        cluster().apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        }));
        let release = Self { name };
        release.helm("install", values, &["--wait"]);
        release
    }

    /// Changes values of the release, which keeps the others. Waits until all pods are replaced and ready.
    fn upgrade(&self, values: &[&str]) {
        self.helm("upgrade", values, &["--reuse-values", "--wait"]);
    }

    fn helm(&self, action: &str, values: &[&str], flags: &[&str]) {
        let chart = repository_root().join("charts/gateway");
        let own = [
            format!("ingressClass.name={}", self.name),
            format!("ingressClass.controller=wasm-gateway.dev/{}", self.name),
            "fullnameOverride=gateway".to_owned(),
        ];
        let mut arguments = vec![action, self.name, chart.to_str().unwrap()];
        arguments.extend(["--namespace", self.name, "--timeout", "120s"]);
        arguments.extend(flags);
        for value in own.iter().map(String::as_str).chain(values.iter().copied()) {
            arguments.extend(["--set", value]);
        }
        run("helm", &arguments);
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        run("kubectl", &[&["-n", self.name], arguments].concat())
    }

    /// Returns a field of the release's Service.
    fn service_field(&self, path: &str) -> String {
        self.kubectl(&["get", "service", "gateway", "-o", &format!("jsonpath={path}")])
    }

    /// Returns the address that the load balancer has assigned.
    fn load_balancer(&self) -> SocketAddr {
        let field = "{.status.loadBalancer.ingress[0].ip}";
        wait_until("the load balancer has an address", || !self.service_field(field).is_empty());
        SocketAddr::new(self.service_field(field).parse().unwrap(), 80)
    }

    /// Returns the addresses for clients: load balancer, cluster IP, and node port of each node.
    fn addresses(&self) -> Vec<SocketAddr> {
        let cluster_ip = self.service_field("{.spec.clusterIP}").parse().unwrap();
        let node_port = self.service_field("{.spec.ports[0].nodePort}").parse().unwrap();
        let node = |last| SocketAddr::new(Ipv4Addr::new(10, 51, 0, last).into(), node_port);
        vec![self.load_balancer(), SocketAddr::new(cluster_ip, 80), node(1), node(2)]
    }

    /// Waits until the release has this number of pods, all with this image. Replaced pods drain for seconds.
    fn wait_for_pods(&self, count: usize, image: &str) {
        let field = "jsonpath={.items[*].spec.containers[0].image}";
        wait_until(&format!("{count} pods have image {image}"), || {
            let images = self.kubectl(&["get", "pods", "-o", field]);
            let images: Vec<_> = images.split_whitespace().collect();
            images == vec![image; count]
        });
    }

    fn uninstall(self) {
        run("helm", &["uninstall", self.name, "--namespace", self.name, "--wait", "--timeout", "120s"]);
    }
}

/// Creates an app and an Ingress of the class `class`.
fn serve(space: &TestNamespace, class: &str, name: &str, host: &str) {
    space.app(name, endpoint::start(name));
    cluster().apply(&space.ingress_of(class, name, host));
}

fn wait_until_served(address: SocketAddr, host: &str, name: &str) {
    wait_until(&format!("{host} is served at {address}"), || {
        fetch(address, host, "/").is_ok_and(|response| response.is(200, name))
    });
}

/// A new release serves at each of its addresses. After an uninstall nothing of it is left but the definitions.
pub(crate) fn release_lifecycle() {
    let space = TestNamespace::without_class("chart-app");
    let before = cluster_objects();
    let began = Instant::now();
    let release = Release::install("chart", &[]);
    let installed = began.elapsed();
    serve(&space, "chart", "app", "chart.example");
    let addresses = release.addresses();
    for address in &addresses {
        wait_until_served(*address, "chart.example", "app");
    }
    crate::print_past_capture(&format!(
        "    helm install: pods ready after {installed:?}, served at {} addresses after {:?}\n",
        addresses.len(),
        began.elapsed()
    ));
    let replicas = |count: &str| release.upgrade(&[&format!("replicas={count}")]);
    replicas("3");
    release.wait_for_pods(3, IMAGE);
    replicas("2");
    wait_until_served(addresses[0], "chart.example", "app");

    release.uninstall();
    wait_until("its pods are gone", || {
        run("kubectl", &["-n", "chart", "get", "pods", "-o", "name"]).is_empty()
    });
    assert_eq!(cluster_objects(), before);
    let kinds =
        "all,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets,networkpolicies,secrets";
    let left = run("kubectl", &["-n", "chart", "get", kinds, "-o", "name"]);
    // Kubernetes makes these two in each namespace.
    let own = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    let left: Vec<_> = left.lines().filter(|name| !own.contains(name)).collect();
    assert_eq!(left, [""; 0]);
}

/// Returns the objects without a namespace that a chart may create.
fn cluster_objects() -> String {
    let kinds =
        "clusterroles,clusterrolebindings,ingressclasses,ingressclassconfigs,customresourcedefinitions";
    let names = run("kubectl", &["get", kinds, "-o", "name"]);
    names.lines().filter(|name| name.contains("chart")).collect::<Vec<_>>().join("\n")
}

/// Values, image and chart change, and a rollback follows, while clients send requests over old and new connections.
pub(crate) fn upgrade_under_load() {
    let space = TestNamespace::without_class("rolling-app");
    let release = Release::install("rolling", &["drain.delaySeconds=3", "drain.limitSeconds=20"]);
    serve(&space, "rolling", "app", "rolling.example");
    let address = release.load_balancer();
    wait_until_served(address, "rolling.example", "app");
    let load = [LoadMode::KeepAlive, LoadMode::NewConnections, LoadMode::Http2]
        .map(|mode| LoadGenerator::start_mode(address, "rolling.example", mode));
    let go_on = |step: &str| {
        for load in &load {
            let goal = load.succeeded() + REQUESTS_BETWEEN_CHANGES;
            load.wait_for(goal);
        }
        crate::print_past_capture(&format!("    {step}\n"));
    };
    go_on("load has started");
    release.upgrade(&["config.timeouts.keepAlive=50s"]);
    go_on("values are changed");
    release.upgrade(&["image.tag=next"]);
    release.wait_for_pods(2, "wasm-gateway.dev/gateway:next");
    go_on("image is changed");
    run("helm", &["rollback", "rolling", "1", "--namespace", "rolling", "--wait", "--timeout", "120s"]);
    release.wait_for_pods(2, IMAGE);
    go_on("release is rolled back");
    let killed = release.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    release.kubectl(&["delete", "pod", &killed, "--wait"]);
    release.kubectl(&["rollout", "status", "deployment/gateway", "--timeout=60s"]);
    go_on("a pod is deleted");
    for (load, mode) in load.into_iter().zip(["keep-alive", "new connections", "HTTP/2"]) {
        let report = load.finish_without_failure_within(ROLLOUT_LATENCY);
        crate::print_past_capture(&format!(
            "    {mode}: {} requests, slowest {:?}\n",
            report.succeeded, report.slowest
        ));
    }
    release.uninstall();
}

/// Two releases with a controller each serve their own classes only.
pub(crate) fn two_releases() {
    let space = TestNamespace::without_class("side-app");
    let releases = ["side-blue", "side-green"].map(|name| Release::install(name, &["replicas=1"]));
    for (name, class) in [("blue", "side-blue"), ("green", "side-green")] {
        serve(&space, class, name, &format!("{name}.side.example"));
    }
    let [blue, green] = [0, 1].map(|at: usize| releases[at].load_balancer());
    wait_until_served(blue, "blue.side.example", "blue");
    wait_until_served(green, "green.side.example", "green");
    assert_eq!(fetch(blue, "green.side.example", "/").unwrap().status, 404);
    assert_eq!(fetch(green, "blue.side.example", "/").unwrap().status, 404);
    let path = "jsonpath={.status.loadBalancer.ingress[*].ip}";
    let has_address = |name: &str, address: SocketAddr| {
        wait_until(&format!("{name} has the address of its release"), || {
            run("kubectl", &["-n", "side-app", "get", "ingress", name, "-o", path])
                == address.ip().to_string()
        });
    };
    has_address("blue", blue);
    has_address("green", green);
    // The other release has seen both statuses before it writes a later one.
    for (name, class, address) in [("later-blue", "side-blue", blue), ("later-green", "side-green", green)] {
        serve(&space, class, name, &format!("{name}.side.example"));
        has_address(name, address);
    }
    let writer =
        |release: &str, name: &str| (format!("system:serviceaccount:{release}:gateway"), name.to_owned());
    let expected = [
        ("side-blue", "blue"),
        ("side-blue", "later-blue"),
        ("side-green", "green"),
        ("side-green", "later-green"),
    ];
    let expected: BTreeSet<_> = expected.map(|(release, name)| writer(release, name)).into();
    assert_eq!(status_writers("side-app"), expected, "a release leaves the statuses of the other");
    for release in releases {
        release.uninstall();
    }
}

/// With `scope.namespaces` the release has rights in these namespaces only, and serves them.
pub(crate) fn one_namespace() {
    let (inside, outside) =
        (TestNamespace::without_class("scope-in"), TestNamespace::without_class("scope-out"));
    let release = Release::install("scope", &["scope.namespaces={scope-in}", "replicas=1"]);
    serve(&inside, "scope", "in", "in.scope.example");
    serve(&outside, "scope", "out", "out.scope.example");
    let address = release.load_balancer();
    wait_until_served(address, "in.scope.example", "in");
    assert_eq!(fetch(address, "out.scope.example", "/").unwrap().status, 404);
    let account = "--as=system:serviceaccount:scope:gateway";
    for (namespace, expected) in [("scope-in", "yes"), ("scope-out", "no"), ("scope", "no")] {
        let can = "kubectl auth can-i list ingresses --namespace";
        let answer = run("sh", &["-c", &format!("{can} {namespace} {account} || true")]);
        assert_eq!(answer.trim(), expected, "{namespace}");
    }
    release.uninstall();
}

/// A module in a ConfigMap that the chart mounts serves, and a change of the ConfigMap reloads it.
pub(crate) fn mounted_plugin() {
    let space = TestNamespace::without_class("mounted-app");
    TestNamespace::without_class("mounted");
    cluster().apply(&config_map("mounted", &version_module(1, "")));
    let plugin = "plugins.objects[0]";
    let target = format!("{plugin}.spec.targetRefs[0]");
    let release = Release::install(
        "mounted",
        &[
            "replicas=1",
            "plugins.configMaps={module}",
            &format!("{plugin}.name=version,{plugin}.spec.url=file://module/version.wasm"),
            &format!("{target}.group=networking.k8s.io,{target}.kind=IngressClass,{target}.name=mounted"),
        ],
    );
    serve(&space, "mounted", "app", "mounted.example");
    let address = release.load_balancer();
    wait_until_served(address, "mounted.example", "app");
    let version = || fetch(address, "mounted.example", "/").unwrap().field("x-version").map(str::to_owned);
    wait_until("the plugin is live", || version().as_deref() == Some("1"));
    cluster().apply(&config_map("mounted", &version_module(2, "")));
    wait_until("the changed module is live", || version().as_deref() == Some("2"));
    release.uninstall();
}

/// Without rights, the pods are not ready, and `/readyz` names what is missing.
pub(crate) fn without_rights() {
    cluster().apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "powerless" } }));
    let release = Release { name: "powerless" };
    release.helm("install", &["rbac.create=false", "replicas=1"], &[]);
    let pod_ip = || release.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].status.podIP}"]);
    wait_until("the pod has an address", || !pod_ip().is_empty());
    let address: SocketAddr = format!("{}:9081", pod_ip()).parse().unwrap();
    wait_until("the page names the missing right", || {
        fetch(address, "probe", "/readyz")
            .is_ok_and(|page| page.status == 503 && page.body.contains("Ingress"))
    });
    let ready =
        release.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].status.containerStatuses[0].ready}"]);
    assert_eq!(ready, "false");
    release.uninstall();
}
