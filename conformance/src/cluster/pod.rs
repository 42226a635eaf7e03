//! One pod on its node: network, volumes, containers, status, end. What a kubelet does, in one task.

mod container;
mod environment;
pub(super) mod exec;
mod probe;
mod status;
mod volumes;

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec, Probe as ProbeSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use super::image::ImageSet;
use super::layout;
use super::network::PodNetwork;
use container::{Container, ContainerReport, ContainerState, Probes, RestartPolicy, StopOrder};
use environment::PodContext;
use exec::ExecEntry;
use probe::Probe;
use status::StatusSnapshot;
use volumes::Root;

/// How often something that is not there yet (a Secret, say, or the API server) is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Why a container waits: for what it needs, or for good.
const REASON_CREATING: &str = "ContainerCreating";
const REASON_ERROR: &str = "CreateContainerError";

/// Where a pod is.
#[derive(Clone, Debug)]
pub(super) struct PodLocation {
    /// The node's name.
    pub(super) node: String,
    /// The node's address.
    pub(super) host: Ipv4Addr,
    /// The pod's own address.
    pub(super) address: Ipv4Addr,
}

/// What all pods of a cluster share.
#[derive(Clone)]
pub(super) struct ClusterContext {
    pub(super) client: Client,
    pub(super) images: Arc<ImageSet>,
    /// The folder for logs.
    pub(super) logs: PathBuf,
}

/// Runs a pod from its first snapshot_at to its removal from the API. `pods` gives the newest copy; it closes when the
/// API has none any more, and the pod then ends at once.
///
/// Dropping the future kills the pod without a word, as a power cut does.
pub(super) async fn run(
    shared: ClusterContext,
    location: PodLocation,
    number: u16,
    mut pods: watch::Receiver<Pod>,
) {
    let pod = pods.borrow().clone();
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let runner = PodRunner { shared, location, pod, started_at: Timestamp::now() };
    let network = match PodNetwork::create(number, runner.location.address).await {
        Ok(network) => network,
        Err(error) => return tracing::error!(pod = name, %error, "no network for a pod"),
    };
    let mut roots = Vec::new();
    if let Err(error) = runner.serve(&network, &mut roots, &mut pods).await {
        tracing::warn!(pod = name, %error, "pod refused");
        // It stays Pending, as with an image that cannot be pulled: a failed pod would be replaced at once, for ever.
        runner.write_waiting(&error, REASON_ERROR).await;
        let _ = pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await;
    }
    for root in &roots {
        root.remove().await;
    }
    if let Err(error) = network.remove().await {
        tracing::warn!(pod = name, %error, "pod network is left");
    }
    let _ = fs::remove_dir_all(runner.folder());
    ExecEntry::remove(&runner.pod.namespace().unwrap_or_default(), &runner.pod.name_any());
    // A pod that ran to its end (Job) stays in the API until somebody deletes it.
    let _ = pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await;
    runner.remove_from_api().await;
}

/// Ends what a pod without power left behind. Its future is dropped already.
pub(super) async fn unmount_leftovers(uid: &str) {
    for container in fs::read_dir(layout::path("pods").join(uid)).into_iter().flatten().flatten() {
        if container.path().join("root").is_dir() {
            volumes::unmount(&container.path().join("root")).await;
        }
    }
}

struct PodRunner {
    shared: ClusterContext,
    location: PodLocation,
    /// As it was when it came to this node.
    pod: Pod,
    started_at: Timestamp,
}

/// How a list of roots grows, so that they are removed whatever happens.
type Roots = Vec<Arc<Root>>;

impl PodRunner {
    fn spec(&self) -> anyhow::Result<&PodSpec> {
        self.pod.spec.as_ref().context("a pod without spec")
    }

    fn folder(&self) -> PathBuf {
        layout::path("pods").join(self.pod.uid().unwrap_or_default())
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.shared.client.clone(), &self.pod.namespace().unwrap_or_default())
    }

    async fn serve(
        &self,
        network: &PodNetwork,
        roots: &mut Roots,
        pods: &mut watch::Receiver<Pod>,
    ) -> anyhow::Result<()> {
        let (stop_tx, stop) = watch::channel(None);
        let newest = pods.clone();
        let deleted = async {
            let grace = match pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await {
                Ok(pod) => pod.metadata.deletion_grace_period_seconds.unwrap_or(30),
                Err(_gone) => 0,
            };
            stop_tx.send_replace(Some(u64::try_from(grace).unwrap_or(0)));
            std::future::pending().await
        };
        let work = async {
            let mut ends = stop.clone();
            let prepared = tokio::select! {
                prepared = self.prepare(network, roots) => prepared?,
                _ = ends.wait_for(Option::is_some) => return Ok(()),
            };
            self.run_containers(network, (&prepared, &newest), stop).await;
            Ok(())
        };
        tokio::select! {
            done = work => done,
            () = deleted => Ok(()),
        }
    }

    /// Runs the init containers one by one, then all others side by side, and tells the API whenever something about
    /// them changes.
    async fn run_containers(
        &self,
        network: &PodNetwork,
        (prepared, newest): (&PreparedContainers, &watch::Receiver<Pod>),
        stop: StopOrder,
    ) {
        let snapshot_at = |now: &ContainerReports<'_>| {
            let pod = newest.borrow();
            StatusSnapshot {
                pod: &pod,
                location: &self.location,
                started_at: self.started_at,
                init: now.init(),
                main: now.main(),
            }
            .patch()
        };
        let reports = ContainerReports::new(prepared);
        let running = async {
            for (init, report) in &reports.init {
                init.run(network, report, stop.clone()).await;
                if !matches!(report.borrow().state, ContainerState::Terminated { code: 0, .. }) {
                    return;
                }
            }
            join_all(reports.main.iter().map(|(one, report)| one.run(network, report, stop.clone()))).await;
        };
        let writing = async {
            let mut seen = reports.subscribe();
            loop {
                self.write_status(snapshot_at(&reports)).await;
                let mut changes: FuturesUnordered<_> =
                    seen.iter_mut().map(watch::Receiver::changed).collect();
                changes.next().await;
            }
        };
        tokio::select! {
            () = running => {}
            () = writing => {}
        }
        self.write_status(snapshot_at(&reports)).await;
    }

    /// Writes a status, again and again until the API server takes it or has no such pod any more.
    async fn write_status(&self, status: serde_json::Value) {
        let patch = Patch::Strategic(status);
        let name = self.pod.name_any();
        while let Err(error) = self.api().patch_status(&name, &PatchParams::default(), &patch).await {
            if is_removed(&error) {
                return;
            }
            tracing::warn!(pod = name, %error, "status not written yet");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Says why no container runs (yet).
    async fn write_waiting(&self, error: &anyhow::Error, reason: &'static str) {
        let state = ContainerState::Waiting { reason, message: format!("{error:#}") };
        let waiting = ContainerReport { state, ..ContainerReport::default() };
        let show = |containers: Option<&[Spec]>| -> Vec<(Spec, ContainerReport)> {
            containers.into_iter().flatten().map(|one| (one.clone(), waiting.clone())).collect()
        };
        let spec = self.pod.spec.as_ref();
        let snapshot_at = StatusSnapshot {
            pod: &self.pod,
            location: &self.location,
            started_at: self.started_at,
            init: show(spec.and_then(|spec| spec.init_containers.as_deref())),
            main: show(spec.map(|spec| spec.containers.as_slice())),
        };
        self.write_status(snapshot_at.patch()).await;
    }

    /// Removes the pod from the API, now that nothing of it is left.
    async fn remove_from_api(&self) {
        let preconditions = Preconditions { uid: self.pod.uid(), resource_version: None };
        let at_once =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
        while let Err(error) = self.api().delete(&self.pod.name_any(), &at_once).await {
            if is_removed(&error) {
                return;
            }
            tracing::warn!(pod = self.pod.name_any(), %error, "pod not removed yet");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Makes volumes, roots and command lines, again and again until all that they need is there.
    async fn prepare(&self, network: &PodNetwork, roots: &mut Roots) -> anyhow::Result<PreparedContainers> {
        let spec = self.spec()?;
        if spec.host_network == Some(true) {
            bail!("hostNetwork is not known to these nodes");
        }
        let context = PodContext { client: &self.shared.client, pod: &self.pod, location: &self.location };
        let volumes = self.folder().join("volumes");
        for volume in spec.volumes.iter().flatten() {
            while let Err(error) = volumes::make(&context, volume, &volumes).await {
                self.write_waiting(&error, REASON_CREATING).await;
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
        let mut prepared = PreparedContainers::default();
        for init in spec.init_containers.iter().flatten() {
            if init.restart_policy.is_some() {
                bail!("init container {} has a restartPolicy, which is not known to these nodes", init.name);
            }
            prepared.init.push(self.prepare_one(&context, init, (network, roots)).await?);
        }
        for main in &spec.containers {
            prepared.main.push(self.prepare_one(&context, main, (network, roots)).await?);
        }
        let entrance = ExecEntry {
            network: network.namespace_path(),
            containers: prepared.main.iter().map(Container::exec_container).collect(),
        };
        entrance.write(&context.namespace(), &self.pod.name_any())?;
        Ok(prepared)
    }

    async fn prepare_one(
        &self,
        context: &PodContext<'_>,
        spec: &Spec,
        (network, roots): (&PodNetwork, &mut Roots),
    ) -> anyhow::Result<Container> {
        let image = spec.image.as_deref().unwrap_or_default();
        let (program, first) = self.shared.images.resolve(image).with_context(|| {
            format!("image {image:?} stands for no program; give --image {image}=PROGRAM")
        })?;
        let environment = loop {
            match environment::build(context, spec).await {
                Ok(environment) => break environment,
                Err(error) => self.write_waiting(&error, REASON_CREATING).await,
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        let init = self.spec()?.init_containers.iter().flatten();
        let is_init = init.into_iter().any(|init| init.name == spec.name);
        let folder = self.folder().join(&spec.name);
        let root = Root::mount(&folder, program, (spec, &self.folder().join("volumes"))).await;
        let root = Arc::new(root?);
        roots.push(Arc::clone(&root));
        let logs = self.shared.logs.join(context.namespace()).join(self.pod.name_any());
        fs::create_dir_all(&logs)?;
        let probe = |spec_of: &Option<ProbeSpec>| {
            spec_of.as_ref().map(|probe| Probe::new(probe, spec, network.address)).transpose()
        };
        Ok(Container {
            grace: grace(self.spec()?, spec),
            command: container::command_line(spec, first, &environment),
            environment,
            user: user(self.spec()?, spec),
            log: logs.join(format!("{}.log", spec.name)),
            probes: Probes {
                startup: probe(&spec.startup_probe)?,
                liveness: probe(&spec.liveness_probe)?,
                readiness: probe(&spec.readiness_probe)?,
            },
            restart: match self.spec()?.restart_policy.as_deref() {
                Some("Never") => RestartPolicy::Never,
                Some("OnFailure") => RestartPolicy::OnFailure,
                _ if is_init => RestartPolicy::OnFailure,
                _ => RestartPolicy::Always,
            },
            spec: spec.clone(),
            root,
        })
    }
}

#[derive(Default)]
struct PreparedContainers {
    init: Vec<Container>,
    main: Vec<Container>,
}

/// The containers of a pod, each with the location where it says what it does.
struct ContainerReports<'a> {
    init: Vec<(&'a Container, watch::Sender<ContainerReport>)>,
    main: Vec<(&'a Container, watch::Sender<ContainerReport>)>,
}

impl<'a> ContainerReports<'a> {
    fn new(prepared: &'a PreparedContainers) -> Self {
        let of = |containers: &'a [Container]| -> Vec<_> {
            containers.iter().map(|one| (one, watch::Sender::new(ContainerReport::default()))).collect()
        };
        Self { init: of(&prepared.init), main: of(&prepared.main) }
    }

    fn subscribe(&self) -> Vec<watch::Receiver<ContainerReport>> {
        self.init.iter().chain(&self.main).map(|(_, report)| report.subscribe()).collect()
    }

    fn init(&self) -> Vec<(Spec, ContainerReport)> {
        snapshot(&self.init)
    }

    fn main(&self) -> Vec<(Spec, ContainerReport)> {
        snapshot(&self.main)
    }
}

fn snapshot(reports: &[(&Container, watch::Sender<ContainerReport>)]) -> Vec<(Spec, ContainerReport)> {
    reports.iter().map(|(one, report)| (one.spec.clone(), report.borrow().clone())).collect()
}

/// Seconds that a container gets whose liveness probe failed: the probe's own number, else the pod's.
fn grace(pod: &PodSpec, container: &Spec) -> u64 {
    let own = container.liveness_probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
    let seconds = own.or(pod.termination_grace_period_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30)
}

/// `runAsUser` and `runAsGroup` of the container, else of the pod, else root.
fn user(pod: &PodSpec, container: &Spec) -> (i64, i64) {
    let (own, common) = (container.security_context.as_ref(), pod.security_context.as_ref());
    let user = own.and_then(|own| own.run_as_user).or_else(|| common.and_then(|common| common.run_as_user));
    let group =
        own.and_then(|own| own.run_as_group).or_else(|| common.and_then(|common| common.run_as_group));
    (user.unwrap_or(0), group.unwrap_or(0))
}

/// Whether the API has no such pod any more: another one of its name counts as none.
fn is_removed(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}
