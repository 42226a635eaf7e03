//! One leg: one peer under load for some seconds, with the checks that decide whether its figure counts.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::backend::{self, Backend, BackendCounts};
use super::case::Workload;
use super::h2load::H2load;
use super::http::{self, LoadTarget, Scheme};
use super::new_connections::{self, Action};
use super::peer::{Peer, PeerKind};
use super::tls::TlsClient;
use super::wrk::{LoadSummary, Wrk};
use conformance::http::Response;

/// Minimum share of requests on a connection that was already open.
const MIN_REUSE: f64 = 0.99;

/// The load generators.
pub(crate) struct LoadGenerators {
    /// Small requests over HTTP/1.1.
    pub(crate) wrk: Wrk,
    /// HTTP/2 and large bodies. `None` if h2load is not installed.
    pub(crate) h2load: Option<H2load>,
    /// TLS connections, for new connections and single requests.
    pub(crate) client: TlsClient,
}

impl LoadGenerators {
    /// Loads a peer.
    pub(crate) fn run(&self, workload: Workload, peer: &Peer, seconds: f64) -> Result<LoadSummary> {
        let target = peer.target(workload.scheme());
        let port = target.port;
        let h2load = || self.h2load.as_ref().context("h2load is not installed");
        match workload {
            Workload::Small | Workload::TlsH1 => self.wrk.run(target, seconds),
            Workload::TlsH2 => h2load()?.h2(port, seconds),
            Workload::Connect => Ok(new_connections::run(Action::Request, port, seconds, &self.client)),
            Workload::Handshake => Ok(new_connections::run(Action::Handshake, port, seconds, &self.client)),
            Workload::Large | Workload::LargeTls => h2load()?.large(target, seconds),
        }
    }

    /// Returns the number of concurrent requests.
    fn in_flight(&self, workload: Workload) -> u16 {
        match workload {
            Workload::TlsH2 => H2load::MAX_IN_FLIGHT,
            Workload::Connect | Workload::Handshake => new_connections::THREADS,
            Workload::Small | Workload::TlsH1 | Workload::Large | Workload::LargeTls => self.wrk.connections,
        }
    }
}

/// A leg to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LegSpec {
    pub(crate) workload: Workload,
    /// Number of the round, counted from 1. 0 for a warm-up.
    pub(crate) round: u32,
    pub(crate) seconds: f64,
}

/// Result of one leg. Times are in the workload's unit, such as microseconds of CPU per request.
#[derive(Debug, Serialize)]
pub(crate) struct Leg {
    /// Number of the round, counted from 1.
    pub(crate) round: u32,
    /// The loaded peer.
    pub(crate) peer: PeerKind,
    /// Completed requests or handshakes, as the load generator counts them.
    pub(crate) requests: u64,
    /// Requests per second of the leg's nominal length.
    pub(crate) rate: f64,
    /// User time.
    pub(crate) user: f64,
    /// System time.
    pub(crate) system: f64,
    /// Share of the backend's requests on a reused connection.
    pub(crate) reuse: f64,
    /// Reasons why the leg does not count. Empty if it counts.
    pub(crate) void: Vec<String>,
}

impl Leg {
    /// Loads a peer and checks the counters of both sides.
    ///
    /// # Errors
    /// The load generator or the backend's counters fail, or the peer exits. No leg is recorded then.
    pub(crate) fn run(
        spec: LegSpec,
        peer: &mut Peer,
        loads: &LoadGenerators,
        backend: &Backend,
    ) -> Result<Self> {
        let LegSpec { workload, round, seconds } = spec;
        let target = peer.target(workload.scheme());
        let check_single = || check_response(target, backend.mark(), &loads.client);
        let mut void = check_single();
        let (counts, cpu) = (backend.counts()?, peer.cpu()?);
        let summary = loads.run(workload, peer, seconds)?;
        let (used, seen) = (peer.cpu()?.since(cpu), backend.counts()?.since(counts));
        peer.check_alive()?;
        void.extend(check_single());
        void.extend(summary.problems);
        void.extend(check(workload, summary.requests, loads.in_flight(workload), seen));
        void.dedup();
        Ok(Self {
            round,
            peer: peer.kind(),
            requests: summary.requests,
            rate: summary.requests as f64 / seconds,
            user: workload.per_unit(used.user, summary.requests),
            system: workload.per_unit(used.system, summary.requests),
            reuse: reuse(seen),
            void,
        })
    }

    /// Returns user plus system time.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }

    /// Returns a progress message.
    pub(crate) fn line(&self, workload: Workload) -> String {
        let Self { round, peer, requests, .. } = self;
        let (title, unit) = (workload.title(), workload.unit());
        let figures = format!("{title}: round {round:2} {peer:8} {:8.2} {unit}, {requests} done", self.cpu());
        if self.void.is_empty() { figures } else { format!("{figures}, VOID: {}", self.void.join("; ")) }
    }
}

/// Checks the counters of both sides by the workload.
fn check(workload: Workload, responses: u64, in_flight: u16, seen: BackendCounts) -> Vec<String> {
    match workload {
        // Handshakes do not reach the backend.
        Workload::Handshake if responses > 0 => Vec::new(),
        // With so few requests, the first connections would exceed the share of new ones.
        Workload::Large | Workload::LargeTls => check_requests(responses, in_flight, seen),
        Workload::Handshake | Workload::Small | Workload::TlsH1 | Workload::TlsH2 | Workload::Connect => {
            check_counts(responses, in_flight, seen)
        }
    }
}

/// Returns the deviations in the counters of both sides.
///
/// Every response needs a request at the backend. At the end, the backend may have received one more request on each
/// connection. Requests must use open connections. A peer may have to replace the connections that the previous leg
/// left with an unfinished response.
pub(super) fn check_counts(responses: u64, in_flight: u16, seen: BackendCounts) -> Vec<String> {
    let mut wrong = check_requests(responses, in_flight, seen);
    let accepts = seen.accepts.saturating_sub(in_flight.into());
    if responses > 0 && reuse(BackendCounts { accepts, ..seen }) < MIN_REUSE {
        wrong.push(format!("{} new connections for {} requests at the backend", seen.accepts, seen.requests));
    }
    wrong
}

fn check_requests(responses: u64, in_flight: u16, seen: BackendCounts) -> Vec<String> {
    if responses == 0 {
        return vec!["no response".to_owned()];
    }
    if (responses..=responses + u64::from(in_flight)).contains(&seen.requests) {
        return Vec::new();
    }
    vec![format!("{responses} responses, but the backend saw {} requests", seen.requests)]
}

/// Returns the share of requests on reused connections.
fn reuse(seen: BackendCounts) -> f64 {
    1.0 - seen.accepts as f64 / seen.requests.max(1) as f64
}

/// Returns the deviations of a single response. It must come from the expected backend, with the forwarding fields of
/// the peer and not those of the client.
fn check_response(target: LoadTarget, mark: &str, client: &TlsClient) -> Vec<String> {
    let response = match send_forged_request(target, client) {
        Ok(response) => response,
        Err(error) => return vec![format!("no response to a single request: {error:#}")],
    };
    let mut wrong = Vec::new();
    if response.status != 200 {
        wrong.push(format!("a single request got {}", response.status));
    }
    let from = response.field(backend::MARK).unwrap_or("an unknown server");
    if from != mark {
        wrong.push(format!("the response came from {from}, not from {mark}"));
    }
    let seen = response.field(backend::SEEN_FIELDS).unwrap_or("none");
    // Without a port in Host, peers send either the port of the socket or the scheme's default.
    let made = |port| format!("127.0.0.1|{}|{}|{port}|127.0.0.1", target.scheme, http::HOST);
    if ![target.port, target.scheme.port()].map(made).iter().any(|made| made == seen) {
        wrong.push(format!("the backend saw the forwarding headers {seen}"));
    }
    wrong
}

fn send_forged_request(target: LoadTarget, client: &TlsClient) -> Result<Response> {
    let forged = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: forged.example\r\n\
                  X-Forwarded-Port: 1\r\nX-Real-IP: 192.0.2.1\r\n";
    let mut stream = http::connect(target.port)?;
    match target.scheme {
        Scheme::Http => http::get_over(&mut stream, backend::CHECK_PATH, forged),
        Scheme::Https => http::get_over(&mut client.handshake(stream)?, backend::CHECK_PATH, forged),
    }
}

#[cfg(test)]
mod tests;
