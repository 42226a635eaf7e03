//! Requests admin pages from the gateways of a cluster through the API server, as `kubectl port-forward` does.
//!
//! A pod serves its admin pages on a loopback address only. Not here: which page a command needs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use super::pages::{self, Page};
use crate::cli::crypto::crypto_provider;
use crate::control::source::kube as cluster;

/// Label of the gateway's pods.
const LABEL: &str = "app.kubernetes.io/name=gateway";

/// Default port of the admin pages.
const ADMIN_PORT: u16 = 9080;

/// The gateways of a cluster.
pub(crate) struct Pods {
    runtime: Runtime,
    api: Api<Pod>,
    namespace: String,
}

impl Pods {
    /// Prepares requests to the gateways in one namespace of the cluster of a kubeconfig file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is malformed.
    pub(crate) fn new(kubeconfig: &Path, namespace: String) -> anyhow::Result<Self> {
        crypto_provider()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(cluster::build_client(Some(kubeconfig)))?;
        // Creating the client spawns a task.
        let entered = runtime.enter();
        let api = Api::namespaced(client, &namespace);
        drop(entered);
        Ok(Self { runtime, api, namespace })
    }

    /// Requests a page from each ready gateway. `timeout` limits all requests together.
    ///
    /// # Errors
    /// Returns an error if the API server rejects a request or does not respond in time, no gateway is ready, or one
    /// does not respond.
    pub(crate) fn get(&self, target: &str, timeout: Duration) -> anyhow::Result<Vec<Page>> {
        self.runtime.block_on(async {
            let pages = tokio::time::timeout(timeout, self.get_from_ready_pods(target));
            pages.await.with_context(|| format!("no answer from the cluster after {timeout:?}"))?
        })
    }

    async fn get_from_ready_pods(&self, target: &str) -> anyhow::Result<Vec<Page>> {
        let pods = self.api.list(&ListParams::default().labels(LABEL)).await;
        let pods = pods.with_context(|| format!("cannot list the pods of namespace {}", self.namespace))?;
        let ready: Vec<&Pod> = pods.items.iter().filter(|pod| is_ready(pod)).collect();
        if ready.is_empty() {
            bail!("no pod with label {LABEL} is ready in namespace {}", self.namespace);
        }
        try_join_all(ready.into_iter().map(|pod| self.get_from_pod(pod, target))).await
    }

    async fn get_from_pod(&self, pod: &Pod, target: &str) -> anyhow::Result<Page> {
        let name = pod.name_any();
        let unreached = || format!("pod {}/{name} cannot be asked", self.namespace);
        let mut forward = self.api.portforward(&name, &[ADMIN_PORT]).await.with_context(unreached)?;
        let mut stream = forward.take_stream(ADMIN_PORT).with_context(unreached)?;
        let error = forward.take_error(ADMIN_PORT);
        stream.write_all(pages::request(target).as_bytes()).await.with_context(unreached)?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.with_context(unreached)?;
        // The API server reports an error before it closes the stream.
        forward.abort();
        if response.is_empty()
            && let Some(error) = error
            && let Some(cause) = error.await
        {
            bail!("{}: {cause}", unreached());
        }
        pages::parse(&response).with_context(unreached)
    }
}

/// Returns true if a pod gets requests. Starting and terminating pods do not.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}
