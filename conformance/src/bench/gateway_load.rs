//! Load on a gateway that a case started itself, and the CPU time that it takes.

use std::path::Path;

use anyhow::{Result, ensure};

use super::backend::Backend;
use super::leg;
use super::process::{ChildProcess, PinnedProgram};
use super::wrk::Wrk;

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

impl GatewayLoad<'_> {
    /// Runs one leg with a wrk script, and returns the CPU time per request in µs.
    ///
    /// # Errors
    /// A program exits, or a response does not come from the backend.
    pub(crate) fn cpu_per_request(&self, gateway: &ChildProcess, http: u16, script: &Path) -> Result<f64> {
        let (counts, used) = (self.backend.counts()?, gateway.cpu()?);
        let summary = self.wrk.run_script(http, self.seconds, script)?;
        let used = gateway.cpu()?.since(used);
        let seen = self.backend.counts()?.since(counts);
        let wrong = leg::check_counts(summary.requests, self.wrk.connections, seen);
        ensure!(
            wrong.is_empty() && summary.problems.is_empty(),
            "{}",
            [wrong, summary.problems].concat().join("; ")
        );
        Ok((used.user + used.system) / summary.requests.max(1) as f64)
    }
}
