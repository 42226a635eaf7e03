//! `conformance bench`: what the gateway costs beside nginx and HAProxy, in interleaved rounds of one run.
//!
//! One peer at a time is loaded, on a core of its own; the load and the backend share the other core. A figure
//! only means something if every answer came from the backend over reused connections, so that is checked in
//! every leg, from the answers and from the backend's own counters, and a leg that fails it is void.
//! Not here: latency. What a number should be is in DESIGN §8.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

mod backend;
mod case;
mod cpu;
mod figure;
mod h2load;
mod http;
mod kube;
mod leg;
mod memory;
mod new_connections;
mod peer;
mod process;
mod report;
mod reuse;
mod routes;
mod tls;
mod wrk;

use backend::Backend;
use case::Case;
use peer::PeerKind;
use process::Cores;
use report::Report;
use tls::Certificate;

/// Rounds that make a verdict.
const FULL_ROUNDS: u32 = 7;

/// What to measure and how long.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// What is measured; several with commas.
    #[arg(long = "case", value_enum, value_delimiter = ',', default_value = "small")]
    cases: Vec<Case>,
    /// Rounds; every peer has one leg in each. From 7 on, a close call is extended to 15.
    #[arg(long, default_value_t = FULL_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of one leg in seconds, 0.1 to 60. For `reuse` ten times as long; for `large` 60 bodies a second, however
    /// long they take.
    #[arg(long, default_value = "3", value_parser = parse_seconds)]
    seconds: f64,
    /// Who is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["nginx", "haproxy", "gateway"])]
    peers: Vec<PeerKind>,
    /// The gateway's binary; by default `dist/gateway` in the target folder that this program is in.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Connections that the load keeps open, except over HTTP/2 (10) and for large bodies (4).
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Connections that are open at once when memory is measured.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=7500))]
    held: u32,
    /// Ingresses of the case `kube`; memory is read with 10/3 of them too.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(3..=30_000))]
    ingresses: u32,
    /// Also count system calls per small request, with strace, in a leg of its own.
    #[arg(long)]
    syscalls: bool,
    /// Sends this peer to a wrong backend: its legs have to come out void. For testing the checks.
    #[arg(long, value_enum)]
    misroute: Option<PeerKind>,
    /// How the result is printed to standard output.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum OutputFormat {
    /// Tables.
    Text,
    /// Every leg, the medians and the targets.
    Json,
}

/// Runs the benchmark and prints its result. Fails the process if any leg was void.
///
/// # Errors
/// The backend, the load or a peer that is installed cannot be started, or dies; or nothing at all could be measured.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let cores = Cores::of_this_process()?;
    if cores.proxy == cores.load {
        tell("only one core: the proxy shares it with the load, so these figures are no evidence");
    }
    cores.pin_to_load_core()?;
    process::raise_open_files()?;
    let report = measure(args, cores)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        OutputFormat::Text => write!(out, "{}", report.text())?,
        OutputFormat::Json => writeln!(out, "{}", report.json()?)?,
    }
    Ok(if report.is_void() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(args: &BenchArgs, cores: Cores) -> Result<Report> {
    let nginx = process::find("nginx").context("nginx, which is the backend, is not installed")?;
    let mut report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        seconds: args.seconds,
        connections: args.connections,
        cores,
        versions: BTreeMap::new(),
        skipped: Vec::new(),
        series: Vec::new(),
        figures: Vec::new(),
    };
    let peers = installed(args, &mut report)?;
    let dir = tempfile::tempdir()?;
    let context = BenchContext {
        args,
        cores,
        dir: dir.path(),
        backend: &Backend::start(&dir.path().join("backend"), &nginx, ("bench", cores.load))?,
        nginx: &nginx,
        certificate: &Certificate::new()?,
        peers: &peers,
    };
    let cases = Case::selected(&args.cases);
    cpu::measure(&context, &cases, &mut report)?;
    for case in cases {
        context.measure_case(case, &mut report).with_context(|| format!("{case:?}"))?;
    }
    ensure!(!report.figures.is_empty(), "nothing was measured: {}", report.skipped.join("; "));
    Ok(report)
}

/// What all cases of a run have in common.
struct BenchContext<'a> {
    args: &'a BenchArgs,
    cores: Cores,
    /// For everybody's files.
    dir: &'a Path,
    backend: &'a Backend,
    nginx: &'a Path,
    certificate: &'a Certificate,
    /// The programs that are measured.
    peers: &'a BTreeMap<PeerKind, PathBuf>,
}

impl BenchContext<'_> {
    /// Measures a case that is not about CPU time beside peers.
    fn measure_case(&self, case: Case, report: &mut Report) -> Result<()> {
        let Self { args, cores, dir, .. } = *self;
        match case {
            Case::Memory => {
                let (peers, endpoints, certificate) = (self.peers, self.backend.ports(), self.certificate);
                let memory = memory::MemoryCase { peers, cores, dir, endpoints, certificate };
                report.figures.extend(memory.measure(args.held, args.rounds)?);
            }
            Case::Kube if !kube::is_inside() => {
                skip(report, "bench case Kube: it runs in `conformance cluster run -- …` only".to_owned());
            }
            Case::Kube | Case::Reuse | Case::Routes => {
                let Some(gateway) = self.peers.get(&PeerKind::Gateway) else {
                    skip(
                        report,
                        format!("bench case {case:?}: it is about the gateway, which is not among the peers"),
                    );
                    return Ok(());
                };
                let program = (gateway.as_path(), cores.proxy);
                if case == Case::Kube {
                    report.figures.extend(kube::measure(dir, program, usize::try_from(args.ingresses)?)?);
                } else if case == Case::Reuse {
                    let load = (args.connections, args.seconds);
                    report.figures.push(reuse::measure(&dir.join("reuse"), program, self.backend, load)?);
                } else if let Some(wrk) = needed("wrk", case, report) {
                    let load = wrk::Wrk { wrk, core: cores.load, connections: args.connections };
                    let rounds = (args.rounds, args.seconds);
                    report.figures.extend(routes::measure(rounds, &load, (program, self.backend), dir)?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The peers whose programs are installed, with those.
fn installed(args: &BenchArgs, report: &mut Report) -> Result<BTreeMap<PeerKind, PathBuf>> {
    let mut programs = BTreeMap::new();
    for &kind in &args.peers {
        let Some(program) = program_of(kind, args)? else {
            skip(report, format!("bench peer {kind}: the program is not installed"));
            continue;
        };
        report.versions.insert(kind, peer::version(kind, &program));
        programs.insert(kind, program);
    }
    ensure!(!programs.is_empty(), "none of the peers is installed");
    Ok(programs)
}

/// A program that a case needs; it is told if there is none.
fn needed(program: &str, case: Case, report: &mut Report) -> Option<PathBuf> {
    let found = process::find(program);
    if found.is_none() {
        skip(report, format!("bench case {case:?}: {program} is not installed"));
    }
    found
}

fn skip(report: &mut Report, what: String) {
    tell(&format!("SKIPPED: {what}"));
    report.skipped.push(what);
}

/// The program of a peer; none if a peer other than ours is not installed.
fn program_of(kind: PeerKind, args: &BenchArgs) -> Result<Option<PathBuf>> {
    if kind != PeerKind::Gateway {
        return Ok(process::find(kind.program()));
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
