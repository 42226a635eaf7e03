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

use super::image::Images;
use super::layout;
use super::network::PodNetwork;
use container::{Container, Orders, Probes, Report, Restart, State};
use environment::Surroundings;
use exec::Entrance;
use probe::Probe;
use status::Moment;
use volumes::Root;

/// How often something that is not there yet (a Secret, say) is looked for.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);

/// Where a pod is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The node's name.
    pub(super) node: String,
    /// The node's address.
    pub(super) host: Ipv4Addr,
    /// The pod's own address.
    pub(super) address: Ipv4Addr,
}

/// What all pods of a cluster share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) images: Arc<Images>,
    /// The folder for logs.
    pub(super) logs: PathBuf,
}

/// Runs a pod from its first moment to its removal from the API. `pods` gives the newest copy; it closes when the
/// API has none any more, and the pod then ends at once.
///
/// Dropping the future kills the pod without a word, as a power cut does.
pub(super) async fn run(shared: Shared, place: Place, number: u16, mut pods: watch::Receiver<Pod>) {
    let pod = pods.borrow().clone();
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let worker = Worker { shared, place, pod };
    let network = match PodNetwork::create(number, worker.place.address).await {
        Ok(network) => network,
        Err(error) => return tracing::error!(pod = name, %error, "no network for a pod"),
    };
    let mut prepared = Vec::new();
    if let Err(error) = worker.serve(&network, &mut prepared, &mut pods).await {
        tracing::warn!(pod = name, %error, "pod failed");
        worker.tell_failure(&error).await;
        let _ = pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await;
    }
    for root in &prepared {
        root.remove().await;
    }
    if let Err(error) = network.remove().await {
        tracing::warn!(pod = name, %error, "pod network is left");
    }
    let _ = fs::remove_dir_all(worker.folder());
    Entrance::remove(&worker.pod.namespace().unwrap_or_default(), &worker.pod.name_any());
    // A pod that ran to its end (Job) stays in the API until somebody deletes it.
    let _ = pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await;
    worker.forget().await;
}

/// Ends what a pod without power left behind. Its future is dropped already.
pub(super) async fn discard(uid: &str) {
    for container in fs::read_dir(layout::path("pods").join(uid)).into_iter().flatten().flatten() {
        if container.path().join("root").is_dir() {
            volumes::unmount(&container.path().join("root")).await;
        }
    }
}

struct Worker {
    shared: Shared,
    place: Place,
    pod: Pod,
}

/// How a list of roots grows, so that they are removed whatever happens.
type Roots = Vec<Arc<Root>>;

impl Worker {
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
        let spec = self.spec()?;
        if spec.host_network == Some(true) {
            bail!("hostNetwork is not known to these nodes");
        }
        let (order, orders) = watch::channel(None);
        let since = Timestamp::now();
        let deleted = async {
            let grace = match pods.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await {
                Ok(pod) => pod.metadata.deletion_grace_period_seconds.unwrap_or(30),
                Err(_gone) => 0,
            };
            order.send_replace(Some(u64::try_from(grace).unwrap_or(0)));
            std::future::pending().await
        };
        let work = async {
            let mut ends = orders.clone();
            let prepared = tokio::select! {
                prepared = self.prepare(network, roots) => prepared?,
                _ = ends.wait_for(Option::is_some) => return Ok(()),
            };
            for init in prepared.init {
                let report = watch::Sender::new(Report::default());
                init.run(network, &report, orders.clone()).await;
                if !matches!(report.borrow().state, State::Ended { code: 0, .. }) {
                    bail!("init container {} failed", init.spec.name);
                }
            }
            self.run_containers(network, (&prepared.main, since), orders).await;
            Ok(())
        };
        tokio::select! {
            done = work => done,
            () = deleted => Ok(()),
        }
    }

    /// Runs all containers side by side and tells the API whenever something about them changes.
    async fn run_containers(
        &self,
        network: &PodNetwork,
        (containers, since): (&[Container], Timestamp),
        orders: Orders,
    ) {
        let reports: Vec<_> = containers.iter().map(|_| watch::Sender::new(Report::default())).collect();
        let running = join_all(
            containers.iter().zip(&reports).map(|(one, report)| one.run(network, report, orders.clone())),
        );
        let moment = || Moment {
            pod: &self.pod,
            place: &self.place,
            since,
            is_initialized: true,
            containers: containers
                .iter()
                .zip(&reports)
                .map(|(one, report)| (&one.spec, report.borrow().clone()))
                .collect(),
        };
        let telling = async {
            let mut seen: Vec<_> = reports.iter().map(watch::Sender::subscribe).collect();
            loop {
                self.tell(&moment()).await;
                let mut changes: FuturesUnordered<_> =
                    seen.iter_mut().map(watch::Receiver::changed).collect();
                changes.next().await;
            }
        };
        tokio::select! {
            _ = running => {}
            () = telling => {}
        }
        self.tell(&moment()).await;
    }

    async fn tell(&self, moment: &Moment<'_>) {
        let patch = Patch::Strategic(moment.patch());
        if let Err(error) =
            self.api().patch_status(&self.pod.name_any(), &PatchParams::default(), &patch).await
            && !is_gone(&error)
        {
            tracing::warn!(pod = self.pod.name_any(), %error, "status not written");
        }
    }

    async fn tell_failure(&self, error: &anyhow::Error) {
        let patch = serde_json::json!({
            "metadata": { "uid": self.pod.uid() },
            "status": { "phase": "Failed", "reason": "NodeRefused", "message": format!("{error:#}") },
        });
        let patch = Patch::Strategic(patch);
        // The pod may be gone, and then nobody has to know.
        let _ = self.api().patch_status(&self.pod.name_any(), &PatchParams::default(), &patch).await;
    }

    /// Removes the pod from the API, now that nothing of it is left.
    async fn forget(&self) {
        let preconditions = Preconditions { uid: self.pod.uid(), resource_version: None };
        let at_once =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
        while let Err(error) = self.api().delete(&self.pod.name_any(), &at_once).await {
            if is_gone(&error) {
                return;
            }
            tracing::warn!(pod = self.pod.name_any(), %error, "pod not removed yet");
            tokio::time::sleep(PREPARE_AGAIN).await;
        }
    }

    /// Makes volumes, roots and command lines, again and again until all that they need is there.
    async fn prepare(&self, network: &PodNetwork, roots: &mut Roots) -> anyhow::Result<Prepared> {
        let spec = self.spec()?;
        let surroundings = Surroundings { client: &self.shared.client, pod: &self.pod, place: &self.place };
        let volumes = self.folder().join("volumes");
        for volume in spec.volumes.iter().flatten() {
            while let Err(error) = volumes::make(&surroundings, volume, &volumes).await {
                self.tell_waiting(&error).await;
                tokio::time::sleep(PREPARE_AGAIN).await;
            }
        }
        let mut prepared = Prepared::default();
        for init in spec.init_containers.iter().flatten() {
            let mut one = self.prepare_one(&surroundings, init, (network, roots)).await?;
            // An init container has done its work when it ends well, whatever the pod's policy.
            if one.restart == Restart::Always {
                one.restart = Restart::OnFailure;
            }
            prepared.init.push(one);
        }
        for main in &spec.containers {
            prepared.main.push(self.prepare_one(&surroundings, main, (network, roots)).await?);
        }
        let entrance = Entrance {
            network: network.file(),
            roots: prepared
                .main
                .iter()
                .map(|one| (one.spec.name.clone(), one.root.path().to_path_buf()))
                .collect(),
        };
        entrance.write(&surroundings.namespace(), &self.pod.name_any())?;
        Ok(prepared)
    }

    async fn tell_waiting(&self, error: &anyhow::Error) {
        let spec = self.pod.spec.as_ref();
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let state = State::Waiting { reason: "ContainerCreating", message: format!("{error:#}") };
        let waiting = Report { state, ..Report::default() };
        let moment = Moment {
            pod: &self.pod,
            place: &self.place,
            since: Timestamp::now(),
            is_initialized: false,
            containers: containers.iter().map(|one| (one, waiting.clone())).collect(),
        };
        self.tell(&moment).await;
    }

    async fn prepare_one(
        &self,
        surroundings: &Surroundings<'_>,
        spec: &Spec,
        (network, roots): (&PodNetwork, &mut Roots),
    ) -> anyhow::Result<Container> {
        let image = spec.image.as_deref().unwrap_or_default();
        let (program, first) = self.shared.images.find(image).with_context(|| {
            format!("image {image:?} stands for no program; give --image {image}=PROGRAM")
        })?;
        let environment = loop {
            match environment::of(surroundings, spec).await {
                Ok(environment) => break environment,
                Err(error) => self.tell_waiting(&error).await,
            }
            tokio::time::sleep(PREPARE_AGAIN).await;
        };
        let folder = self.folder().join(&spec.name);
        let root = Root::mount(&folder, program, (spec, &self.folder().join("volumes"))).await;
        let root = Arc::new(root?);
        roots.push(Arc::clone(&root));
        let logs = self.shared.logs.join(surroundings.namespace()).join(self.pod.name_any());
        fs::create_dir_all(&logs)?;
        let probe = |spec_of: &Option<ProbeSpec>| {
            spec_of.as_ref().map(|probe| Probe::new(probe, spec, network.address)).transpose()
        };
        Ok(Container {
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
                Some("Never") => Restart::Never,
                Some("OnFailure") => Restart::OnFailure,
                _ => Restart::Always,
            },
            spec: spec.clone(),
            root,
        })
    }
}

#[derive(Default)]
struct Prepared {
    init: Vec<Container>,
    main: Vec<Container>,
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
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}
