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

use super::exec::Inner;
use super::probe::{Probe, Streak};
use super::volumes::{PROGRAM, Root};
use crate::cluster::network::PodNetwork;

/// The first wait before a container is started again; it doubles. A kubelet begins with 10 s.
const FIRST_RESTART_WAIT: Duration = Duration::from_millis(500);

/// The longest wait before a container is started again. A kubelet waits up to 5 min.
const LONGEST_RESTART_WAIT: Duration = Duration::from_secs(10);

/// What a container is doing, as a pod's status tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Ended { code: i32, since: Timestamp, at: Timestamp },
}

/// A container as the pod's status tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) state: State,
    /// How it ended the last time, if it was started again.
    pub(super) last: Option<State>,
    pub(super) ready: bool,
    /// Whether the startup probe is through.
    pub(super) started: bool,
    pub(super) restarts: i32,
}

impl Default for Report {
    fn default() -> Self {
        let state = State::Waiting { reason: "ContainerCreating", message: String::new() };
        Self { state, last: None, ready: false, started: false, restarts: 0 }
    }
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
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
    pub(super) restart: Restart,
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
pub(super) type Orders = watch::Receiver<Option<u64>>;

impl Container {
    /// Runs the container until it ends for good or the pod says so.
    pub(super) async fn run(
        &self,
        network: &PodNetwork,
        reports: &watch::Sender<Report>,
        mut orders: Orders,
    ) {
        let mut wait = FIRST_RESTART_WAIT;
        loop {
            let since = Timestamp::now();
            let ended = self.run_once(network, reports, &mut orders).await;
            let code = match ended {
                Ok(status) => status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
                Err(error) => {
                    tracing::warn!(container = self.spec.name, %error, "container failed to start");
                    128
                }
            };
            let ended = State::Ended { code, since, at: Timestamp::now() };
            let again = match self.restart {
                Restart::Always => true,
                Restart::OnFailure => code != 0,
                Restart::Never => false,
            };
            let again = again && orders.borrow().is_none();
            reports.send_modify(|report| {
                report.ready = false;
                report.started = false;
                report.state = ended.clone();
            });
            if !again {
                return;
            }
            reports.send_modify(|report| {
                report.restarts += 1;
                report.last = Some(ended);
                let message = format!("back-off {wait:?} restarting failed container");
                report.state = State::Waiting { reason: "CrashLoopBackOff", message };
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_RESTART_WAIT),
                _ = orders.wait_for(Option::is_some) => return,
            }
        }
    }

    /// What others need to find their way in.
    pub(super) fn inner(&self) -> Inner {
        Inner {
            name: self.spec.name.clone(),
            root: self.root.path().to_path_buf(),
            environment: self.environment.clone(),
        }
    }

    async fn run_once(
        &self,
        network: &PodNetwork,
        reports: &watch::Sender<Report>,
        orders: &mut Orders,
    ) -> anyhow::Result<ExitStatus> {
        let mut child = self.start(network)?;
        let is_ready = self.probes.readiness.is_none();
        reports.send_modify(|report| {
            report.state = State::Running { since: Timestamp::now() };
            report.started = self.probes.startup.is_none();
            report.ready = is_ready && report.started;
        });
        let mut readiness = std::pin::pin!(self.keep_ready(network, reports));
        let grace = tokio::select! {
            ended = child.child.wait() => return Ok(ended?),
            () = self.fail_liveness(network, reports) => self.grace,
            _ = &mut readiness => self.grace,
            grace = orders.wait_for(Option::is_some) => grace.map_or(0, |grace| grace.unwrap_or(0)),
        };
        // Readiness is probed until the end, as a kubelet does: an endpoint may serve while it terminates.
        tokio::select! {
            ended = self.end(network, &mut child, grace) => ended,
            never = readiness => match never {},
        }
    }

    fn start(&self, network: &PodNetwork) -> anyhow::Result<Process> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = self
            .enter(network, &self.command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.command.join(" ")))?;
        Ok(Process { child })
    }

    /// A command inside the pod's network and the container's root, as the container's user.
    pub(super) fn enter(&self, network: &PodNetwork, command: &[String]) -> Command {
        let (user, group) = self.user;
        let mut entered = Command::new("nsenter");
        entered
            .arg(format!("--net={}", network.file().display()))
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
        process: &mut Process,
        grace: u64,
    ) -> anyhow::Result<ExitStatus> {
        let gently = async {
            let lifecycle = self.spec.lifecycle.as_ref();
            if let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
                self.pre_stop(network, hook).await;
            }
            process.signal(Signal::TERM);
            process.child.wait().await
        };
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(grace), gently).await {
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
            let done = self.enter(network, &command).kill_on_drop(true).output().await;
            tracing::debug!(container = self.spec.name, ?done, "preStop");
        } else {
            tracing::warn!(
                container = self.spec.name,
                "a preStop hook of a kind that these nodes do not know"
            );
        }
    }

    /// Ends when the startup or the liveness probe has failed for good.
    async fn fail_liveness(&self, network: &PodNetwork, reports: &watch::Sender<Report>) {
        if let Some(probe) = &self.probes.startup {
            if !self.first_verdict(network, probe).await {
                return;
            }
            let has_readiness = self.probes.readiness.is_some();
            reports.send_modify(|report| {
                report.started = true;
                report.ready = !has_readiness;
            });
        }
        let Some(probe) = &self.probes.liveness else { return std::future::pending().await };
        while self.first_verdict(network, probe).await {
            tokio::time::sleep(probe.period).await;
        }
    }

    /// Probes until there is a verdict.
    async fn first_verdict(&self, network: &PodNetwork, probe: &Probe) -> bool {
        let mut streak = Streak::default();
        tokio::time::sleep(probe.delay).await;
        loop {
            let success = probe.succeeds(|command| self.enter(network, command)).await;
            if let Some(verdict) = probe.verdict(&mut streak, success) {
                return verdict;
            }
            tokio::time::sleep(probe.period).await;
        }
    }

    /// Keeps the report's `ready` in step with the readiness probe.
    async fn keep_ready(
        &self,
        network: &PodNetwork,
        reports: &watch::Sender<Report>,
    ) -> std::convert::Infallible {
        let Some(probe) = &self.probes.readiness else { return std::future::pending().await };
        let _ = reports.subscribe().wait_for(|report| report.started).await;
        let mut streak = Streak::default();
        tokio::time::sleep(probe.delay).await;
        loop {
            let success = probe.succeeds(|command| self.enter(network, command)).await;
            if let Some(verdict) = probe.verdict(&mut streak, success) {
                reports.send_if_modified(|report| std::mem::replace(&mut report.ready, verdict) != verdict);
            }
            tokio::time::sleep(probe.period).await;
        }
    }
}

/// A container's process group; dropped, it is killed.
struct Process {
    child: Child,
}

impl Process {
    fn signal(&self, signal: Signal) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
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
