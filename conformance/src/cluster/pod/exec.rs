//! `cluster exec`: a command in a running pod, for want of a kubelet to exec or forward ports through.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::layout;

/// Which pod, and what to run.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// The pod, as NAMESPACE/NAME.
    #[arg(value_name = "NAMESPACE/POD")]
    pod: String,
    /// Which container; the first one if not given.
    #[arg(long, short, value_name = "NAME")]
    container: Option<String>,
    /// What to run; as root, with the container's files and environment and in the pod's network.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What a node writes down of a running pod so that others find their way in.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cluster) struct ExecEntry {
    /// The file of the network namespace.
    pub(in crate::cluster) network: PathBuf,
    pub(super) containers: Vec<ExecContainer>,
}

/// A container of such a pod.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExecContainer {
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
}

impl ExecEntry {
    fn file(namespace: &str, pod: &str) -> PathBuf {
        layout::path("entrances").join(namespace).join(pod)
    }

    /// Makes it known.
    ///
    /// # Errors
    /// The tmpfs is full.
    pub(super) fn write(&self, namespace: &str, pod: &str) -> anyhow::Result<()> {
        let file = Self::file(namespace, pod);
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        Ok(fs::write(file, serde_json::to_vec(self)?)?)
    }

    /// Finds a pod's.
    ///
    /// # Errors
    /// No such pod runs here.
    pub(in crate::cluster) fn read(namespace: &str, pod: &str) -> anyhow::Result<Self> {
        let Ok(written) = fs::read(Self::file(namespace, pod)) else {
            bail!("no pod {namespace}/{pod} runs here; this works inside `conformance cluster run` only");
        };
        Ok(serde_json::from_slice(&written)?)
    }

    /// Forgets it.
    pub(super) fn remove(namespace: &str, pod: &str) {
        // It may never have been written.
        let _ = fs::remove_file(Self::file(namespace, pod));
    }
}

impl ExecArgs {
    /// Becomes the command. Returns only if that fails.
    pub(crate) fn execute(self) -> anyhow::Error {
        match self.enter() {
            Ok(mut command) => anyhow::Error::new(command.exec()).context("cannot enter the pod"),
            Err(error) => error,
        }
    }

    fn enter(self) -> anyhow::Result<Command> {
        let (namespace, pod) = self.pod.split_once('/').context("the pod is given as NAMESPACE/NAME")?;
        let entrance = ExecEntry::read(namespace, pod)?;
        let wanted = |name: &String| self.container.as_ref().is_none_or(|wanted| wanted == name);
        let mut containers = entrance.containers.iter();
        let inner = containers.find(|inner| wanted(&inner.name)).context("the pod has no such container")?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", entrance.network.display()))
            .args(["--", "chroot"])
            .arg(&inner.root)
            .args(self.command)
            .env_clear()
            .envs(&inner.environment);
        Ok(command)
    }
}
