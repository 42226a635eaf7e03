//! `cluster exec`: runs a command in a running pod, in place of the kubelet's exec API.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::root::node_program;
use crate::cluster::args::ExecArgs;
use crate::cluster::layout;

/// A running pod as the node records it for `cluster exec` and port forwarding.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecEntry {
    /// Path of the network namespace.
    pub(crate) network: PathBuf,
    pub(super) containers: Vec<ExecContainer>,
}

/// A running container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExecContainer {
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
}

impl ExecEntry {
    fn file(namespace: &str, pod: &str) -> PathBuf {
        layout::path("exec").join(namespace).join(pod)
    }

    /// Writes the entry of a pod.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, namespace: &str, pod: &str) -> anyhow::Result<()> {
        let file = Self::file(namespace, pod);
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        Ok(fs::write(file, serde_json::to_vec(self)?)?)
    }

    /// Reads the entry of a pod.
    ///
    /// # Errors
    /// No such pod is running.
    pub(crate) fn read(namespace: &str, pod: &str) -> anyhow::Result<Self> {
        let Ok(entry) = fs::read(Self::file(namespace, pod)) else {
            bail!(
                "no pod {namespace}/{pod} is running; this command works inside `conformance cluster run` only"
            );
        };
        Ok(serde_json::from_slice(&entry)?)
    }

    /// Removes the entry of a pod.
    pub(super) fn remove(namespace: &str, pod: &str) {
        // The entry is missing if the pod never started.
        let _ = fs::remove_file(Self::file(namespace, pod));
    }
}

/// Replaces this process by the command of `cluster exec`. Returns only if that fails.
pub(crate) fn execute(args: ExecArgs) -> anyhow::Error {
    match command(args) {
        Ok(mut command) => anyhow::Error::new(command.exec()).context("cannot enter the pod"),
        Err(error) => error,
    }
}

fn command(args: ExecArgs) -> anyhow::Result<Command> {
    let (namespace, pod) = args.pod.split_once('/').context("the pod is given as NAMESPACE/NAME")?;
    let entry = ExecEntry::read(namespace, pod)?;
    let is_selected =
        |container: &&ExecContainer| args.container.as_ref().is_none_or(|name| *name == container.name);
    let container = entry.containers.iter().find(is_selected).context("the pod has no such container")?;
    let mut command = Command::new(node_program("nsenter"));
    command
        .arg(format!("--net={}", entry.network.display()))
        .arg("--")
        .arg(node_program("chroot"))
        .arg(&container.root)
        .args(args.command)
        .env_clear()
        .envs(&container.environment);
    Ok(command)
}
