//! From the caller's world into namespaces of one's own.
//!
//! The chain is: the caller's process, `unshare`, the first process of the PID namespace ([`reap`]), the cluster.
//! Each link dies with the one before it, and the kernel ends a PID namespace with its first process: one SIGKILL,
//! wherever it hits, ends all of it. SIGTERM to the caller's process does the same; `unshare` alone would block it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::Run;

/// New network, mount and PID namespaces.
const FLAGS: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Uids besides the caller's own are wanted, for `runAsUser`: /etc/subuid gives them, and `newuidmap` maps them.
const ROOTLESS_FLAGS: [&str; 3] = ["--user", "--map-root-user", "--map-auto"];

/// Starts this program again inside new namespaces, and hands its exit code on.
///
/// # Errors
/// The namespaces cannot be made.
pub(super) fn enter(parts: &Path, run: &Run) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let mut command = unshare();
    command.arg(program).args(["cluster", "inside", "--parts"]).arg(parts);
    command.args(["--nodes", &run.nodes.to_string()]);
    for image in &run.images {
        command.arg("--image").arg(image.to_string());
    }
    if let Some(logs) = &run.logs {
        command.arg("--logs").arg(std::path::absolute(logs)?);
    }
    command.arg("--").args(&run.command);
    // On this thread alone: a child's parent, for `--pdeathsig`, is the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_until_signal(command))
}

/// Tries whether this machine lets us have such namespaces, and has the programs that fill them.
///
/// # Errors
/// It does not.
pub(super) fn check() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Within the runtime: that is what a child is registered with when it starts.
    let tried = runtime.block_on(async {
        unshare().args(["ip", "link", "add", "br0", "type", "bridge"]).kill_on_drop(true).output().await
    });
    let tried = tried.context("cannot start setpriv (package util-linux)")?;
    let said = String::from_utf8_lossy(&tried.stderr);
    ensure!(
        tried.status.success(),
        "no namespaces here (they need root, or user namespaces with newuidmap and a range in /etc/subuid; packages \
         util-linux, iproute2, uidmap): {}",
        said.trim()
    );
    Ok(())
}

fn unshare() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare"]).args(FLAGS);
    if !rustix::process::geteuid().is_root() {
        command.args(ROOTLESS_FLAGS);
    }
    command.arg("--");
    command
}

async fn run_until_signal(mut command: Command) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A terminal sends SIGINT to the command too, and that one decides.
    let _interrupt = signal(SignalKind::interrupt())?;
    let mut child = command.spawn().context("cannot start setpriv (package util-linux)")?;
    let number = tokio::select! {
        ended = child.wait() => return Ok(super::run::code(ended?)),
        _ = terminate.recv() => 15,
        _ = hang_up.recv() => 1,
    };
    kill_namespace(&mut child);
    child.wait().await?;
    Ok(ExitCode::from(128 + number))
}

/// Kills the first process of the PID namespace: `unshare` ends when the last of the others is gone.
fn kill_namespace(child: &mut Child) {
    let first = child.id().and_then(|id| {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    });
    let killed = first.is_some_and(|first| rustix::process::kill_process(first, Signal::KILL).is_ok());
    if !killed {
        // It had not come so far, or the kernel does not tell.
        let _ = child.start_kill();
    }
}

/// What the first process of a PID namespace is for: starts this program once more, takes in the ended processes
/// that nobody else waits for (pods and the command leave some), and hands on how that program ended.
///
/// # Errors
/// It cannot be started, or is lost.
pub(super) fn reap() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let child = std::process::Command::new(program).args(std::env::args_os().skip(1)).spawn()?;
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        let Some((ended, status)) = rustix::process::wait(WaitOptions::empty())? else {
            bail!("waited for nothing");
        };
        if Some(ended) != main {
            continue;
        }
        let signal = || status.terminating_signal().map(|signal| 128 + signal);
        let number = status.exit_status().or_else(signal).unwrap_or(1);
        return Ok(ExitCode::from(u8::try_from(number).unwrap_or(1)));
    }
}
