//! Load by wrk on keep-alive connections, and system calls per request under that load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use super::backend::Backend;
use super::http::{HOST, LoadTarget, Scheme};
use super::process::{self, ChildProcess, PinnedProgram};

/// Duration of tracing. Under strace, a proxy still serves thousands of requests in 1 s.
const TRACE_DURATION: Duration = Duration::from_secs(1);
/// Time limit of the load during tracing, in seconds.
const TRACED_LOAD_SECONDS: u32 = 60;
/// Time limit of a load that SIGINT ends, in seconds. It exceeds the longest leg.
const MAX_LOAD_SECONDS: u32 = 600;
/// Requests per connection before counting starts, so that all connections are open.
const WARM_REQUESTS_PER_CONNECTION: u64 = 10;

/// An installed wrk.
pub(crate) struct Wrk {
    /// Path of wrk.
    pub(crate) path: PathBuf,
    /// The core that it runs on.
    pub(crate) core: usize,
    /// Connections that it keeps open.
    pub(crate) connections: u16,
}

/// Results as the load generator reports them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LoadSummary {
    /// Completed requests.
    pub(crate) requests: u64,
    /// Lines about responses other than 2xx and 3xx and about broken connections. Empty in a good run.
    pub(crate) problems: Vec<String>,
}

/// System calls per request.
#[derive(Debug, Serialize)]
pub(crate) struct Syscalls {
    /// All system calls.
    pub(crate) total: f64,
    /// System calls by name.
    pub(crate) by_name: BTreeMap<String, f64>,
}

impl Wrk {
    /// Loads a loopback port.
    pub(crate) fn run(&self, target: LoadTarget, seconds: f64) -> Result<LoadSummary> {
        Self::finish(self.command(target, seconds))
    }

    /// Loads a loopback port with the requests of a Lua script.
    pub(crate) fn run_script(&self, port: u16, seconds: f64, script: &Path) -> Result<LoadSummary> {
        let mut command = self.command(LoadTarget { scheme: Scheme::Http, port }, seconds);
        command.arg("-s").arg(script);
        Self::finish(command)
    }

    fn finish(mut wrk: Command) -> Result<LoadSummary> {
        let output = wrk.output().context("cannot start wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let problem = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        parse_summary(&text).with_context(|| format!("wrk has no summary: {text} {}", problem()))
    }

    /// Counts the system calls of a process per request while its port is loaded and all connections are open.
    ///
    /// Requests are those that the backend counts in the same time, because the load starts earlier and ends later.
    pub(crate) fn syscalls(
        &self,
        strace: &Path,
        traced: &ChildProcess,
        port: u16,
        backend: &Backend,
    ) -> Result<Syscalls> {
        let dir = tempfile::tempdir()?;
        let counts = dir.path().join("counts");
        let before = backend.counts()?;
        let mut load = PinnedProgram { path: &self.path, core: self.core }.command();
        self.add_arguments(&mut load, LoadTarget { scheme: Scheme::Http, port }, TRACED_LOAD_SECONDS);
        let mut load = ChildProcess::spawn("wrk", load, dir.path())?;
        let enough = u64::from(self.connections) * WARM_REQUESTS_PER_CONNECTION;
        load.wait_until(|| backend.counts().is_ok_and(|now| now.since(before).requests > enough))?;

        let mut command = Command::new(strace);
        command.arg("-f").arg("-c").arg("-o").arg(&counts).arg("-p").arg(traced.id().to_string());
        let mut tracer = ChildProcess::spawn("strace", command, dir.path())?;
        tracer.wait_until(|| traced.is_traced())?;
        let first = backend.counts()?;
        let end = Instant::now() + TRACE_DURATION;
        while Instant::now() < end {
            process::pause();
        }
        let requests = backend.counts()?.since(first).requests;
        tracer.interrupt()?;
        tracer.wait(Duration::from_secs(10))?;
        load.check_alive()?;
        ensure!(requests > 0, "{traced} served nothing while it was traced");
        let calls = parse_strace(&std::fs::read_to_string(&counts)?);
        if calls.is_empty() {
            bail!("strace counted nothing for {traced}");
        }
        let by_name: BTreeMap<_, _> =
            calls.into_iter().map(|(name, calls)| (name, calls as f64 / requests as f64)).collect();
        Ok(Syscalls { total: by_name.values().sum(), by_name })
    }

    /// Returns the command for a load of this length. wrk accepts whole seconds only, but reports on SIGINT. `timeout` sends
    /// it after the requested time, and SIGKILL 5 s later.
    fn command(&self, target: LoadTarget, seconds: f64) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "timeout", "--foreground", "--signal=INT", "--kill-after=5"]);
        command.arg(seconds.to_string());
        command.args(["setpriv", "--pdeathsig", "KILL", "taskset", "-c", &self.core.to_string()]);
        command.arg(&self.path);
        self.add_arguments(&mut command, target, MAX_LOAD_SECONDS);
        command
    }

    /// Adds wrk's arguments, for at most this many seconds.
    fn add_arguments(&self, wrk: &mut Command, target: LoadTarget, seconds: u32) {
        wrk.args([
            "-t1",
            "--timeout",
            "5s",
            "-d",
            &format!("{seconds}s"),
            "-c",
            &self.connections.to_string(),
        ]);
        wrk.args(["-H", &format!("Host: {HOST}")])
            .arg(format!("{}://127.0.0.1:{}/", target.scheme, target.port));
    }
}

/// Parses wrk's summary. Returns `None` without its line with the number of requests.
fn parse_summary(text: &str) -> Option<LoadSummary> {
    let mut summary = LoadSummary::default();
    let mut counted = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Socket errors") || line.starts_with("Non-2xx") {
            summary.problems.push(line.to_owned());
        } else if let Some((requests, _)) = line.split_once(" requests in ") {
            summary.requests = requests.parse().ok()?;
            counted = true;
        }
    }
    counted.then_some(summary)
}

/// Parses the table of `strace -c`: the fourth column is the number of calls, the last one the name.
fn parse_strace(text: &str) -> Vec<(String, u64)> {
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| {
        let (calls, name) = (row.get(3)?.parse().ok()?, row.get(4..)?.last()?);
        (*name != "total").then(|| ((*name).to_owned(), calls))
    })
    .collect()
}

#[cfg(test)]
mod tests;
