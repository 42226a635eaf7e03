//! Namespaces of the cluster: creates them, and ends everything in them with the caller.
//!
//! The processes form a chain: the caller's process, `unshare`, the init process of the PID namespace ([`reap`]), the
//! cluster. Each process dies with the one before it, and the kernel ends a PID namespace with its init process. So one
//! SIGKILL to any of them ends all. SIGTERM to the caller's process does the same; `unshare` alone would block it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::args::RunArgs;
use super::parts::ProgramFolders;

/// Flags of `unshare` for new network, mount and PID namespaces.
const FLAGS: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Further flags for callers other than root. `runAsUser` needs more uids: `newuidmap` maps those of /etc/subuid.
const ROOTLESS_FLAGS: [&str; 3] = ["--user", "--map-root-user", "--map-auto"];

/// Starts this program again inside new namespaces, and returns its exit code.
///
/// # Errors
/// The namespaces cannot be created.
pub(super) fn enter(parts: &ProgramFolders, run: &RunArgs) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut command = unshare();
    command.arg(program).args(["cluster", "inside", "--parts"]).arg(&parts.control_plane);
    command.arg("--tools").arg(&parts.tools);
    command.args(["--nodes", &run.nodes.to_string()]);
    for image in &run.images {
        command.arg("--image").arg(image.to_string());
    }
    if let Some(logs) = &run.logs {
        command.arg("--logs").arg(std::path::absolute(logs)?);
    }
    command.arg("--").args(&run.command);
    // A current-thread runtime: for `--pdeathsig`, the parent of a child is the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_until_signal(command))
}

/// Checks that this machine permits such namespaces and has the programs that set them up.
///
/// # Errors
/// A program or a permission is missing.
pub(super) fn check() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // tokio registers a child with the runtime that it is spawned in.
    let attempt = runtime.block_on(async {
        unshare().args(["ip", "link", "add", "br0", "type", "bridge"]).kill_on_drop(true).output().await
    });
    let output = attempt.context("cannot start setpriv (package util-linux)")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "no namespaces here (they need root, or user namespaces with newuidmap and a range in /etc/subuid; packages \
         util-linux, iproute2, uidmap): {}",
        stderr.trim()
    );
    Ok(())
}

/// Returns an exit code as shells do: 128 plus the signal's number for a process that a signal ended.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(number).unwrap_or(1))
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
    // A terminal sends SIGINT to the command too, which decides how to end.
    let _interrupt = signal(SignalKind::interrupt())?;
    let mut child = command.spawn().context("cannot start setpriv (package util-linux)")?;
    let signal = tokio::select! {
        ended = child.wait() => return Ok(exit_code(ended?)),
        _ = terminate.recv() => 15,
        _ = hang_up.recv() => 1,
    };
    kill_namespace(&mut child);
    child.wait().await?;
    Ok(ExitCode::from(128 + signal))
}

/// Kills the init process of the PID namespace. `unshare` exits once all processes in it have ended.
fn kill_namespace(child: &mut Child) {
    let init = child.id().and_then(|id| {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    });
    let killed = init.is_some_and(|init| rustix::process::kill_process(init, Signal::KILL).is_ok());
    if !killed {
        // The namespace does not exist yet, or the kernel has no list of children.
        let _ = child.start_kill();
    }
}

/// Acts as the init process of the PID namespace: starts this program once more and returns its exit code.
///
/// It also reaps orphaned processes, which pods and the command leave behind.
///
/// # Errors
/// The program cannot be started, or no child is left to wait for.
pub(super) fn reap() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let child = std::process::Command::new(program).args(std::env::args_os().skip(1)).spawn()?;
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        let Some((ended, status)) = rustix::process::wait(WaitOptions::empty())? else {
            bail!("no child is left to wait for");
        };
        if Some(ended) != main {
            continue;
        }
        let signal = || status.terminating_signal().map(|signal| 128 + signal);
        let number = status.exit_status().or_else(signal).unwrap_or(1);
        return Ok(ExitCode::from(u8::try_from(number).unwrap_or(1)));
    }
}
