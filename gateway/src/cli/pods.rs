//! Asking the gateways of a cluster for an admin page, as `kubectl port-forward` would.
//!
//! Purpose: admin pages are served on a pod's loopback only, so the API server forwards to them. Not here: what is asked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use super::pages;
use crate::cli::process;
use crate::control::source::kube as cluster;

/// What a gateway's pods are labelled with.
const LABEL: &str = "app.kubernetes.io/name=gateway";

/// The port of the admin pages that `gateway run` has in a pod unless told otherwise.
const ADMIN_PORT: u16 = 9080;

/// The gateways of a cluster.
pub(crate) struct Pods {
    runtime: Runtime,
    api: Api<Pod>,
    namespace: String,
}

impl Pods {
    /// Those in `namespace` of the cluster that a kubeconfig file names.
    ///
    /// # Errors
    /// The file cannot be read or makes no sense.
    pub(crate) fn new(kubeconfig: &Path, namespace: String) -> anyhow::Result<Self> {
        process::provider()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(cluster::build_client(Some(kubeconfig)))?;
        // A client starts a task of its own.
        let entered = runtime.enter();
        let api = Api::namespaced(client, &namespace);
        drop(entered);
        Ok(Self { runtime, api, namespace })
    }

    /// Asks each gateway that is ready for a page: status and body of each. `patience` is how long all of it may take.
    ///
    /// # Errors
    /// The API server does not answer in time or refuses, no gateway is ready, or one does not answer.
    pub(crate) fn get(&self, target: &str, patience: Duration) -> anyhow::Result<Vec<(u16, String)>> {
        self.runtime.block_on(async {
            let asked = tokio::time::timeout(patience, self.ask_all(target));
            asked.await.with_context(|| format!("no answer from the cluster after {patience:?}"))?
        })
    }

    async fn ask_all(&self, target: &str) -> anyhow::Result<Vec<(u16, String)>> {
        let pods = self.api.list(&ListParams::default().labels(LABEL)).await;
        let pods = pods.with_context(|| format!("cannot list the pods of namespace {}", self.namespace))?;
        let ready: Vec<&Pod> = pods.items.iter().filter(|pod| is_ready(pod)).collect();
        if ready.is_empty() {
            bail!("no pod with label {LABEL} is ready in namespace {}", self.namespace);
        }
        try_join_all(ready.into_iter().map(|pod| self.ask(pod, target))).await
    }

    async fn ask(&self, pod: &Pod, target: &str) -> anyhow::Result<(u16, String)> {
        let name = pod.name_any();
        let unreached = || format!("pod {}/{name} cannot be asked", self.namespace);
        let mut forward = self.api.portforward(&name, &[ADMIN_PORT]).await.with_context(unreached)?;
        let mut stream = forward.take_stream(ADMIN_PORT).with_context(unreached)?;
        let refused = forward.take_error(ADMIN_PORT);
        stream.write_all(pages::request(target).as_bytes()).await.with_context(unreached)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.with_context(unreached)?;
        // What there is to know of a failure has come before the end.
        forward.abort();
        if answer.is_empty()
            && let Some(refused) = refused
            && let Some(why) = refused.await
        {
            bail!("{}: {why}", unreached());
        }
        pages::read(&answer).with_context(unreached)
    }
}

/// Whether a pod gets requests: one that is starting or on its way out does not count.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}
