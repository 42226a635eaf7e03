//! The `conformance` program: Ingress conformance suite, test cluster, benchmark, contents of the image, and the app behind
//! the tested Ingresses.
//!
//! It starts the gateway as a program by path, like its peers, and never uses the gateway's library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use conformance::echo;

mod bench;
mod cluster;
mod run;
mod sbom;
mod terminal;

/// Tests and measures the gateway from the outside.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare CPU time and memory of the gateway with nginx and HAProxy.
    Bench(bench::BenchArgs),
    /// Run a Kubernetes control plane and nodes on this machine, without containers, while a command runs.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Print JSON reports of the suite side by side.
    Compare(run::CompareArgs),
    /// Run the Ingress conformance suite against a local gateway or a cluster.
    Run(Box<run::SuiteArgs>),
    /// List the packages and licences that the gateway's binary contains.
    Sbom(sbom::SbomArgs),
    /// Serve HTTP and respond to every request with its own content.
    Echo(echo::EchoArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Cluster(command) => cluster::execute(command),
        Command::Compare(args) => run::compare(&args),
        Command::Run(args) => run::run(&args),
        Command::Sbom(args) => sbom::run(&args),
        Command::Echo(args) => echo::run(&args),
    };
    result.unwrap_or_else(|error| {
        terminal::print_message(&format!("error: {error:#}"));
        ExitCode::from(2)
    })
}
