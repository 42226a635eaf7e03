//! Nodes: registration, heartbeats, and one task for each pod that the scheduler assigns to them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;
use futures::stream::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::WatchBackoff;
use super::layout;
use super::network;
use super::parts::KUBERNETES_VERSION;
use super::pod::{self, ClusterContext, PodLocation};
use super::port_forward;

/// Interval between heartbeats. The controller manager's grace period is three times as long.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// Duration of the node's Lease.
const LEASE_SECONDS: i32 = 6;

/// Architecture as Kubernetes spells it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The nodes of the cluster.
pub(super) struct Nodes {
    shared: ClusterContext,
    next_pod_number: Arc<AtomicU16>,
    nodes: BTreeMap<String, NodeState>,
}

/// A node, powered on or off.
struct NodeState {
    node: u8,
    /// The task that runs while the node is on.
    agent: Option<JoinHandle<()>>,
    pods: Arc<tokio::sync::Mutex<Pods>>,
}

/// Pods of one node by uid.
type Pods = BTreeMap<String, RunningPod>;

struct RunningPod {
    number: u16,
    pod_tx: watch::Sender<Pod>,
    task: JoinHandle<()>,
}

impl Nodes {
    /// Registers the nodes and waits until pods can be scheduled to them.
    ///
    /// # Errors
    /// The API server rejects a node, or a node keeps its taint for 60 s.
    ///
    /// # Cancellation
    /// Dropping the future leaves nodes that are registered already.
    pub(super) async fn start(shared: ClusterContext, count: u8) -> anyhow::Result<Self> {
        let mut nodes = Self { shared, next_pod_number: Arc::default(), nodes: BTreeMap::new() };
        for node in 0..count {
            let state = NodeState { node, agent: None, pods: Arc::default() };
            nodes.nodes.insert(layout::node_name(node), state);
        }
        let names: Vec<String> = nodes.nodes.keys().cloned().collect();
        for name in &names {
            nodes.power_on(name).await?;
        }
        for name in &names {
            wait_until_untainted(&nodes.shared.client, name).await?;
        }
        Ok(nodes)
    }

    /// Powers a node off: kills its pods and stops its heartbeats without notifying the API.
    ///
    /// # Errors
    /// There is no such node.
    ///
    /// # Cancellation
    /// Dropping the future may leave pods running.
    pub(super) async fn power_off(&mut self, name: &str) -> anyhow::Result<()> {
        let state = self.nodes.get_mut(name).with_context(|| format!("there is no node {name:?}"))?;
        if let Some(agent) = state.agent.take() {
            agent.abort();
        }
        for (uid, running) in std::mem::take(&mut *state.pods.lock().await) {
            // Disconnect first, so that clients do not see the processes end.
            if let Err(error) = network::disconnect(running.number).await {
                tracing::warn!(%error, "cannot remove the network of a pod");
            }
            running.task.abort();
            let _ = running.task.await;
            pod::unmount_leftovers(&uid).await;
        }
        Ok(())
    }

    /// Powers a node on, or does nothing if it is on.
    ///
    /// # Errors
    /// There is no such node, or the API server rejects it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the node off.
    pub(super) async fn power_on(&mut self, name: &str) -> anyhow::Result<()> {
        let state = self.nodes.get_mut(name).with_context(|| format!("there is no node {name:?}"))?;
        if state.agent.is_some() {
            return Ok(());
        }
        register(&self.shared.client, state.node).await?;
        let agent = NodeAgent {
            shared: self.shared.clone(),
            node: state.node,
            next_pod_number: Arc::clone(&self.next_pod_number),
            pods: Arc::clone(&state.pods),
        };
        state.agent = Some(tokio::spawn(agent.run()));
        Ok(())
    }
}

/// Creates the Node object and reports the node as ready.
async fn register(client: &Client, node: u8) -> anyhow::Result<()> {
    let name = layout::node_name(node);
    let api = Api::<Node>::all(client.clone());
    let params = PatchParams::apply("conformance-node").force();
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": ARCHITECTURE,
            "topology.kubernetes.io/zone": layout::zone(node),
        } },
    });
    api.patch(&name, &params, &Patch::Apply(&object)).await?;
    send_heartbeat(client, node).await
}

/// Sends one heartbeat: node status and Lease.
async fn send_heartbeat(client: &Client, node: u8) -> anyhow::Result<()> {
    let name = layout::node_name(node);
    let now = Timestamp::now();
    let amounts = json!({ "cpu": "16", "memory": "32Gi", "pods": "200" });
    let status = json!({ "status": {
        "nodeInfo": {
            "kubeletVersion": KUBERNETES_VERSION, "kubeProxyVersion": "", "containerRuntimeVersion": "conformance://1",
            "operatingSystem": "linux", "architecture": ARCHITECTURE, "osImage": "of this machine",
            "kernelVersion": "of this machine", "machineID": name, "systemUUID": name, "bootID": name,
        },
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": [
            { "type": "InternalIP", "address": layout::node_address(node) },
            { "type": "Hostname", "address": name },
        ],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
            "lastHeartbeatTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }],
    } });
    let nodes = Api::<Node>::all(client.clone());
    nodes.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await?;
    let lease = Lease {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    };
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    leases.patch(&name, &PatchParams::apply("conformance-node").force(), &Patch::Apply(&lease)).await?;
    Ok(())
}

/// Waits until the controller manager has removed the `not-ready` taint of a new node.
async fn wait_until_untainted(client: &Client, name: &str) -> anyhow::Result<()> {
    let api = Api::<Node>::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut nodes = std::pin::pin!(watcher::watcher(api, config).backoff(WatchBackoff).applied_objects());
    let usable = async {
        while let Some(node) = nodes.try_next().await? {
            if node.spec.is_some_and(|spec| spec.taints.unwrap_or_default().is_empty()) {
                return anyhow::Ok(true);
            }
        }
        Ok(false)
    };
    let limit = Duration::from_secs(60);
    let usable = tokio::time::timeout(limit, usable).await.context("a node stays tainted for 60 s")??;
    ensure!(usable, "the watch on node {name} ended");
    Ok(())
}

/// The task of a node that is on.
struct NodeAgent {
    shared: ClusterContext,
    node: u8,
    next_pod_number: Arc<AtomicU16>,
    pods: Arc<tokio::sync::Mutex<Pods>>,
}

impl NodeAgent {
    async fn run(self) {
        let heartbeats = async {
            loop {
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                if let Err(error) = send_heartbeat(&self.shared.client, self.node).await {
                    tracing::debug!(%error, "heartbeat failed");
                }
            }
        };
        tokio::select! {
            () = heartbeats => {}
            () = self.watch() => {}
            never = self.forward_ports() => match never {},
        }
    }

    /// Serves port forwarding. If the address is in use, the node runs without it.
    async fn forward_ports(&self) -> Infallible {
        let Err(error) = port_forward::serve(self.node).await;
        tracing::error!(%error, node = layout::node_name(self.node), "ports of pods cannot be forwarded");
        std::future::pending().await
    }

    /// Follows the pods that the scheduler assigns to this node.
    async fn watch(&self) {
        let config =
            watcher::Config::default().fields(&format!("spec.nodeName={}", layout::node_name(self.node)));
        let api = Api::<Pod>::all(self.shared.client.clone());
        let mut events = std::pin::pin!(watcher::watcher(api, config).backoff(WatchBackoff));
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.extend(pod.uid());
                    self.apply(pod).await;
                }
                Ok(Event::InitDone) => self.pods.lock().await.retain(|uid, _| listed.contains(uid)),
                Ok(Event::Apply(pod)) => self.apply(pod).await,
                // The pod's task notices that its channel closed.
                Ok(Event::Delete(pod)) => drop(self.pods.lock().await.remove(&pod.uid().unwrap_or_default())),
                Err(error) => tracing::debug!(%error, "watch of pods failed, will retry"),
            }
        }
    }

    async fn apply(&self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let mut pods = self.pods.lock().await;
        if let Some(running) = pods.get(&uid) {
            running.pod_tx.send_replace(pod);
            return;
        }
        let number = self.next_pod_number.fetch_add(1, Ordering::Relaxed);
        let Some(address) = layout::pod_address(number) else {
            return tracing::error!("all pod addresses are in use");
        };
        let location = PodLocation {
            node: layout::node_name(self.node),
            host: layout::node_address(self.node),
            address,
        };
        let (pod_tx, pod_rx) = watch::channel(pod);
        let task = tokio::spawn(pod::run(self.shared.clone(), location, number, pod_rx));
        pods.insert(uid, RunningPod { number, pod_tx, task });
    }
}
