//! Command line of `conformance cluster`.

use std::path::PathBuf;

use clap::Subcommand;

use super::image::Image;

/// The subcommands of `cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start a cluster, run a command in it with KUBECONFIG set, and end both. Exits with the command's exit code.
    Run(RunArgs),
    /// Run a command in a pod. Works only inside `cluster run`.
    Exec(ExecArgs),
    /// Cut the power of a node or kill the API server. Works only inside `cluster run`.
    Stop(PowerTarget),
    /// Start a stopped node or API server again. Works only inside `cluster run`.
    Start(PowerTarget),
    /// Install the programs of the cluster, print their folders, and check that this machine can run a cluster.
    Parts(PartsArgs),
    /// The second half of `run`, inside the namespaces.
    #[command(hide = true)]
    Inside(InsideArgs),
}

/// Options of `cluster run`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Number of nodes. Each has a zone of its own.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(super) nodes: u8,
    /// Program that runs in containers of an image, or folder that `conformance/image unpack` has written. `gateway` and
    /// `echo` of any registry and tag are known already.
    #[arg(long = "image", value_name = "NAME=PATH")]
    pub(super) images: Vec<Image>,
    /// Folder for the logs of control plane and pods. It is kept afterwards.
    #[arg(long, value_name = "DIR")]
    pub(super) logs: Option<PathBuf>,
    /// Command to run.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

/// Options of `cluster exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// The pod, as NAMESPACE/NAME.
    #[arg(value_name = "NAMESPACE/POD")]
    pub(super) pod: String,
    /// The container. Defaults to the first one.
    #[arg(long, short, value_name = "NAME")]
    pub(super) container: Option<String>,
    /// Command to run as root, with the container's files and environment, in the pod's network.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

/// The object of `cluster stop` and `cluster start`.
#[derive(Debug, clap::Args)]
pub(crate) struct PowerTarget {
    /// `api-server`, or a node such as `node-2`.
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

/// Options of `cluster parts`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct PartsArgs {
    /// Fail instead of building missing programs, which takes minutes.
    #[arg(long)]
    pub(super) no_build: bool,
    /// Install helm and crane only. This needs no namespaces.
    #[arg(long)]
    pub(super) tools: bool,
}

/// Arguments that the first half of `run` passes to the second.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InsideArgs {
    /// The folder with the control plane's programs.
    #[arg(long)]
    pub(super) parts: PathBuf,
    /// The folder with helm and crane.
    #[arg(long)]
    pub(super) tools: PathBuf,
    #[command(flatten)]
    pub(super) run: RunArgs,
}
