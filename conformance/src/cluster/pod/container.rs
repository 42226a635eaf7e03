//! One container: its process, its probes, its restarts, and its end.

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
use super::volumes::{PROGRAM, Root};
use crate::cluster::network::PodNetwork;

/// The first backoff before a container is started again; it doubles. A kubelet begins with 10 s.
const MIN_RESTART_BACKOFF: Duration = Duration::from_millis(500);

/// The longest backoff before a container is started again. A kubelet waits up to 5 min.
const MAX_RESTART_BACKOFF: Duration = Duration::from_secs(10);

/// What a container is doing, as a pod's status tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ContainerState {
    Waiting { reason: &'static str, message: String },
    Running { started_at: Timestamp },
    Terminated { code: i32, started_at: Timestamp, finished_at: Timestamp },
}

/// A container as the pod's status tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContainerReport {
    pub(super) state: ContainerState,
    /// How it ended the last time, if it was started again.
    pub(super) last: Option<ContainerState>,
    pub(super) ready: bool,
    /// Whether the startup probe is through.
    pub(super) started: bool,
    pub(super) restarts: i32,
}

impl Default for ContainerReport {
    fn default() -> Self {
        let state = ContainerState::Waiting { reason: "ContainerCreating", message: String::new() };
        Self { state, last: None, ready: false, started: false, restarts: 0 }
    }
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// A container that is ready to be started.
pub(super) struct Container {
    pub(super) spec: Spec,
    pub(super) root: Arc<Root>,
    /// What runs in it, with the first arguments.
    pub(super) command: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Numeric user and group.
    pub(super) user: (i64, i64),
    pub(super) log: PathBuf,
    pub(super) probes: Probes,
    pub(super) restart: RestartPolicy,
    /// How long it gets that its own liveness probe ends, seconds.
    pub(super) grace: u64,
}

/// A container's probes; those not wanted are absent.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) startup: Option<Probe>,
    pub(super) liveness: Option<Probe>,
    pub(super) readiness: Option<Probe>,
}

/// What the pod wants of its containers: nothing yet, or their end within so many seconds.
pub(super) type StopOrder = watch::Receiver<Option<u64>>;

impl Container {
    /// Runs the container until it ends for good or the pod says so.
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

    /// What others need to find their way in.
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
        // Readiness is probed until the end, as a kubelet does: an endpoint may serve while it terminates.
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

    /// A command inside the pod's network and the container's root, as the container's user.
    pub(super) fn command_in_container(&self, network: &PodNetwork, command: &[String]) -> Command {
        let (user, group) = self.user;
        let mut entered = Command::new("nsenter");
        entered
            .arg(format!("--net={}", network.namespace_path().display()))
            .args(["--", "setpriv", "--no-new-privs", "--", "chroot"])
            .args([format!("--userspec=+{user}:+{group}"), format!("--groups=+{group}")])
            .arg(self.root.path());
        if let Some(folder) = self.spec.working_dir.as_deref().filter(|folder| !folder.is_empty()) {
            entered.args(["env", "--chdir", folder, "--"]);
        }
        entered.args(command).env_clear().envs(&self.environment);
        entered
    }

    /// preStop, SIGTERM, and SIGKILL once `grace` seconds are over.
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
                "a preStop hook of a kind that these nodes do not know"
            );
        }
    }

    /// Ends when the startup or the liveness probe has failed for good.
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

    /// Probes until there is a verdict.
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

    /// Keeps the report's `ready` in step with the readiness probe.
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

/// A container's process group; dropped, it is killed.
struct ProcessGroup {
    child: Child,
}

impl ProcessGroup {
    fn signal(&self, signal: Signal) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The command line of a container whose image stands for a program with `first` arguments.
pub(super) fn command_line(
    spec: &Spec,
    first: &[String],
    environment: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut line = match spec.command.as_deref() {
        Some(command) if !command.is_empty() => command.to_vec(),
        _ => [&[PROGRAM.to_owned()], first].concat(),
    };
    line.extend(spec.args.iter().flatten().cloned());
    line.iter().map(|word| super::environment::expand(word, environment)).collect()
}
