//! The driver for a cluster: objects through its API server, echo servers in its pods.
//!
//! All namespaces and cluster-scoped objects of a run have one label, by which [`clean_up`] finds
//! them.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReviewSpec;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::Api;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::ApiResource;
use kube::api::DeleteParams;
use kube::api::DynamicObject;
use kube::api::GroupVersionKind;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::backends::EchoPool;
use super::backends::MAX_REPLICAS;
use super::backends::PORT_COUNT;
use super::case::Need;
use super::catalog::KINDS;
use super::client::Addresses;
use super::driver::Driver;
use super::driver::ObjectKey;
use super::driver::TimeLimits;

/// Label of all objects of a run. Its value names the run.
const RUN_LABEL: &str = "ingress-conformance.wasm-gateway.dev/run";

/// Field manager of all writes.
const MANAGER: &str = "ingress-conformance";

/// First port of the echo servers.
const FIRST_PORT: u16 = 3000;

/// Time for the echo pods to become ready. The image may have to be pulled.
const PODS_TIMEOUT: Duration = Duration::from_secs(180);

/// Time for one connect of the check before the first case.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Rights that a run needs: API group, resource and verb.
const RIGHTS: [(&str, &str, &str); 9] = [
    ("", "namespaces", "create"),
    ("", "namespaces", "delete"),
    ("", "services", "patch"),
    ("", "secrets", "patch"),
    ("", "pods", "list"),
    ("apps", "deployments", "patch"),
    ("discovery.k8s.io", "endpointslices", "patch"),
    ("networking.k8s.io", "ingresses", "patch"),
    ("networking.k8s.io", "ingressclasses", "patch"),
];

/// Options of a run against a cluster.
#[derive(Clone, Debug)]
pub struct KubernetesOptions {
    /// The IngressClass under test.
    pub class: String,
    /// Image of the echo servers.
    pub echo_image: String,
    /// Address for plaintext requests. `None`: port 80 of the address in the status of an Ingress.
    pub http: Option<SocketAddr>,
    /// Address for TLS requests. `None`: port 443 of the same address.
    pub https: Option<SocketAddr>,
    /// Name of the run: prefix of all namespaces.
    pub run: String,
    /// Time limits.
    pub limits: TimeLimits,
}

/// A cluster with an ingress controller.
#[derive(Clone)]
pub struct KubernetesDriver {
    client: Client,
    options: KubernetesOptions,
    controller: String,
    pool: EchoPool,
    addresses: Addresses,
}

/// Creates a client for a kubeconfig file, or for the default one.
///
/// # Errors
/// The file cannot be read or is invalid.
///
/// # Cancellation
/// Dropping the future has no effect.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    // kube panics if rustls has two providers and none is installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = match kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(file).with_context(|| file.display().to_string())?;
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("there is no kubeconfig: give --kubeconfig FILE")?,
    };
    Ok(Client::try_from(config)?)
}

impl KubernetesDriver {
    /// Checks rights, class and address, and starts the echo servers.
    ///
    /// # Errors
    /// A right or the class is missing, the echo servers do not start, or the address cannot be reached.
    ///
    /// # Cancellation
    /// Dropping the future leaves objects of the run: call [`clean_up`].
    pub async fn start(client: Client, options: KubernetesOptions) -> anyhow::Result<Self> {
        let controller = find_controller(&client, &options.class).await?;
        check_rights(&client).await?;
        create_namespace(&client, &options.run, &options.run).await?;
        let pool = start_echo_pods(&client, &options).await?;
        let unknown = SocketAddr::new([0, 0, 0, 0].into(), 0);
        let addresses = Addresses { http: unknown, https: unknown };
        let mut driver = Self { client, options, controller, pool, addresses };
        driver.addresses = driver.find_addresses().await?;
        Ok(driver)
    }

    /// Returns the API for objects of a kind.
    fn api(&self, key: &ObjectKey) -> anyhow::Result<Api<DynamicObject>> {
        let known = KINDS.iter().find(|(kind, _)| *kind == key.kind);
        let (kind, version) = known.with_context(|| format!("kind {:?} is not supported", key.kind))?;
        Ok(api(&self.client, kind, version, &key.namespace))
    }

    /// Creates a probe Ingress, and waits until its address is known and accepts connections.
    async fn find_addresses(&self) -> anyhow::Result<Addresses> {
        let name = "address-probe";
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": self.options.run },
            "spec": { "ingressClassName": self.options.class, "rules": [{
                "host": format!("{name}.{}.example", self.options.run),
                "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": {
                    "service": { "name": "echo", "port": { "number": 80 } },
                } }] },
            }] },
        });
        self.apply(&object).await?;
        let limit = Instant::now() + self.options.limits.settle;
        let http = match self.options.http {
            Some(address) => address,
            None => loop {
                if let Some(address) = self.status_address(name).await? {
                    break SocketAddr::new(address, 80);
                }
                ensure!(
                    Instant::now() < limit,
                    "no Ingress of class {:?} gets an address within {:?}: is its controller running? Give --address \
                     IP:PORT if it writes no status",
                    self.options.class,
                    self.options.limits.settle
                );
                tokio::time::sleep(self.options.limits.poll).await;
            },
        };
        let https = self.options.https.unwrap_or(SocketAddr::new(http.ip(), 443));
        loop {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(http)).await;
            match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(_) => break,
                Err(error) => ensure!(
                    Instant::now() < limit,
                    "cannot connect to {http}: {error}. Give --address IP:PORT with an address that this machine \
                     reaches"
                ),
            }
            tokio::time::sleep(self.options.limits.poll).await;
        }
        Ok(Addresses { http, https })
    }

    /// Returns the first address in the status of an Ingress in the run's namespace.
    async fn status_address(&self, name: &str) -> anyhow::Result<Option<IpAddr>> {
        let api = Api::<Ingress>::namespaced(self.client.clone(), &self.options.run);
        let status = api.get(name).await?.status.and_then(|status| status.load_balancer);
        let Some(point) = status.and_then(|status| status.ingress?.into_iter().next()) else {
            return Ok(None);
        };
        if let Some(ip) = point.ip {
            return Ok(Some(ip.parse().with_context(|| format!("status has the address {ip:?}"))?));
        }
        let Some(host) = point.hostname else { return Ok(None) };
        let resolved = tokio::net::lookup_host((host.as_str(), 80)).await;
        let mut resolved = resolved.with_context(|| format!("cannot resolve {host:?} of the status"))?;
        Ok(resolved.next().map(|address| address.ip()))
    }
}

/// Deletes everything that a run created. Namespaces terminate in the background.
///
/// # Errors
/// The API server rejects a deletion.
///
/// # Cancellation
/// Dropping the future leaves some objects.
pub async fn clean_up(client: &Client, run: &str) -> anyhow::Result<()> {
    let selected = ListParams::default().labels(&format!("{RUN_LABEL}={run}"));
    let namespaces = Api::<Namespace>::all(client.clone());
    for namespace in namespaces.list(&selected).await? {
        let name = namespace.name_any();
        let ingresses = Api::<Ingress>::namespaced(client.clone(), &name);
        ingresses.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        ignore_missing(namespaces.delete(&name, &DeleteParams::background()).await)?;
    }
    let classes = Api::<IngressClass>::all(client.clone());
    classes.delete_collection(&DeleteParams::default(), &selected).await?;
    Ok(())
}

fn api(client: &Client, kind: &str, version: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

fn ignore_missing<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

async fn find_controller(client: &Client, class: &str) -> anyhow::Result<String> {
    let classes = Api::<IngressClass>::all(client.clone()).list(&ListParams::default()).await;
    let classes = classes.context("cannot list the IngressClasses")?;
    let found = classes.items.iter().find(|object| object.name_any() == class);
    let Some(found) = found else {
        let names: Vec<String> =
            classes.items.iter().map(|object| format!("{:?}", object.name_any())).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("there is no IngressClass {class:?} (--ingress-class); the cluster has {names}");
    };
    Ok(found.spec.as_ref().and_then(|spec| spec.controller.clone()).unwrap_or_default())
}

async fn check_rights(client: &Client) -> anyhow::Result<()> {
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let mut missing = Vec::new();
    for (group, resource, verb) in RIGHTS {
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let review = reviews.create(&PostParams::default(), &review).await?;
        if !review.status.is_some_and(|status| status.allowed) {
            missing.push(format!("{verb} {resource}"));
        }
    }
    ensure!(missing.is_empty(), "this account lacks rights in all namespaces: {}", missing.join(", "));
    Ok(())
}

async fn create_namespace(client: &Client, run: &str, name: &str) -> anyhow::Result<()> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace.labels_mut().insert(RUN_LABEL.to_owned(), run.to_owned());
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// Creates the Deployment and the Service of the echo servers, and waits until all pods are ready.
async fn start_echo_pods(client: &Client, options: &KubernetesOptions) -> anyhow::Result<EchoPool> {
    let labels = json!({ "app": "echo" });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "echo" },
        "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": FIRST_PORT }] },
    });
    let objects = [
        (service, "Service", "v1"),
        (echo_deployment(&options.echo_image, &labels), "Deployment", "apps/v1"),
    ];
    for (object, kind, version) in objects {
        let api = api(client, kind, version, &options.run);
        api.patch("echo", &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await?;
    }
    let pods = Api::<Pod>::namespaced(client.clone(), &options.run);
    let limit = Instant::now() + PODS_TIMEOUT;
    loop {
        let listed = pods.list(&ListParams::default().labels("app=echo")).await?;
        let mut ready: Vec<IpAddr> = listed.iter().filter_map(ready_address).collect();
        if ready.len() == MAX_REPLICAS {
            ready.sort();
            return Ok(EchoPool { addresses: ready, first_port: FIRST_PORT });
        }
        ensure!(
            Instant::now() < limit,
            "{} of {MAX_REPLICAS} echo pods are ready after {PODS_TIMEOUT:?}: {}. Give --echo-image IMAGE if the nodes \
             cannot pull {:?}",
            ready.len(),
            listed.iter().find_map(waiting_reason).unwrap_or_default(),
            options.echo_image
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn echo_deployment(image: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "echo" },
        "spec": {
            "replicas": MAX_REPLICAS,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [{
                        "name": "echo",
                        "image": image,
                        "args": ["--port-count", PORT_COUNT.to_string()],
                        "env": [{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                        "readinessProbe": { "httpGet": { "path": "/", "port": FIRST_PORT }, "periodSeconds": 1 },
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                },
            },
        },
    })
}

fn ready_address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let is_ready = |conditions: &Vec<_>| {
        conditions.iter().any(|condition: &k8s_openapi::api::core::v1::PodCondition| {
            condition.type_ == "Ready" && condition.status == "True"
        })
    };
    status.conditions.as_ref().filter(|conditions| is_ready(conditions))?;
    status.pod_ip.as_ref()?.parse().ok()
}

/// Returns why a container of a pod does not run.
fn waiting_reason(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = containers.iter().find_map(|container| container.state.as_ref()?.waiting.as_ref())?;
    Some(format!("{} ({})", waiting.reason.clone()?, waiting.message.clone().unwrap_or_default()))
}

impl Driver for KubernetesDriver {
    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn pool(&self) -> &EchoPool {
        &self.pool
    }

    fn class(&self) -> &str {
        &self.options.class
    }

    fn controller(&self) -> &str {
        &self.controller
    }

    fn limits(&self) -> TimeLimits {
        self.options.limits
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Status => true,
        }
    }

    fn settles_later(&self) -> bool {
        true
    }

    async fn create_namespace(&self, name: &str) -> anyhow::Result<()> {
        create_namespace(&self.client, &self.options.run, name).await
    }

    async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let key = ObjectKey::of(object);
        let mut object = object.clone();
        if key.namespace.is_empty() {
            let labels = json!({ "metadata": { "labels": { RUN_LABEL: self.options.run } } });
            json_patch_merge(&mut object, &labels);
        }
        let params = PatchParams::apply(MANAGER).force();
        self.api(&key)?.patch(&key.name, &params, &Patch::Apply(&object)).await?;
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey) -> anyhow::Result<()> {
        let deleted = self.api(key)?.delete(&key.name, &DeleteParams::background()).await;
        Ok(ignore_missing(deleted)?)
    }

    async fn has_address(&self, namespace: &str, ingress: &str) -> anyhow::Result<bool> {
        let api = Api::<Ingress>::namespaced(self.client.clone(), namespace);
        let status = api.get(ingress).await?.status.and_then(|status| status.load_balancer);
        Ok(status.and_then(|status| status.ingress).is_some_and(|points| !points.is_empty()))
    }

    async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        Ok(ignore_missing(namespaces.delete(name, &DeleteParams::background()).await)?)
    }
}

/// Merges fields into an object, at any depth.
fn json_patch_merge(object: &mut Value, fields: &Value) {
    match (object, fields) {
        (Value::Object(object), Value::Object(fields)) => {
            for (name, value) in fields {
                json_patch_merge(object.entry(name).or_insert(Value::Null), value);
            }
        }
        (object, fields) => *object = fields.clone(),
    }
}
