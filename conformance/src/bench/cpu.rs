//! CPU time of each peer under each workload, in interleaved rounds.
//!
//! The peers keep running for all workloads, which follow one another. `leg` runs a single leg.

use std::collections::BTreeMap;

use anyhow::Result;

use super::args::FULL_ROUNDS;
use super::backend::Backend;
use super::case::{BenchCase, Workload};
use super::context::BenchContext;
use super::h2load::H2load;
use super::http::Scheme;
use super::leg::{Leg, LegSpec, LoadGenerators};
use super::peer::{ClientTimeouts, Peer, PeerKind, PeerSetup};
use super::process;
use super::report::{Report, Series};
use super::wrk::{Syscalls, Wrk};
use crate::terminal::print_message;

/// A median ratio within this distance of its target is a close call: seven rounds do not decide it. Single rounds of
/// HAProxy against itself range from 0.83 to 1.07.
const CLOSE_CALL_DISTANCE: f64 = 0.05;
/// Number of rounds for a close call.
const CLOSE_CALL_ROUNDS: u32 = 15;
/// Duration of the load before the first round, in seconds. Caches, pools and clock speed settle. It is not counted.
const WARM_UP_SECONDS: f64 = 0.5;
/// Maximum number of warm-ups per peer and workload. On a busy machine, connection pools fill slowly.
const MAX_WARM_UPS: u32 = 5;

/// Measures all CPU cases and adds their series to the report.
///
/// # Errors
/// The backend, a load generator or a peer cannot be started, or exits.
pub(super) fn measure(context: &BenchContext<'_>, cases: &[BenchCase], report: &mut Report) -> Result<()> {
    let mut workloads = Vec::new();
    for &case in cases {
        if case.workloads().is_empty()
            || programs(case).iter().any(|name| report.find_or_skip(name, case).is_none())
        {
            continue;
        }
        workloads.extend(case.workloads());
    }
    if workloads.is_empty() {
        return Ok(());
    }
    let (core, connections) = (context.cores.load, context.args.connections);
    let loads = LoadGenerators {
        // Empty if wrk is not installed. No selected workload needs it then.
        wrk: Wrk { path: process::find("wrk").unwrap_or_default(), core, connections },
        h2load: process::find("h2load").map(|program| H2load { program, core }),
        client: context.certificate.client()?,
    };
    let decoy = match context.args.misroute {
        Some(_) => Some(Backend::start(&context.dir.join("decoy"), context.nginx, "decoy")?),
        None => None,
    };
    let mut peers = start(context, decoy.as_ref(), &workloads)?;
    for workload in workloads {
        let mut series = Series::new(workload);
        rounds(context, &loads, &mut peers, &mut series)?;
        if context.args.syscalls && workload == Workload::Small {
            series.syscalls = syscalls(&loads.wrk, context.backend, &mut peers, report)?;
        }
        report.figures.push(series.figure());
        report.series.push(series);
    }
    Ok(())
}

/// Returns the load generators that a case needs.
fn programs(case: BenchCase) -> &'static [&'static str] {
    match case {
        BenchCase::Small | BenchCase::TlsH1 => &["wrk"],
        BenchCase::TlsH2 | BenchCase::Large => &["h2load"],
        BenchCase::Connect
        | BenchCase::Handshake
        | BenchCase::Memory
        | BenchCase::Reuse
        | BenchCase::Routes
        | BenchCase::Filters
        | BenchCase::Plugins
        | BenchCase::Kube
        | BenchCase::All => &[],
    }
}

/// Starts all peers that take part in any workload.
fn start(context: &BenchContext<'_>, decoy: Option<&Backend>, workloads: &[Workload]) -> Result<Vec<Peer>> {
    let mut kinds: Vec<_> = context.peers.keys().copied().collect();
    if workloads.contains(&Workload::Large) && kinds.contains(&PeerKind::Haproxy) {
        kinds.push(PeerKind::HaproxySplice);
    }
    let mut peers = Vec::new();
    for kind in kinds {
        let known = if kind == PeerKind::HaproxySplice { PeerKind::Haproxy } else { kind };
        let Some(program) = context.program(known) else { continue };
        let target = decoy.filter(|_| context.args.misroute == Some(kind)).unwrap_or(context.backend);
        let setup = PeerSetup {
            endpoints: target.ports(),
            certificate: context.certificate,
            timeouts: ClientTimeouts::Default,
        };
        peers.push(Peer::start(kind, &context.dir.join(kind.to_string()), program, &setup)?);
    }
    Ok(peers)
}

/// Fills a series with rounds. A close call gets more rounds.
fn rounds(
    context: &BenchContext<'_>,
    loads: &LoadGenerators,
    peers: &mut [Peer],
    series: &mut Series,
) -> Result<()> {
    let (args, workload) = (context.args, series.workload);
    let warm_up = LegSpec { workload, round: 0, seconds: WARM_UP_SECONDS };
    let takes_part = |peer: &Peer| peer.kind() != PeerKind::HaproxySplice || workload == Workload::Large;
    for peer in peers.iter_mut().filter(|peer| takes_part(peer)) {
        for _ in 0..MAX_WARM_UPS {
            if Leg::run(warm_up, peer, loads, context.backend)?.void.is_empty() {
                break;
            }
        }
    }
    let mut round = 0;
    while round < args.rounds
        || (round < CLOSE_CALL_ROUNDS && args.rounds >= FULL_ROUNDS && is_close_call(workload, series))
    {
        for peer in peers.iter_mut().filter(|peer| takes_part(peer)) {
            let spec = LegSpec { workload, round: round + 1, seconds: args.seconds };
            let leg = Leg::run(spec, peer, loads, context.backend)?;
            print_message(&leg.line(workload));
            series.add(leg);
        }
        // Rotate: the first peer of a round runs after the longest pause.
        peers.rotate_left(1);
        round += 1;
    }
    Ok(())
}

fn is_close_call(workload: Workload, series: &Series) -> bool {
    let ratio = series.ratio(PeerKind::Gateway);
    ratio.is_some_and(|ratio| (ratio.median - workload.max_ratio()).abs() <= CLOSE_CALL_DISTANCE)
}

fn syscalls(
    load: &Wrk,
    backend: &Backend,
    peers: &mut [Peer],
    report: &mut Report,
) -> Result<BTreeMap<PeerKind, Syscalls>> {
    let mut counted = BTreeMap::new();
    let Some(strace) = process::find("strace") else {
        report.skip("system calls per request: strace is not installed".to_owned());
        return Ok(counted);
    };
    for peer in peers.iter_mut().filter(|peer| peer.kind() != PeerKind::HaproxySplice) {
        let port = peer.target(Scheme::Http).port;
        let calls = load.syscalls(&strace, peer.process(), port, backend)?;
        counted.insert(peer.kind(), calls);
        peer.check_alive()?;
    }
    Ok(counted)
}
