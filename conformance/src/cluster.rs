//! `conformance cluster`: a real control plane and nodes without containers, for as long as one command runs.
//!
//! `run` gets the control plane's programs (`parts`), enters namespaces of its own (`sandbox`) and starts itself
//! again in them; there it lays out a network, starts etcd, API server, controller manager and scheduler
//! (`control_plane`), plays port_forward (`node`, `pod`, `port_forward`) and kube-proxy (`proxy`), and runs the command.
//! Everything lives in those namespaces and in a tmpfs, so one SIGKILL ends all of it and nothing is left behind.
//! Not here: what is proven with it.

mod control_plane;
mod image;
mod layout;
mod network;
mod node;
mod parts;
mod pod;
mod port_forward;
mod power;
mod proxy;
mod run;
mod sandbox;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use image::Image;

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start a cluster, run a command in it with KUBECONFIG set, and end both; the command's exit code is handed on.
    Run(Run),
    /// Run a command in a pod; only from inside `cluster run`.
    Exec(pod::exec::ExecArgs),
    /// Take a node or the API server down as a power cut would; only from inside `cluster run`.
    Stop(power::PowerTarget),
    /// Start it again; only from inside `cluster run`.
    Start(power::PowerTarget),
    /// Get the control plane's programs, say where they are, and see whether this machine can run a cluster.
    Parts(Parts),
    /// The second half of `run`, inside the namespaces.
    #[command(hide = true)]
    Inside(Inside),
}

/// How a cluster is to be.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// How many nodes, each in a zone of its own.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
    /// Which program an image stands for; `gateway` and `echo` of any registry and tag are known already.
    #[arg(long = "image", value_name = "NAME=PROGRAM")]
    images: Vec<Image>,
    /// Where to write the logs of control plane and pods; kept afterwards.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// What to run.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// How to get the programs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Parts {
    /// Fail instead of building what is missing, which takes minutes.
    #[arg(long)]
    no_build: bool,
}

/// What the first half hands to the second.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Inside {
    /// The folder with the control plane's programs.
    #[arg(long)]
    parts: PathBuf,
    #[command(flatten)]
    run: Run,
}

/// Does what was asked.
///
/// # Errors
/// What is missing on this machine, or did not start.
pub(crate) fn execute(command: ClusterCommand) -> anyhow::Result<ExitCode> {
    match command {
        ClusterCommand::Run(run) => {
            // Before minutes are spent on a build.
            sandbox::check()?;
            let parts = parts::ensure_programs(parts::IfMissing::Build)?;
            sandbox::enter(&parts, &run)
        }
        ClusterCommand::Inside(_) if std::process::id() == 1 => sandbox::reap(),
        ClusterCommand::Inside(inside) => run::run(inside),
        ClusterCommand::Exec(exec) => Err(exec.execute()),
        ClusterCommand::Stop(target) => power::send_request(power::PowerAction::Stop, target),
        ClusterCommand::Start(target) => power::send_request(power::PowerAction::Start, target),
        ClusterCommand::Parts(Parts { no_build }) => {
            let missing = if no_build { parts::IfMissing::Fail } else { parts::IfMissing::Build };
            sandbox::check()?;
            crate::say(&format!("{}", parts::ensure_programs(missing)?.display()));
            Ok(ExitCode::SUCCESS)
        }
    }
}
