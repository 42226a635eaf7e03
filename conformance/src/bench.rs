//! `conformance bench`: CPU time and memory of the gateway, nginx and HAProxy, in interleaved rounds of one run.
//!
//! One peer at a time is loaded, on a core of its own. Load and backend share the other core. A figure counts only if
//! every response came from the backend over reused connections. Every leg checks that, from the responses and from
//! the backend's own counters, and is void otherwise. Latency is not measured. DESIGN §8 contains the targets.

mod args;
mod backend;
mod case;
mod context;
mod cpu;
mod figure;
mod filters;
mod gateway_load;
mod h2load;
mod http;
mod kube;
mod leg;
mod memory;
mod new_connections;
mod objects;
mod peer;
mod plugins;
mod process;
mod report;
mod reuse;
mod routes;
mod tls;
mod wrk;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::terminal::print_message;
pub(crate) use args::BenchArgs;
use args::OutputFormat;
use backend::Backend;
use case::BenchCase;
use context::BenchContext;
use gateway_load::GatewayLoad;
use peer::PeerKind;
use process::{Cores, PinnedProgram};
use report::Report;
use tls::BenchCertificate;

/// Runs the benchmark and prints its result. The exit code is a failure if any leg is void.
///
/// # Errors
/// The backend, a load generator or an installed peer cannot be started or exits, or nothing was measured.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let cores = Cores::of_this_process()?;
    if cores.proxy == cores.load {
        print_message(
            "only one core: the proxy shares it with the load, so these figures are not comparable",
        );
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
    let nginx = process::find("nginx").context("nginx, which serves as the backend, is not installed")?;
    let nginx = PinnedProgram { path: &nginx, core: cores.load };
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
    let peers = installed_peers(args, &mut report)?;
    let dir = tempfile::tempdir()?;
    let context = BenchContext {
        args,
        cores,
        dir: dir.path(),
        backend: &Backend::start(&dir.path().join("backend"), nginx, "bench")?,
        nginx,
        certificate: &BenchCertificate::new()?,
        peers: &peers,
    };
    let cases = BenchCase::selected(&args.cases);
    cpu::measure(&context, &cases, &mut report)?;
    for case in cases {
        measure_case(&context, case, &mut report).with_context(|| format!("{case:?}"))?;
    }
    ensure!(!report.figures.is_empty(), "nothing was measured: {}", report.skipped.join("; "));
    Ok(report)
}

/// Measures a case other than the CPU cases.
fn measure_case(context: &BenchContext<'_>, case: BenchCase, report: &mut Report) -> Result<()> {
    let BenchContext { args, cores, dir, backend, .. } = *context;
    let skip_without_gateway = |report: &mut Report| {
        report.skip(format!("bench case {case:?}: it measures the gateway, which is not among the peers"));
    };
    match case {
        BenchCase::Small
        | BenchCase::TlsH1
        | BenchCase::TlsH2
        | BenchCase::Connect
        | BenchCase::Handshake
        | BenchCase::Large => {}
        BenchCase::Memory => {
            let (endpoints, certificate) = (backend.ports(), context.certificate);
            let memory = memory::MemoryCase { peers: context.peers, cores, dir, endpoints, certificate };
            report.figures.extend(memory.measure(args.held, args.rounds)?);
        }
        BenchCase::Kube if !kube::is_inside() => {
            report.skip("bench case Kube: it runs in `conformance cluster run -- …` only".to_owned());
        }
        BenchCase::Kube => match context.program(PeerKind::Gateway) {
            Some(gateway) => {
                let reports = if args.no_reports { kube::Reports::Off } else { kube::Reports::Written };
                let count = usize::try_from(args.ingresses)?;
                report.figures.extend(kube::measure(dir, gateway, count, reports)?)
            }
            None => skip_without_gateway(report),
        },
        BenchCase::Reuse => match context.program(PeerKind::Gateway) {
            Some(gateway) => {
                let (dir, clients) = (dir.join("reuse"), args.connections);
                report.figures.push(reuse::measure(&dir, gateway, backend, clients, args.seconds)?);
            }
            None => skip_without_gateway(report),
        },
        BenchCase::Routes => {
            if let Some(load) = gateway_load(context, case, report) {
                report.figures.extend(routes::RoutesCase(load).measure()?);
            }
        }
        BenchCase::Filters => {
            if let Some(load) = gateway_load(context, case, report) {
                report.figures.extend(filters::measure(&load)?);
            }
        }
        BenchCase::Plugins => {
            if let Some(load) = gateway_load(context, case, report) {
                let figures = plugins::measure(&load, report)?;
                report.figures.extend(figures);
            }
        }
        // `BenchCase::selected` replaces it by all cases.
        BenchCase::All => {}
    }
    Ok(())
}

/// Returns the load of a case that measures the gateway alone. Reports what is missing otherwise.
fn gateway_load<'a>(
    context: &BenchContext<'a>,
    case: BenchCase,
    report: &mut Report,
) -> Option<GatewayLoad<'a>> {
    let BenchContext { args, cores, dir, backend, .. } = *context;
    let Some(gateway) = context.program(PeerKind::Gateway) else {
        report.skip(format!("bench case {case:?}: it measures the gateway, which is not among the peers"));
        return None;
    };
    let path = report.find_or_skip("wrk", case)?;
    let wrk = wrk::Wrk { path, core: cores.load, connections: args.connections };
    Some(GatewayLoad { gateway, backend, wrk, dir, rounds: args.rounds, seconds: args.seconds })
}

/// Returns the requested peers that are installed, with their programs.
fn installed_peers(args: &BenchArgs, report: &mut Report) -> Result<BTreeMap<PeerKind, PathBuf>> {
    let mut programs = BTreeMap::new();
    for &kind in &args.peers {
        let Some(program) = program_of(kind, args)? else {
            report.skip(format!("bench peer {kind}: the program is not installed"));
            continue;
        };
        report.versions.insert(kind, peer::version(kind, &program));
        programs.insert(kind, program);
    }
    ensure!(!programs.is_empty(), "none of the peers is installed");
    Ok(programs)
}

/// Returns the program of a peer, or `None` if nginx or HAProxy is not installed.
fn program_of(kind: PeerKind, args: &BenchArgs) -> Result<Option<PathBuf>> {
    if kind != PeerKind::Gateway {
        return Ok(process::find(kind.program()));
    }
    gateway_program(args.gateway.as_deref()).map(Some)
}

/// Returns the gateway of `--gateway`, or the one in the target folder of this program.
fn gateway_program(argument: Option<&Path>) -> Result<PathBuf> {
    let path = match argument {
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
