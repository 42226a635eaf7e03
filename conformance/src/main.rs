//! The `conformance` binary: what is measured and proven about the gateway from the outside.
//!
//! Not here: anything that looks into the gateway. It is a program started by path, like its peers.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod cluster;
mod echo;

/// Measures the gateway, and proves what it promises, from the outside.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// CPU time per request of the gateway beside nginx and HAProxy, in one run.
    Bench(bench::BenchArgs),
    /// A real control plane and nodes without containers, for as long as one command runs.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// The app behind the Ingresses: answers with what it received.
    Echo(echo::EchoArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Cluster(cluster) => cluster::execute(cluster),
        Command::Echo(echo) => echo::run(&echo),
    };
    done.unwrap_or_else(|error| {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}

/// Tells the person at the terminal something that is not the program's result.
pub(crate) fn say(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
