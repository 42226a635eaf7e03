//! Writes to the API server: initial objects, Ingresses, and churn.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use ::kube::core::NamespaceResourceScope;
use ::kube::{Api, Client, Resource};
use anyhow::{Result, anyhow};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use super::endpoint;

/// Host of the route that is served all the time.
pub(super) const LIVE_HOST: &str = "live.bench.example";

/// Namespace of all objects.
pub(super) const NAMESPACE: &str = "bench";
const APP: &str = "app";

/// Name prefix of Ingresses that are created by number.
const NUMBERED: &str = "n-";

/// Address of this machine in the pods' network. The API server rejects loopback addresses as endpoints.
const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);

/// Churn: slice writes per second, number of Services, and slice writes per edit of an Ingress.
const SLICE_WRITES_PER_SECOND: u32 = 100;
const CHURN_SERVICES: u32 = 10;
const SLICE_WRITES_PER_EDIT: u32 = 100;

/// Maximum number of concurrent writes: of Ingresses, and of churn.
const MAX_PARALLEL_WRITES: usize = 64;
const MAX_PARALLEL_CHURN: usize = 16;

/// Returns the host of an Ingress by its number.
pub(super) fn host(number: usize) -> String {
    format!("h{number}.bench.example")
}

/// A writer of objects.
pub(super) struct ApiWriter {
    runtime: Runtime,
    client: Client,
}

impl ApiWriter {
    /// Connects and writes the initial objects: a Service with an endpoint, its live route, and the Services of the churn.
    pub(super) fn connect() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        // kube panics if rustls has two providers and none is installed. Another case may have installed one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let endpoint = endpoint::start((HOST_ADDRESS, 0).into())?;
        let client = runtime.block_on(async {
            let client = Client::try_default().await?;
            let (classes, namespaces) = (Api::<IngressClass>::all(client.clone()), Api::all(client.clone()));
            let spec = json!({ "controller": "wasm-gateway.dev/ingress-controller" });
            apply(&classes, "gateway", json!({ "metadata": { "name": "gateway" }, "spec": spec })).await?;
            let namespace = json!({ "metadata": { "name": NAMESPACE } });
            apply::<Namespace>(&namespaces, NAMESPACE, namespace).await?;
            for name in std::iter::once(APP.to_owned()).chain((0..CHURN_SERVICES).map(churn_service)) {
                let spec = json!({ "ports": [{ "name": "http", "port": 80 }] });
                let service = json!({ "metadata": { "name": name }, "spec": spec });
                apply::<Service>(&in_namespace(&client), &name, service).await?;
                apply::<EndpointSlice>(&in_namespace(&client), &name, slice(&name, &[endpoint])).await?;
            }
            apply::<Ingress>(&in_namespace(&client), "live", ingress("live", LIVE_HOST)).await?;
            anyhow::Ok(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// Creates an Ingress by number. Returns the time of the API server's response.
    pub(super) fn apply_one(&self, number: usize) -> Result<Instant> {
        self.runtime.block_on(create(self.client.clone(), number)).map(|(_, at)| at)
    }

    /// Creates Ingresses in parallel. Returns them in the order of the API server's responses.
    pub(super) fn apply_all(&self, numbers: Range<usize>) -> impl Iterator<Item = Result<(usize, Instant)>> {
        let (sender, answers) = std::sync::mpsc::channel();
        let client = self.client.clone();
        self.runtime.spawn(async move {
            let creations = futures::stream::iter(numbers.map(|number| create(client.clone(), number)));
            let mut answers = creations.buffer_unordered(MAX_PARALLEL_WRITES);
            while let Some(answer) = answers.next().await {
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
        answers.into_iter()
    }

    /// Deletes all Ingresses that were created by number.
    pub(super) fn delete_all(&self) -> Result<()> {
        let ingresses = in_namespace::<Ingress>(&self.client);
        let ours = ListParams::default().labels("bench=numbered");
        self.runtime.block_on(ingresses.delete_collection(&DeleteParams::default(), &ours))?;
        Ok(())
    }

    /// Writes slices of other Services and edits an Ingress until it is stopped.
    pub(super) fn churn(&self) -> Churn<'_> {
        let stop = Arc::<AtomicBool>::default();
        let task = self.runtime.spawn(churn(self.client.clone(), Arc::clone(&stop)));
        Churn { runtime: &self.runtime, stop, task }
    }
}

/// Running churn.
pub(super) struct Churn<'a> {
    runtime: &'a Runtime,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<f64>>,
}

impl Churn<'_> {
    /// Stops the churn. Returns the slice writes per second.
    pub(super) fn stop(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.task)?
    }
}

async fn churn(client: Client, stop: Arc<AtomicBool>) -> Result<f64> {
    let (slices, ingresses) = (in_namespace::<EndpointSlice>(&client), in_namespace::<Ingress>(&client));
    let addresses = [9, 10].map(|last| SocketAddr::from((Ipv4Addr::new(10, 50, 255, last), 3000)));
    let mut interval = tokio::time::interval(Duration::from_secs(1) / SLICE_WRITES_PER_SECOND);
    let (began, mut turn, mut writes) = (Instant::now(), 0, JoinSet::new());
    while !stop.load(Ordering::Relaxed) {
        interval.tick().await;
        while writes.len() >= MAX_PARALLEL_CHURN {
            writes.join_next().await.ok_or_else(|| anyhow!("no write was under way"))???;
        }
        let (name, is_even) =
            (churn_service(turn % CHURN_SERVICES), (turn / CHURN_SERVICES).is_multiple_of(2));
        let body = slice(&name, if is_even { addresses.split_at(1).0 } else { &addresses });
        let slices = slices.clone();
        writes.spawn(async move { apply(&slices, &name, body).await });
        if turn.is_multiple_of(SLICE_WRITES_PER_EDIT) {
            let ingresses = ingresses.clone();
            let edited = ingress("edited", &format!("edit{turn}.bench.example"));
            writes.spawn(async move { apply(&ingresses, "edited", edited).await });
        }
        turn += 1;
    }
    while let Some(written) = writes.join_next().await {
        written??;
    }
    Ok(f64::from(turn) / began.elapsed().as_secs_f64())
}

async fn create(client: Client, number: usize) -> Result<(usize, Instant)> {
    let name = format!("{NUMBERED}{number}");
    let body = ingress(&name, &host(number));
    apply::<Ingress>(&in_namespace(&client), &name, body).await?;
    Ok((number, Instant::now()))
}

/// Applies an object, as `kubectl apply --server-side` does.
async fn apply<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    if let Value::Object(fields) = &mut object {
        fields.insert("apiVersion".to_owned(), K::api_version(&()).into());
        fields.insert("kind".to_owned(), K::kind(&()).into());
    }
    api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await?;
    Ok(())
}

fn in_namespace<K>(client: &Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), NAMESPACE)
}

fn churn_service(number: u32) -> String {
    format!("churn-{number}")
}

/// Returns an Ingress. Those created by number have a label for their deletion.
fn ingress(name: &str, host: &str) -> Value {
    let label = if name.starts_with(NUMBERED) { "numbered" } else { "named" };
    let backend = json!({ "service": { "name": APP, "port": { "number": 80 } } });
    json!({
        "metadata": { "name": name, "labels": { "bench": label } },
        "spec": { "ingressClassName": "gateway", "rules": [{
            "host": host,
            "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
        }] },
    })
}

fn slice(service: &str, endpoints: &[SocketAddr]) -> Value {
    let port = endpoints.first().map_or(80, SocketAddr::port);
    let endpoints: Vec<_> =
        endpoints.iter().map(|endpoint| json!({ "addresses": [endpoint.ip()] })).collect();
    json!({
        "metadata": { "name": service, "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}
