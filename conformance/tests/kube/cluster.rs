//! The API server that KUBECONFIG names, and the service accounts of the gateways. All tests share them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Default limit of [`wait_until`]. The conditions become true within moments on an idle machine.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(40);

/// Maximum concurrent writes to the API server.
const MAX_CONCURRENT_WRITES: usize = 16;

/// The namespace of the gateways in conformance/example/gateway.yaml.
pub(crate) const GATEWAY_NAMESPACE: &str = "gateway-system";

/// A client of the cluster, and a folder for kubeconfig files.
pub(crate) struct TestCluster {
    runtime: Runtime,
    client: Client,
    folder: TempDir,
    files: AtomicU32,
    rules: Value,
    own_rules: Value,
}

/// Returns the cluster. The first call installs our CRDs and the documented rights.
pub(crate) fn cluster() -> &'static TestCluster {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    CLUSTER.get_or_init(TestCluster::new)
}

/// Returns the root folder of the repository.
pub(crate) fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a program of the cluster's PATH and returns its standard output. Panics if it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let process = Command::new(program).args(arguments).output().unwrap();
    let output = String::from_utf8_lossy(&process.stderr);
    assert!(process.status.success(), "{program} {arguments:?}: {output}");
    String::from_utf8(process.stdout).unwrap()
}

/// Polls a condition every 5 ms until it is true, and returns how long it took. Panics after [`WAIT_TIMEOUT`].
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    wait_until_within(WAIT_TIMEOUT, what, condition)
}

/// Polls a condition like [`wait_until`], with another limit.
pub(crate) fn wait_until_within(limit: Duration, what: &str, condition: impl FnMut() -> bool) -> Duration {
    wait_until_polled(Polling { limit, interval: Duration::from_millis(5) }, what, condition)
}

/// How a condition is polled.
#[derive(Clone, Copy)]
pub(crate) struct Polling {
    pub(crate) limit: Duration,
    pub(crate) interval: Duration,
}

/// Polls a condition like [`wait_until`], with another limit and interval.
pub(crate) fn wait_until_polled(
    polling: Polling,
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Duration {
    wait_until_ok(polling, || if condition() { Ok(()) } else { Err(what.to_owned()) })
}

/// Polls a condition like [`wait_until_polled`]. Panics with what the condition says is missing.
pub(crate) fn wait_until_ok(
    Polling { limit, interval }: Polling,
    mut condition: impl FnMut() -> Result<(), String>,
) -> Duration {
    let started_at = Instant::now();
    while let Err(missing) = condition() {
        assert!(started_at.elapsed() < limit, "not within {limit:?}: {missing}");
        std::thread::sleep(interval);
    }
    started_at.elapsed()
}

impl TestCluster {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let config = Kubeconfig::read_from(admin_file()).unwrap();
            let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
            Client::try_from(config.unwrap()).unwrap()
        });
        let mut cluster = Self {
            runtime,
            client,
            // A tmpfs of the cluster, which ends with it.
            folder: tempfile::tempdir_in("/run").unwrap(),
            files: AtomicU32::new(0),
            rules: Value::Null,
            own_rules: Value::Null,
        };
        cluster.install_crds();
        let example = repository_root().join("conformance/example/gateway.yaml");
        for object in manifest_objects(&example) {
            let kind = object["kind"].as_str().unwrap();
            if kind == "ClusterRole" {
                cluster.rules = object["rules"].clone();
            }
            if kind == "Role" {
                cluster.own_rules = object["rules"].clone();
            }
            let is_installed =
                ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
            if is_installed.contains(&kind) {
                cluster.apply(&object);
            }
        }
        assert!(cluster.rules.is_array(), "the example has no ClusterRole");
        assert!(cluster.own_rules.is_array(), "the example has no Role");
        cluster
    }

    /// Returns the RBAC rules of conformance/example/gateway.yaml.
    pub(crate) fn rules(&self) -> &Value {
        &self.rules
    }

    /// Returns those of its Role in the gateway's own namespace.
    pub(crate) fn own_rules(&self) -> &Value {
        &self.own_rules
    }

    /// Installs our CRDs and waits until the API server serves them.
    pub(crate) fn install_crds(&self) {
        let folder = repository_root().join("charts/gateway/crds");
        run("kubectl", &["apply", "-f", folder.to_str().unwrap()]);
        let wait = ["wait", "--for=condition=Established", "--timeout=30s", "-f", folder.to_str().unwrap()];
        run("kubectl", &wait);
    }

    /// Removes our CRDs, and with them all objects of our kinds.
    pub(crate) fn remove_crds(&self) {
        let folder = repository_root().join("charts/gateway/crds");
        run("kubectl", &["delete", "--wait", "-f", folder.to_str().unwrap()]);
    }

    /// Runs a future to completion on the shared runtime.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Creates or changes an object by server-side apply. Panics on failure.
    pub(crate) fn apply(&self, object: &Value) {
        self.try_apply(object).unwrap_or_else(|error| panic!("{error}: {object:#}"));
    }

    /// Creates or changes an object by server-side apply.
    pub(crate) fn try_apply(&self, object: &Value) -> kube::Result<DynamicObject> {
        let (api, name) = self.api_for(object);
        let params = PatchParams::apply("kube-tests").force();
        self.block_on(api.patch(&name, &params, &Patch::Apply(object)))
    }

    /// Changes the status of an object as a field manager that forces its values. Panics on failure.
    pub(crate) fn apply_status(&self, manager: &str, object: &Value) {
        let (api, name) = self.api_for(object);
        let params = PatchParams::apply(manager).force();
        self.block_on(api.patch_status(&name, &params, &Patch::Apply(object))).unwrap();
    }

    /// Returns an object as it is in the API; `None` if it does not exist.
    pub(crate) fn get(&self, object: &Value) -> Option<Value> {
        let (api, name) = self.api_for(object);
        let found = self.block_on(api.get_opt(&name)).unwrap();
        found.map(|found| serde_json::to_value(found).unwrap())
    }

    /// Returns the Events about an object.
    pub(crate) fn events_about(&self, object: &Value) -> Vec<Value> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &kind_of("events.k8s.io/v1", "Event"));
        let found = self.block_on(api.list(&ListParams::default())).unwrap();
        let events = found.items.into_iter().map(|event| serde_json::to_value(event).unwrap());
        let is_about = |event: &Value| {
            event["regarding"]["kind"] == object["kind"]
                && event["regarding"]["name"] == object["metadata"]["name"]
        };
        events.filter(is_about).collect()
    }

    /// Changes existing objects, `rate` of them a second. Writes run concurrently, since one takes longer than that
    /// interval. Returns the rate that was reached.
    pub(crate) fn write_steadily(&self, rate: u32, objects: impl Iterator<Item = Value>) -> f64 {
        let began = Instant::now();
        let written = self.block_on(async {
            let mut interval = tokio::time::interval(Duration::from_secs(1) / rate);
            let mut writes = JoinSet::new();
            let mut written = 0_u32;
            for object in objects {
                interval.tick().await;
                if writes.len() == MAX_CONCURRENT_WRITES {
                    writes.join_next().await.unwrap().unwrap();
                }
                let (api, name) = self.api_for(&object);
                let patch =
                    async move { api.patch(&name, &PatchParams::default(), &Patch::Merge(&object)).await };
                writes.spawn(async { drop(patch.await.unwrap()) });
                written += 1;
            }
            writes.join_all().await;
            written
        });
        f64::from(written) / began.elapsed().as_secs_f64()
    }

    /// Deletes an object. Panics if it does not exist.
    pub(crate) fn delete(&self, object: &Value) {
        let (api, name) = self.api_for(object);
        self.block_on(api.delete(&name, &DeleteParams::default())).unwrap();
    }

    /// Returns the API for an object, and its name.
    fn api_for(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = kind_of(&text(&object["apiVersion"]), &text(&object["kind"]));
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        (api, text(&object["metadata"]["name"]))
    }

    /// Writes a kubeconfig with the documented rights, which all gateways have unless the test is about rights.
    pub(crate) fn gateway_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("gateway", None)
    }

    /// Writes a kubeconfig for an account in [`GATEWAY_NAMESPACE`]. `server` replaces the address of the API server.
    pub(crate) fn kubeconfig(&self, account: &str, server: Option<std::net::SocketAddr>) -> PathBuf {
        let token = run("kubectl", &["-n", GATEWAY_NAMESPACE, "create", "token", account, "--duration=1h"]);
        let admin = Kubeconfig::read_from(admin_file()).unwrap();
        let cluster = admin.clusters[0].cluster.as_ref().unwrap();
        let server = server.map_or_else(|| cluster.server.clone().unwrap(), |at| format!("https://{at}"));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": {
                "server": server, "certificate-authority": cluster.certificate_authority,
            } }],
            "users": [{ "name": "u", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "c",
        });
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.path().join(format!("{number}.json"));
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }

    /// Returns the address of the API server.
    pub(crate) fn api_server(&self) -> std::net::SocketAddr {
        let admin = Kubeconfig::read_from(admin_file()).unwrap();
        let server = admin.clusters[0].cluster.as_ref().unwrap().server.clone().unwrap();
        server.trim_start_matches("https://").parse().unwrap()
    }
}

fn admin_file() -> PathBuf {
    std::env::var_os("KUBECONFIG").unwrap().into()
}

fn kind_of(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Returns the objects of a manifest file. The items of a List are returned one by one.
pub(crate) fn manifest_objects(file: &Path) -> Vec<Value> {
    let flags = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f"];
    let text = run("kubectl", &[&flags[..], &[file.to_str().unwrap()]].concat());
    serde_json::Deserializer::from_str(&text)
        .into_iter::<Value>()
        .flat_map(|object| {
            let object = object.unwrap();
            match object["items"].as_array() {
                Some(items) => items.clone(),
                None => vec![object],
            }
        })
        .collect()
}
