//! From the caller's world into namespaces of one's own, by becoming `unshare`.
//!
//! The process is replaced, not a child started: whoever kills it kills `unshare`, whose `--kill-child` takes the
//! first process of the PID namespace with it, and the kernel then ends all others.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::Run;

/// Starts this program again inside new network, mount and PID namespaces. Returns only if that fails.
pub(super) fn enter(parts: &Path, run: Run) -> anyhow::Error {
    let program = match std::env::current_exe().context("cannot tell which program this is") {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        // Uids beyond the caller's own are mapped where /etc/subuid gives some; a pod's `runAsUser` needs that.
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--").arg(program).args(["cluster", "inside", "--parts"]).arg(parts);
    command.args(["--nodes", &run.nodes.to_string()]);
    for image in &run.images {
        command.arg("--image").arg(image.to_string());
    }
    if let Some(logs) = &run.logs {
        command.arg("--logs").arg(logs);
    }
    command.arg("--").args(&run.command);
    anyhow::Error::new(command.exec()).context("cannot start unshare (package util-linux)")
}
