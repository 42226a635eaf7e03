//! Runs one pod, as a kubelet does: network, volumes, containers, status, termination. One task per pod.

mod container;
mod environment;
pub(super) mod exec;
mod location;
mod probe;
mod root;
mod status;
mod volumes;

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, PodSpec, Probe as ProbeSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use super::image::{ImageContent, ImageSet};
use super::layout;
use super::network::PodNetwork;
use container::{Container, ContainerReport, ContainerState, Probes, RestartPolicy, StopOrder};
use environment::PodContext;
use exec::ExecEntry;
pub(super) use location::PodLocation;
use probe::Probe;
use root::{Root, RootSpec};
use status::StatusSnapshot;

/// Interval between attempts while a Secret, another object or the API server is missing.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Interval of updates of mounted ConfigMaps and Secrets. A kubelet takes up to 90 s.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Reasons of waiting containers: for objects that they need, or because they cannot run.
const REASON_CREATING: &str = "ContainerCreating";
const REASON_ERROR: &str = "CreateContainerError";

/// Context that all pods of a cluster share.
#[derive(Clone)]
pub(super) struct ClusterContext {
    pub(super) client: Client,
    pub(super) images: Arc<ImageSet>,
    /// The folder for logs.
    pub(super) logs: PathBuf,
}

/// Runs a pod until it is removed from the API.
///
/// `pods` holds the newest copy of the pod. It closes once the API has removed the pod, which then ends at once.
///
/// # Cancellation
/// Dropping the future kills the pod without a status update, like a power cut.
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
        Err(error) => return tracing::error!(pod = name, %error, "cannot create the network of a pod"),
    };
    let mut roots = Vec::new();
    if let Err(error) = runner.serve(&network, &mut roots, &mut pods).await {
        tracing::warn!(pod = name, %error, "cannot run a pod");
        // The pod stays Pending, as if its image could not be pulled. A failed pod would be replaced again and again.
        runner.write_waiting(&error, REASON_ERROR).await;
        let _ = pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await;
    }
    for root in &roots {
        root.remove().await;
    }
    if let Err(error) = network.remove().await {
        tracing::warn!(pod = name, %error, "cannot remove the network of a pod");
    }
    let _ = fs::remove_dir_all(runner.folder());
    ExecEntry::remove(&runner.pod.namespace().unwrap_or_default(), &runner.pod.name_any());
    // A completed pod (Job) stays in the API until it is deleted.
    let _ = pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await;
    runner.remove_from_api().await;
}

/// Unmounts the roots that a pod left behind when its future was dropped.
///
/// # Cancellation
/// Dropping the future may leave roots mounted. A second call unmounts them.
pub(super) async fn unmount_leftovers(uid: &str) {
    for container in fs::read_dir(layout::path("pods").join(uid)).into_iter().flatten().flatten() {
        if container.path().join("root").is_dir() {
            root::unmount(&container.path().join("root")).await;
        }
    }
}

struct PodRunner {
    shared: ClusterContext,
    location: PodLocation,
    /// The pod as it was scheduled to this node.
    pod: Pod,
    started_at: Timestamp,
}

/// Mounted roots. The caller owns the list, so that it can remove them after an error.
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
                Err(_closed) => 0,
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
            self.run_containers(network, &prepared, &newest, stop).await;
            Ok(())
        };
        tokio::select! {
            done = work => done,
            () = deleted => Ok(()),
            never = self.refresh_volumes() => match never {},
        }
    }

    /// Updates the files of volumes when their objects change.
    async fn refresh_volumes(&self) -> Infallible {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let volumes: Vec<_> = volumes.filter(|volume| volumes::is_refreshed(volume)).collect();
        if volumes.is_empty() {
            return std::future::pending().await;
        }
        let context = PodContext { client: &self.shared.client, pod: &self.pod, location: &self.location };
        let folder = self.folder().join("volumes");
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            for volume in volumes.iter().filter(|volume| folder.join(&volume.name).is_dir()) {
                // A missing object keeps its files, as with a kubelet.
                if let Err(error) = volumes::create(&context, volume, &folder).await {
                    tracing::debug!(volume = volume.name, %error, "cannot update a volume, will retry");
                }
            }
        }
    }

    /// Runs the init containers one by one, then the main containers in parallel. Writes every change to the status.
    async fn run_containers(
        &self,
        network: &PodNetwork,
        prepared: &PreparedContainers,
        newest: &watch::Receiver<Pod>,
        stop: StopOrder,
    ) {
        let status_of = |now: &ContainerReports<'_>| {
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
        let run_all = async {
            for (init, report) in &reports.init {
                init.run(network, report, stop.clone()).await;
                if !matches!(report.borrow().state, ContainerState::Terminated { code: 0, .. }) {
                    return;
                }
            }
            join_all(reports.main.iter().map(|(main, report)| main.run(network, report, stop.clone()))).await;
        };
        let write_changes = async {
            let mut reports_rx = reports.subscribe();
            loop {
                self.write_status(status_of(&reports)).await;
                let mut changes: FuturesUnordered<_> =
                    reports_rx.iter_mut().map(watch::Receiver::changed).collect();
                changes.next().await;
            }
        };
        tokio::select! {
            () = run_all => {}
            () = write_changes => {}
        }
        self.write_status(status_of(&reports)).await;
    }

    /// Writes a status. Retries until the API server accepts it or has removed the pod.
    async fn write_status(&self, status: serde_json::Value) {
        let patch = Patch::Strategic(status);
        let name = self.pod.name_any();
        while let Err(error) = self.api().patch_status(&name, &PatchParams::default(), &patch).await {
            if is_removed(&error) {
                return;
            }
            tracing::warn!(pod = name, %error, "cannot write a pod status, will retry");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Writes a status in which all containers wait.
    async fn write_waiting(&self, error: &anyhow::Error, reason: &'static str) {
        let state = ContainerState::Waiting { reason, message: format!("{error:#}") };
        let waiting = ContainerReport { state, ..ContainerReport::default() };
        let show = |containers: Option<&[ContainerSpec]>| -> Vec<(ContainerSpec, ContainerReport)> {
            containers.into_iter().flatten().map(|one| (one.clone(), waiting.clone())).collect()
        };
        let spec = self.pod.spec.as_ref();
        let status = StatusSnapshot {
            pod: &self.pod,
            location: &self.location,
            started_at: self.started_at,
            init: show(spec.and_then(|spec| spec.init_containers.as_deref())),
            main: show(spec.map(|spec| spec.containers.as_slice())),
        };
        self.write_status(status.patch()).await;
    }

    /// Removes the terminated pod from the API.
    async fn remove_from_api(&self) {
        let preconditions = Preconditions { uid: self.pod.uid(), resource_version: None };
        let at_once =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
        while let Err(error) = self.api().delete(&self.pod.name_any(), &at_once).await {
            if is_removed(&error) {
                return;
            }
            tracing::warn!(pod = self.pod.name_any(), %error, "cannot remove a pod from the API, will retry");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Creates volumes, roots and command lines. Retries until all objects that they need exist.
    async fn prepare(&self, network: &PodNetwork, roots: &mut Roots) -> anyhow::Result<PreparedContainers> {
        let spec = self.spec()?;
        if spec.host_network == Some(true) {
            bail!("these nodes do not support hostNetwork");
        }
        let context = PodContext { client: &self.shared.client, pod: &self.pod, location: &self.location };
        let volumes = self.folder().join("volumes");
        for volume in spec.volumes.iter().flatten() {
            while let Err(error) = volumes::create(&context, volume, &volumes).await {
                self.write_waiting(&error, REASON_CREATING).await;
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
        let mut prepared = PreparedContainers::default();
        for init in spec.init_containers.iter().flatten() {
            if init.restart_policy.is_some() {
                bail!("init container {} has a restartPolicy, which these nodes do not support", init.name);
            }
            prepared.init.push(self.prepare_one(&context, init, network, roots).await?);
        }
        for main in &spec.containers {
            prepared.main.push(self.prepare_one(&context, main, network, roots).await?);
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
        spec: &ContainerSpec,
        network: &PodNetwork,
        roots: &mut Roots,
    ) -> anyhow::Result<Container> {
        let image = spec.image.as_deref().unwrap_or_default();
        let image = self.shared.images.resolve(image).with_context(|| {
            format!("no program is known for image {image:?}: add --image {image}=PROGRAM")
        })?;
        let environment = loop {
            match environment::build(context, spec, image).await {
                Ok(environment) => break environment,
                Err(error) => self.write_waiting(&error, REASON_CREATING).await,
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        let init = self.spec()?.init_containers.iter().flatten();
        let is_init = init.into_iter().any(|init| init.name == spec.name);
        let folder = self.folder().join(&spec.name);
        let volumes = self.folder().join("volumes");
        let root = RootSpec { folder: &folder, image, container: spec, volumes: &volumes };
        let root = Arc::new(Root::mount(root).await?);
        roots.push(Arc::clone(&root));
        let logs = self.shared.logs.join(context.namespace()).join(self.pod.name_any());
        fs::create_dir_all(&logs)?;
        let probe = |spec_of: &Option<ProbeSpec>| {
            spec_of.as_ref().map(|probe| Probe::new(probe, spec, network.address)).transpose()
        };
        Ok(Container {
            grace: grace(self.spec()?, spec),
            command: container::command_line(spec, image, &environment),
            environment,
            user: user(self.spec()?, spec, image),
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

/// The containers of a pod, each with the channel of its reports.
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

    fn init(&self) -> Vec<(ContainerSpec, ContainerReport)> {
        snapshot(&self.init)
    }

    fn main(&self) -> Vec<(ContainerSpec, ContainerReport)> {
        snapshot(&self.main)
    }
}

fn snapshot(
    reports: &[(&Container, watch::Sender<ContainerReport>)],
) -> Vec<(ContainerSpec, ContainerReport)> {
    reports.iter().map(|(one, report)| (one.spec.clone(), report.borrow().clone())).collect()
}

/// Returns the grace period after a failed liveness probe, in seconds: the probe's own, else the pod's.
fn grace(pod: &PodSpec, container: &ContainerSpec) -> u64 {
    let own = container.liveness_probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
    let seconds = own.or(pod.termination_grace_period_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30)
}

/// Returns `runAsUser` and `runAsGroup`: of the container, else of the pod, else of the image, else root.
fn user(pod: &PodSpec, container: &ContainerSpec, image: &ImageContent) -> (i64, i64) {
    let (own, common) = (container.security_context.as_ref(), pod.security_context.as_ref());
    let user = own.and_then(|own| own.run_as_user).or_else(|| common.and_then(|common| common.run_as_user));
    let group =
        own.and_then(|own| own.run_as_group).or_else(|| common.and_then(|common| common.run_as_group));
    let (image_user, image_group) = image.user.unwrap_or((0, 0));
    (user.unwrap_or(image_user), group.unwrap_or(image_group))
}

/// Returns true if the API has removed the pod. A pod of the same name with another uid is a conflict (409).
fn is_removed(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}
