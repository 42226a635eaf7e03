//! The load that wrk cannot make: HTTP/2, and a fixed number of large bodies. Made with h2load.
//!
//! Not here: small requests over HTTP/1.1 (`load`).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::case::LARGE;
use super::http::{HOST, Scheme};
use super::load::Summary;
use super::{backend, tls};

/// HTTP/2: connections, and streams at a time on each.
const CONNECTIONS: u16 = 10;
const STREAMS: u16 = 10;
/// Connections that large bodies are fetched over.
const LARGE_CONNECTIONS: u16 = 4;
/// Large bodies for each second that a leg lasts nominally: it ends when they are all there.
const LARGE_RATE: f64 = 60.0;
/// Bound on a leg, seconds; a busy machine in a test needs some.
const LIMIT: u32 = 300;

/// How to make load with h2load.
pub(crate) struct H2load {
    /// Where it is.
    pub(crate) program: PathBuf,
    /// The core that it runs on.
    pub(crate) core: usize,
}

impl H2load {
    /// Requests under way at a time over HTTP/2.
    pub(crate) const UNDER_WAY: u16 = CONNECTIONS * STREAMS;

    /// Loads a TLS port with small requests over HTTP/2 for some seconds.
    pub(crate) fn h2(&self, port: u16, seconds: f64) -> Result<Summary> {
        let mut command = self.command((Scheme::Https, port));
        command.args(["-c", &CONNECTIONS.to_string(), "-m", &STREAMS.to_string()]);
        command.arg("-D").arg(format!("{}ms", (seconds * 1000.0).round()));
        command.arg(format!("https://{HOST}/"));
        let seen = finish(command)?;
        Ok(seen.summary(Some("h2"), None))
    }

    /// Fetches large bodies over HTTP/1.1, in number by the length of the leg.
    pub(crate) fn large(&self, (scheme, port): (Scheme, u16), seconds: f64) -> Result<Summary> {
        let bodies = (seconds * LARGE_RATE).round().max(f64::from(LARGE_CONNECTIONS));
        let mut command = self.command((scheme, port));
        command.args(["--h1", "-c", &LARGE_CONNECTIONS.to_string(), "-n", &bodies.to_string()]);
        command.arg(format!("{scheme}://{HOST}{}", backend::LARGE_PATH));
        let seen = finish(command)?;
        let complete = seen.requests * LARGE;
        Ok(seen.summary(Some("http/1.1"), Some(complete)))
    }

    fn command(&self, (scheme, port): (Scheme, u16)) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "timeout", "--foreground", "--signal=KILL", &LIMIT.to_string()]);
        command.args(["setpriv", "--pdeathsig", "KILL", "taskset", "-c", &self.core.to_string()]);
        command.arg(&self.program).arg(format!("--connect-to=127.0.0.1:{port}"));
        if scheme == Scheme::Https {
            command.arg(format!("--tls13-ciphers={}", tls::SUITE));
        }
        command
    }
}

fn finish(mut command: Command) -> Result<Seen> {
    let output = command.output().context("cannot start h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    parse(&text).with_context(|| format!("h2load has no summary: {text} {complaint}"))
}

/// What h2load says about a run.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Requests answered with 2xx.
    requests: u64,
    /// Bytes of bodies.
    data: u64,
    /// Failures by name.
    complaints: Vec<String>,
    /// What TLS came to; empty in plaintext.
    tls: String,
    /// The suite; empty in plaintext.
    suite: String,
    /// The protocol by ALPN, or as it was told.
    protocol: String,
}

impl Seen {
    /// With complaints about another protocol or suite, or another number of bytes, than wanted.
    fn summary(mut self, protocol: Option<&str>, data: Option<u64>) -> Summary {
        if protocol.is_some_and(|wanted| wanted != self.protocol) {
            self.complaints.push(format!("the protocol was {:?}", self.protocol));
        }
        if !self.tls.is_empty() && (self.tls != "TLSv1.3" || self.suite != tls::SUITE) {
            self.complaints.push(format!("TLS was {} with {}", self.tls, self.suite));
        }
        if data.is_some_and(|wanted| wanted != self.data) {
            self.complaints
                .push(format!("{} bytes of bodies came for {} requests", self.data, self.requests));
        }
        Summary { requests: self.requests, complaints: self.complaints }
    }
}

/// Reads h2load's output; none without the line of requests.
fn parse(text: &str) -> Option<Seen> {
    let mut seen = Seen::default();
    let mut counted = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(": ") else { continue };
        match key {
            "TLS Protocol" => value.clone_into(&mut seen.tls),
            "Cipher" => value.clone_into(&mut seen.suite),
            "Application protocol" => value.clone_into(&mut seen.protocol),
            "requests" => {
                counted = true;
                let bad = ["failed", "errored", "timeout"];
                let of_bad = bad.iter().filter_map(|name| Some((*name, number(value, name)?)));
                let bad: Vec<_> = of_bad.filter(|(_, count)| *count > 0).collect();
                seen.complaints.extend(bad.iter().map(|(name, count)| format!("{count} requests {name}")));
            }
            "status codes" => {
                seen.requests = number(value, "2xx")?;
                let others: u64 = ["3xx", "4xx", "5xx"].iter().filter_map(|name| number(value, name)).sum();
                if others > 0 {
                    seen.complaints.push(format!("status codes: {value}"));
                }
            }
            // `traffic: 200.00MB (209720140) total, 3.83KB (3920) headers (space savings 0.00%), 200.00MB (209715200) data`
            "traffic" => {
                let data = value.strip_suffix(") data")?;
                seen.data = data.rsplit_once('(')?.1.parse().ok()?;
            }
            _ => {}
        }
    }
    counted.then_some(seen)
}

/// The number before a name in a list such as `8 total, 8 started`.
fn number(list: &str, name: &str) -> Option<u64> {
    let entry = list.split(", ").find_map(|entry| entry.strip_suffix(name))?;
    entry.trim().parse().ok()
}

#[cfg(test)]
mod tests;
