//! Load by h2load: HTTP/2, and a fixed number of large bodies. wrk supports neither.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::case::LARGE_BODY_BYTES;
use super::http::{HOST, LoadTarget, Scheme};
use super::wrk::LoadSummary;
use super::{backend, tls};

/// HTTP/2 connections, and concurrent streams on each.
const H2_CONNECTIONS: u16 = 10;
const H2_STREAMS: u16 = 10;
/// Connections for large bodies.
const LARGE_CONNECTIONS: u16 = 4;
/// Number of large bodies per second of the nominal length of a leg. The leg ends with the last body.
const LARGE_BODIES_PER_SECOND: f64 = 60.0;
/// Time limit of a leg, in seconds. A busy machine in a test needs part of it.
const RUN_TIMEOUT_SECONDS: u32 = 300;

/// An installed h2load.
pub(crate) struct H2load {
    /// Path of h2load.
    pub(crate) program: PathBuf,
    /// The core that it runs on.
    pub(crate) core: usize,
}

impl H2load {
    /// Concurrent requests over HTTP/2.
    pub(crate) const MAX_IN_FLIGHT: u16 = H2_CONNECTIONS * H2_STREAMS;

    /// Sends small requests over HTTP/2 to a TLS port.
    pub(crate) fn h2(&self, port: u16, seconds: f64) -> Result<LoadSummary> {
        let mut command = self.command(LoadTarget { scheme: Scheme::Https, port });
        command.args(["-c", &H2_CONNECTIONS.to_string(), "-m", &H2_STREAMS.to_string()]);
        command.arg("-D").arg(format!("{}ms", (seconds * 1000.0).round()));
        command.arg(format!("https://{HOST}/"));
        let output = finish(command)?;
        Ok(output.summary(Some("h2"), None))
    }

    /// Fetches large bodies over HTTP/1.1. The length of the leg determines their number.
    pub(crate) fn large(&self, target: LoadTarget, seconds: f64) -> Result<LoadSummary> {
        let bodies = (seconds * LARGE_BODIES_PER_SECOND).round().max(f64::from(LARGE_CONNECTIONS));
        let mut command = self.command(target);
        command.args(["--h1", "-c", &LARGE_CONNECTIONS.to_string(), "-n", &bodies.to_string()]);
        command.arg(format!("{}://{HOST}{}", target.scheme, backend::LARGE_PATH));
        let output = finish(command)?;
        let complete = output.requests * LARGE_BODY_BYTES;
        Ok(output.summary(Some("http/1.1"), Some(complete)))
    }

    fn command(&self, target: LoadTarget) -> Command {
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "timeout",
            "--foreground",
            "--signal=KILL",
            &RUN_TIMEOUT_SECONDS.to_string(),
        ]);
        command.args(["setpriv", "--pdeathsig", "KILL", "taskset", "-c", &self.core.to_string()]);
        command.arg(&self.program).arg(format!("--connect-to=127.0.0.1:{}", target.port));
        if target.scheme == Scheme::Https {
            command.arg(format!("--tls13-ciphers={}", tls::SUITE));
        }
        command
    }
}

fn finish(mut command: Command) -> Result<H2loadOutput> {
    let output = command.output().context("cannot start h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    parse(&text).with_context(|| format!("h2load has no summary: {text} {problem}"))
}

/// Parsed output of h2load.
#[derive(Debug, Default, PartialEq)]
struct H2loadOutput {
    /// Requests with a 2xx response.
    requests: u64,
    /// Bytes of bodies.
    data: u64,
    /// Failures by name.
    problems: Vec<String>,
    /// The TLS version. Empty in plaintext.
    tls: String,
    /// The cipher suite. Empty in plaintext.
    suite: String,
    /// The negotiated or configured protocol.
    protocol: String,
}

impl H2loadOutput {
    /// Returns the summary. Deviations in protocol, cipher suite or number of bytes become problems.
    fn summary(mut self, protocol: Option<&str>, data: Option<u64>) -> LoadSummary {
        if protocol.is_some_and(|wanted| wanted != self.protocol) {
            self.problems.push(format!("the protocol was {:?}", self.protocol));
        }
        if !self.tls.is_empty() && (self.tls != "TLSv1.3" || self.suite != tls::SUITE) {
            self.problems.push(format!("TLS was {} with {}", self.tls, self.suite));
        }
        if data.is_some_and(|wanted| wanted != self.data) {
            self.problems.push(format!("{} bytes of bodies came for {} requests", self.data, self.requests));
        }
        LoadSummary { requests: self.requests, problems: self.problems }
    }
}

/// Parses the output of h2load. Returns `None` without its `requests` line.
fn parse(text: &str) -> Option<H2loadOutput> {
    let mut output = H2loadOutput::default();
    let mut counted = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(": ") else { continue };
        match key {
            "TLS Protocol" => value.clone_into(&mut output.tls),
            "Cipher" => value.clone_into(&mut output.suite),
            "Application protocol" => value.clone_into(&mut output.protocol),
            "requests" => {
                counted = true;
                let bad = ["failed", "errored", "timeout"];
                let of_bad = bad.iter().filter_map(|name| Some((*name, number(value, name)?)));
                let bad: Vec<_> = of_bad.filter(|(_, count)| *count > 0).collect();
                output.problems.extend(bad.iter().map(|(name, count)| format!("{count} requests {name}")));
            }
            "status codes" => {
                output.requests = number(value, "2xx")?;
                let others: u64 = ["3xx", "4xx", "5xx"].iter().filter_map(|name| number(value, name)).sum();
                if others > 0 {
                    output.problems.push(format!("status codes: {value}"));
                }
            }
            // `traffic: 200.00MB (209720140) total, 3.83KB (3920) headers (space savings 0.00%), 200.00MB (209715200) data`
            "traffic" => {
                let data = value.strip_suffix(") data")?;
                output.data = data.rsplit_once('(')?.1.parse().ok()?;
            }
            _ => {}
        }
    }
    counted.then_some(output)
}

/// Returns the number before a name in a list such as `8 total, 8 started`.
fn number(list: &str, name: &str) -> Option<u64> {
    let entry = list.split(", ").find_map(|entry| entry.strip_suffix(name))?;
    entry.trim().parse().ok()
}

#[cfg(test)]
mod tests;
