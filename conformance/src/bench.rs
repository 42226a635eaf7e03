//! `conformance bench`: CPU time per small request of each peer, in interleaved rounds of one run.
//!
//! One peer at a time is loaded, on a core of its own; the load and the backend share the other core. A figure
//! only means something if every answer came from the backend over reused connections, so that is checked in
//! every leg, from the answers and from the backend's own counters, and a leg that fails it is void.
//! `conformance bench routes` is what routes cost. Not here: latency, TLS. What a number should be is in DESIGN §8, not in this program.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

mod backend;
mod http;
mod leg;
mod load;
mod peer;
mod process;
mod report;
mod routes;

use backend::Backend;
use leg::Leg;
use peer::{Kind, Peer};
use process::Cores;
use report::Report;

/// The highest ratio to HAProxy that DESIGN §8 accepts for this load.
const LIMIT: f64 = 0.85;
/// Closer to [`LIMIT`] than this, seven rounds do not decide: single rounds of HAProxy against itself
/// scatter from 0.83 to 1.07.
const NEAR_LIMIT: f64 = 0.05;
/// Rounds that make a verdict, and rounds for a close one.
const FULL_ROUNDS: u32 = 7;
const CLOSE_ROUNDS: u32 = 15;
/// Load before the first round, per peer, seconds: caches, pools and clock speed settle. Not counted.
const WARM_UP: f64 = 0.5;

/// What to measure and how long.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Rounds; every peer has one leg in each. From 7 on, a close call is extended to 15.
    #[arg(long, default_value_t = FULL_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of one leg in seconds, 0.1 to 60.
    #[arg(long, default_value = "3", value_parser = parse_seconds)]
    seconds: f64,
    /// Who is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["nginx", "haproxy", "gateway"])]
    peers: Vec<Kind>,
    /// The gateway's binary; by default `dist/gateway` in the target folder that this program is in.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Connections that the load keeps open.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Also count system calls per request, with strace, in a leg of its own.
    #[arg(long)]
    syscalls: bool,
    /// Sends this peer to a wrong backend: its legs have to come out void. For testing the checks.
    #[arg(long, value_enum)]
    misroute: Option<Kind>,
    /// How the result is printed to standard output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum What {
    /// Memory of each route, and CPU time per request with 100,000 hosts beside one.
    Routes(routes::Args),
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A table.
    Text,
    /// Every leg and the medians.
    Json,
}

/// Runs the benchmark and prints its result. Fails the process if any leg was void.
///
/// # Errors
/// The backend, the load or a peer that is installed cannot be started, or dies.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(What::Routes(args)) = &args.what {
        return routes::run(args);
    }
    let report = measure(args)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => write!(out, "{}", report.text())?,
        Output::Json => writeln!(out, "{}", report.json()?)?,
    }
    Ok(if report.is_void() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(args: &Args) -> Result<Report> {
    let wrk = process::find("wrk").context("wrk, which makes the load, is not installed")?;
    let nginx = process::find("nginx").context("nginx, which is the backend, is not installed")?;
    let cores = Cores::of_this_process()?;
    if cores.proxy == cores.load {
        tell("only one core: the proxy shares it with the load, so these figures are no evidence");
    }
    let dir = tempfile::tempdir()?;
    let backend = Backend::start(&dir.path().join("backend"), &nginx, ("bench", cores.load))?;
    let decoy = match args.misroute {
        Some(_) => Some(Backend::start(&dir.path().join("decoy"), &nginx, ("decoy", cores.load))?),
        None => None,
    };

    let mut report = Report::new(args.seconds, args.connections, cores);
    let mut peers = Vec::new();
    for &kind in &args.peers {
        let Some(program) = program_of(kind, args)? else {
            tell(&format!("SKIPPED: bench peer {kind}: the program is not installed"));
            report.missing.push(kind);
            continue;
        };
        report.versions.insert(kind, peer::version(kind, &program));
        let target = decoy.as_ref().filter(|_| args.misroute == Some(kind)).unwrap_or(&backend);
        let folder = dir.path().join(kind.to_string());
        peers.push(Peer::start(kind, &folder, (&program, cores.proxy), target.ports())?);
    }
    ensure!(!peers.is_empty(), "none of the peers is installed");

    let load = load::Load { wrk, core: cores.load, connections: args.connections };
    rounds(args, &load, (&backend, &mut peers), &mut report)?;
    if args.syscalls {
        report.syscalls = syscalls(&load, &backend, &mut peers)?;
    }
    Ok(report)
}

/// Fills the report with rounds, extending a close call.
fn rounds(
    args: &Args,
    load: &load::Load,
    (backend, peers): (&Backend, &mut [Peer]),
    report: &mut Report,
) -> Result<()> {
    for peer in peers.iter_mut() {
        load.run(peer.port(), WARM_UP)?;
        peer.check_alive()?;
    }
    let mut round = 0;
    while round < args.rounds || (round < CLOSE_ROUNDS && is_close(args, report)) {
        for peer in peers.iter_mut() {
            let leg = Leg::run(round + 1, peer, (load, args.seconds), backend)?;
            tell(&leg.line());
            report.legs.push(leg);
        }
        // Whoever comes first in a round sees the machine after the longest pause: everyone takes that turn.
        peers.rotate_left(1);
        round += 1;
    }
    Ok(())
}

fn is_close(args: &Args, report: &Report) -> bool {
    args.rounds >= FULL_ROUNDS
        && report.ratio(Kind::Gateway).is_some_and(|ratio| (ratio.median - LIMIT).abs() <= NEAR_LIMIT)
}

fn syscalls(
    load: &load::Load,
    backend: &Backend,
    peers: &mut [Peer],
) -> Result<BTreeMap<Kind, load::Syscalls>> {
    let Some(strace) = process::find("strace") else {
        tell("SKIPPED: system calls per request: strace is not installed");
        return Ok(BTreeMap::new());
    };
    let mut counted = BTreeMap::new();
    for peer in peers {
        let calls = load.syscalls(&strace, peer.process(), (peer.port(), backend))?;
        counted.insert(peer.kind(), calls);
        peer.check_alive()?;
    }
    Ok(counted)
}

/// The program of a peer; none if a peer other than ours is not installed.
fn program_of(kind: Kind, args: &Args) -> Result<Option<PathBuf>> {
    if kind != Kind::Gateway {
        return Ok(process::find(&kind.to_string()));
    }
    gateway_program(args.gateway.as_deref()).map(Some)
}

/// The gateway that is named, or the one in the target folder that this program is in.
fn gateway_program(named: Option<&Path>) -> Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let own = std::env::current_exe()?;
            let target = own.parent().and_then(|profile| profile.parent()).context("no target folder")?;
            target.join("dist/gateway")
        }
    };
    ensure!(path.is_file(), "{} is missing: cargo build --profile dist -p gateway", path.display());
    Ok(path.canonicalize()?)
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 60 is wanted".to_owned()),
    }
}

/// Says something about the run on standard error, which is not the result.
fn tell(line: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
