//! Runs one container: process, probes, restarts, termination.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Container as Spec, LifecycleHandler};
use k8s_openapi::jiff::Timestamp;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::exec::ExecContainer;
use super::probe::{Probe, ResultStreak};
use super::root::{PROGRAM, Root, node_program};
use crate::cluster::image::ImageContent;
use crate::cluster::network::PodNetwork;

/// Backoff before the first restart. It doubles with each restart. A kubelet starts with 10 s.
const MIN_RESTART_BACKOFF: Duration = Duration::from_millis(500);

/// Maximum backoff before a restart. A kubelet's maximum is 5 min.
const MAX_RESTART_BACKOFF: Duration = Duration::from_secs(10);

/// State of a container in the pod's status.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ContainerState {
    Waiting { reason: &'static str, message: String },
    Running { started_at: Timestamp },
    Terminated { code: i32, started_at: Timestamp, finished_at: Timestamp },
}

/// Status of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContainerReport {
    pub(super) state: ContainerState,
    /// State before the last restart.
    pub(super) last: Option<ContainerState>,
    pub(super) ready: bool,
    /// True once the startup probe has succeeded.
    pub(super) started: bool,
    pub(super) restarts: i32,
}

impl Default for ContainerReport {
    fn default() -> Self {
        let state = ContainerState::Waiting { reason: "ContainerCreating", message: String::new() };
        Self { state, last: None, ready: false, started: false, restarts: 0 }
    }
}

/// When a terminated container is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// A container that is ready to start.
pub(super) struct Container {
    pub(super) spec: Spec,
    pub(super) root: Arc<Root>,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Numeric uid and gid.
    pub(super) user: (i64, i64),
    pub(super) log: PathBuf,
    pub(super) probes: Probes,
    pub(super) restart: RestartPolicy,
    /// Grace period after a failed liveness or startup probe, in seconds.
    pub(super) grace: u64,
}

/// Probes of a container. Probes that the spec lacks are `None`.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) startup: Option<Probe>,
    pub(super) liveness: Option<Probe>,
    pub(super) readiness: Option<Probe>,
}

/// Receives the order to stop: the grace period in seconds, or `None` while the container runs.
pub(super) type StopOrder = watch::Receiver<Option<u64>>;

impl Container {
    /// Runs the container until it terminates for good or is stopped.
    ///
    /// # Cancellation
    /// Dropping the future kills the container.
    pub(super) async fn run(
        &self,
        network: &PodNetwork,
        report_tx: &watch::Sender<ContainerReport>,
        mut stop: StopOrder,
    ) {
        let mut backoff = MIN_RESTART_BACKOFF;
        loop {
            let started_at = Timestamp::now();
            let ended = self.run_once(network, report_tx, &mut stop).await;
            let code = match ended {
                Ok(status) => status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
                Err(error) => {
                    tracing::warn!(container = self.spec.name, %error, "container failed to start");
                    128
                }
            };
            let ended = ContainerState::Terminated { code, started_at, finished_at: Timestamp::now() };
            let restarts = match self.restart {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => code != 0,
                RestartPolicy::Never => false,
            };
            let restarts = restarts && stop.borrow().is_none();
            report_tx.send_modify(|report| {
                report.ready = false;
                report.started = false;
                report.state = ended.clone();
            });
            if !restarts {
                return;
            }
            report_tx.send_modify(|report| {
                report.restarts += 1;
                report.last = Some(ended);
                let message = format!("back-off {backoff:?} restarting failed container");
                report.state = ContainerState::Waiting { reason: "CrashLoopBackOff", message };
            });
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(MAX_RESTART_BACKOFF),
                _ = stop.wait_for(Option::is_some) => return,
            }
        }
    }

    /// Returns the container's entry for `cluster exec`.
    pub(super) fn exec_container(&self) -> ExecContainer {
        ExecContainer {
            name: self.spec.name.clone(),
            root: self.root.path().to_path_buf(),
            environment: self.environment.clone(),
        }
    }

    async fn run_once(
        &self,
        network: &PodNetwork,
        report_tx: &watch::Sender<ContainerReport>,
        stop: &mut StopOrder,
    ) -> anyhow::Result<ExitStatus> {
        let mut child = self.start(network)?;
        let is_ready = self.probes.readiness.is_none();
        report_tx.send_modify(|report| {
            report.state = ContainerState::Running { started_at: Timestamp::now() };
            report.started = self.probes.startup.is_none();
            report.ready = is_ready && report.started;
        });
        let mut readiness = std::pin::pin!(self.probe_readiness(network, report_tx));
        let grace = tokio::select! {
            ended = child.child.wait() => return Ok(ended?),
            () = self.wait_for_liveness_failure(network, report_tx) => self.grace,
            _ = &mut readiness => self.grace,
            grace = stop.wait_for(Option::is_some) => grace.map_or(0, |grace| grace.unwrap_or(0)),
        };
        // Readiness is probed until the end, as a kubelet does: a terminating endpoint may still serve.
        tokio::select! {
            ended = self.end(network, &mut child, grace) => ended,
            never = readiness => match never {},
        }
    }

    fn start(&self, network: &PodNetwork) -> anyhow::Result<ProcessGroup> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = self
            .command_in_container(network, &self.command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.command.join(" ")))?;
        Ok(ProcessGroup { child })
    }

    /// Returns a command that runs in the pod's network and the container's root, as the container's user.
    pub(super) fn command_in_container(&self, network: &PodNetwork, command: &[String]) -> Command {
        let (user, group) = self.user;
        let mut entered = Command::new(node_program("nsenter"));
        entered
            .arg(format!("--net={}", network.namespace_path().display()))
            .arg("--")
            .arg(node_program("setpriv"))
            .args(["--no-new-privs", "--"])
            .arg(node_program("chroot"))
            .args([format!("--userspec=+{user}:+{group}"), format!("--groups=+{group}")])
            .arg(self.root.path());
        if let Some(folder) = self.spec.working_dir.as_deref().filter(|folder| !folder.is_empty()) {
            entered.args(["env", "--chdir", folder, "--"]);
        }
        entered.args(command).env_clear().envs(&self.environment);
        entered
    }

    /// Stops the container: preStop hook, SIGTERM, and SIGKILL after `grace` seconds.
    async fn end(
        &self,
        network: &PodNetwork,
        process: &mut ProcessGroup,
        grace: u64,
    ) -> anyhow::Result<ExitStatus> {
        let graceful = async {
            let lifecycle = self.spec.lifecycle.as_ref();
            if let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
                self.pre_stop(network, hook).await;
            }
            process.signal(Signal::TERM);
            process.child.wait().await
        };
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(grace), graceful).await {
            return Ok(ended?);
        }
        process.signal(Signal::KILL);
        Ok(process.child.wait().await?)
    }

    async fn pre_stop(&self, network: &PodNetwork, hook: &LifecycleHandler) {
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        } else if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let done = self.command_in_container(network, &command).kill_on_drop(true).output().await;
            tracing::debug!(container = self.spec.name, ?done, "preStop");
        } else {
            tracing::warn!(
                container = self.spec.name,
                "a preStop hook of a kind that these nodes do not support"
            );
        }
    }

    /// Waits until the startup or liveness probe has reached its failure threshold.
    async fn wait_for_liveness_failure(
        &self,
        network: &PodNetwork,
        report_tx: &watch::Sender<ContainerReport>,
    ) {
        if let Some(probe) = &self.probes.startup {
            if !self.probe_until_verdict(network, probe).await {
                return;
            }
            let has_readiness = self.probes.readiness.is_some();
            report_tx.send_modify(|report| {
                report.started = true;
                report.ready = !has_readiness;
            });
        }
        let Some(probe) = &self.probes.liveness else { return std::future::pending().await };
        while self.probe_until_verdict(network, probe).await {
            tokio::time::sleep(probe.period).await;
        }
    }

    /// Probes until a threshold is reached. Returns true for success.
    async fn probe_until_verdict(&self, network: &PodNetwork, probe: &Probe) -> bool {
        let mut streak = ResultStreak::default();
        tokio::time::sleep(probe.delay).await;
        loop {
            let success = probe.succeeds(|command| self.command_in_container(network, command)).await;
            if let Some(verdict) = probe.verdict(&mut streak, success) {
                return verdict;
            }
            tokio::time::sleep(probe.period).await;
        }
    }

    /// Updates `ready` in the report by the readiness probe.
    async fn probe_readiness(
        &self,
        network: &PodNetwork,
        report_tx: &watch::Sender<ContainerReport>,
    ) -> std::convert::Infallible {
        let Some(probe) = &self.probes.readiness else { return std::future::pending().await };
        let _ = report_tx.subscribe().wait_for(|report| report.started).await;
        let mut streak = ResultStreak::default();
        tokio::time::sleep(probe.delay).await;
        loop {
            let success = probe.succeeds(|command| self.command_in_container(network, command)).await;
            if let Some(verdict) = probe.verdict(&mut streak, success) {
                report_tx.send_if_modified(|report| std::mem::replace(&mut report.ready, verdict) != verdict);
            }
            tokio::time::sleep(probe.period).await;
        }
    }
}

/// The process group of a container. Dropping it kills the processes.
struct ProcessGroup {
    child: Child,
}

impl ProcessGroup {
    fn signal(&self, signal: Signal) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // The group may have ended already.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Returns the command line of a container.
pub(super) fn command_line(
    spec: &Spec,
    image: &ImageContent,
    environment: &BTreeMap<String, String>,
) -> Vec<String> {
    let arguments = spec.args.as_deref().unwrap_or_default();
    let mut line = match spec.command.as_deref() {
        Some(command) if !command.is_empty() => command.to_vec(),
        _ if image.program.is_none() && arguments.is_empty() => {
            [image.entrypoint.as_slice(), &image.default_arguments].concat()
        }
        _ if image.program.is_none() => image.entrypoint.clone(),
        _ => [&[PROGRAM.to_owned()], image.entrypoint.as_slice()].concat(),
    };
    line.extend_from_slice(arguments);
    line.iter().map(|word| super::environment::expand(word, environment)).collect()
}
