//! `conformance cluster`: a Kubernetes control plane and nodes without containers, while one command runs.
//!
//! `run` installs the programs that it needs (`parts`), creates namespaces (`sandbox`) and starts this program again
//! inside them. The second process creates a network and starts etcd, API server, controller manager and scheduler
//! (`control_plane`). It acts as kubelet (`node`, `pod`, `port_forward`) and kube-proxy (`proxy`) and runs the command.
//! All of it lives in those namespaces and in a tmpfs, so one SIGKILL ends everything and nothing is left behind.

mod args;
mod client;
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

use std::process::ExitCode;

pub(crate) use args::ClusterCommand;
use args::PartsArgs;
use parts::MissingProgram;
use power::PowerAction;

/// Executes a subcommand of `cluster`.
///
/// # Errors
/// This machine lacks a program or permission, or the cluster does not start.
pub(crate) fn execute(command: ClusterCommand) -> anyhow::Result<ExitCode> {
    match command {
        ClusterCommand::Run(run) => {
            // Check first: a build takes minutes.
            sandbox::check()?;
            let parts = parts::ensure_programs(MissingProgram::Build)?;
            sandbox::enter(&parts, &run)
        }
        ClusterCommand::Inside(_) if std::process::id() == 1 => sandbox::reap(),
        ClusterCommand::Inside(inside) => run::run(inside),
        ClusterCommand::Exec(exec) => Err(pod::exec::execute(exec)),
        ClusterCommand::Stop(target) => power::send_request(PowerAction::Stop, &target),
        ClusterCommand::Start(target) => power::send_request(PowerAction::Start, &target),
        ClusterCommand::Parts(args) => {
            print_folders(args)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Installs the programs and prints their folders, one a line.
fn print_folders(PartsArgs { no_build, tools }: PartsArgs) -> anyhow::Result<()> {
    let if_missing = if no_build { MissingProgram::Fail } else { MissingProgram::Build };
    let folders = if tools {
        vec![parts::ensure_tools(if_missing)?]
    } else {
        sandbox::check()?;
        let parts = parts::ensure_programs(if_missing)?;
        vec![parts.tools, parts.control_plane]
    };
    for folder in folders {
        crate::terminal::print_result(&folder.display().to_string());
    }
    Ok(())
}
