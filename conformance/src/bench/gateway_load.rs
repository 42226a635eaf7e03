//! Load on a gateway that a case started itself, and the CPU time that it takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::backend::Backend;
use super::figure::{Figure, Goal, Spread};
use super::leg;
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess, PinnedProgram};
use super::wrk::Wrk;
use crate::terminal::print_message;

/// Inputs of a case that measures the gateway alone.
pub(crate) struct GatewayLoad<'a> {
    pub(crate) gateway: PinnedProgram<'a>,
    pub(crate) backend: &'a Backend,
    pub(crate) wrk: Wrk,
    /// Folder for files.
    pub(crate) dir: &'a Path,
    pub(crate) rounds: u32,
    /// Length of a leg.
    pub(crate) seconds: f64,
}

/// A running proxy and its plaintext port.
pub(crate) struct LoadedProxy {
    pub(crate) process: ChildProcess,
    pub(crate) http: u16,
}

/// Requests to one port.
pub(crate) struct ScriptedLoad<'a> {
    pub(crate) proxy: &'a LoadedProxy,
    /// The wrk script.
    pub(crate) script: PathBuf,
}

impl GatewayLoad<'_> {
    /// Starts a gateway that serves the folder `files` below `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// It exits, or is not ready in time.
    pub(crate) fn start(&self, dir: &Path, limit: Duration) -> Result<LoadedProxy> {
        process::with_free_ports(|[http, https, admin]| {
            let command = peer::gateway(self.gateway).folder(&dir.join("files")).listen([http, https, admin]);
            let mut process = ChildProcess::spawn("gateway", command, dir)?;
            process.wait_at_most(limit, || peer::is_ok(admin, "/readyz"))?;
            Ok(LoadedProxy { process, http })
        })
    }

    /// Runs one leg of each load in every round. Returns the CPU time per request in µs, for each load and round.
    ///
    /// # Errors
    /// A program exits, or a response does not come from the backend.
    pub(crate) fn rounds(&self, loads: &[ScriptedLoad<'_>]) -> Result<Vec<Vec<f64>>> {
        let mut cpu = vec![Vec::new(); loads.len()];
        for round in 1..=self.rounds {
            for (load, rounds) in loads.iter().zip(&mut cpu) {
                rounds.push(self.cpu_per_request(load)?);
            }
            let last: Vec<_> = cpu.iter().filter_map(|rounds| rounds.last()).collect();
            print_message(&format!("round {round}: {last:.2?} µs"));
        }
        Ok(cpu)
    }

    /// Runs one leg, and returns the CPU time per request in µs.
    ///
    /// # Errors
    /// A program exits, or a response does not come from the backend.
    fn cpu_per_request(&self, load: &ScriptedLoad<'_>) -> Result<f64> {
        let LoadedProxy { process, http } = load.proxy;
        let (counts, used) = (self.backend.counts()?, process.cpu()?);
        let summary = self.wrk.run_script(*http, self.seconds, &load.script)?;
        let used = process.cpu()?.since(used);
        let seen = self.backend.counts()?.since(counts);
        // Unfinished requests of this leg, and those of the one before that reach the backend late.
        let in_flight = self.wrk.connections.saturating_mul(2);
        let wrong = leg::check_counts(summary.requests, in_flight, seen);
        ensure!(
            wrong.is_empty() && summary.problems.is_empty(),
            "{process}, {}: {}",
            load.script.display(),
            [wrong, summary.problems].concat().join("; ")
        );
        Ok((used.user + used.system) / summary.requests.max(1) as f64)
    }
}

/// Returns the figure of a load: its CPU time, and the ratio to another load in the same round.
pub(crate) fn cpu_figure(what: String, base: &[f64], rounds: &[f64], target: Goal) -> Figure {
    let ratios: Vec<f64> = base.iter().zip(rounds).map(|(base, own)| own / base).collect();
    let values = Spread::from_rounds(rounds).map(|spread| (PeerKind::Gateway, spread));
    Figure {
        what,
        unit: "µs CPU/request",
        values: values.into_iter().collect(),
        ratio: Spread::from_rounds(&ratios),
        target,
    }
}
