//! One leg: one peer under load for some seconds, with everything that decides whether its figure counts.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::backend::{self, Backend, BackendCounts};
use super::case::Workload;
use super::h2load::H2load;
use super::http::{self, Response, Scheme};
use super::new_connections::{self, Action};
use super::peer::{Peer, PeerKind};
use super::tls::TlsClient;
use super::wrk::{LoadSummary, Wrk};

/// The share of requests that have to travel on a connection that was already open.
const MIN_REUSE: f64 = 0.99;

/// Everything that makes load.
pub(crate) struct LoadGenerators {
    /// Small requests over HTTP/1.1.
    pub(crate) wrk: Wrk,
    /// The others that are a program's; none if it is not installed.
    pub(crate) h2load: Option<H2load>,
    /// New connections of TLS, and single answers to look at.
    pub(crate) client: TlsClient,
}

impl LoadGenerators {
    /// LoadGenerators a peer for some seconds.
    pub(crate) fn run(&self, workload: Workload, peer: &Peer, seconds: f64) -> Result<LoadSummary> {
        let (scheme, port) = (workload.scheme(), peer.port(workload.scheme()));
        let h2load = || self.h2load.as_ref().context("h2load is not installed");
        match workload {
            Workload::Small | Workload::TlsH1 => self.wrk.run((scheme, port), seconds),
            Workload::TlsH2 => h2load()?.h2(port, seconds),
            Workload::Connect => Ok(new_connections::run(Action::Request, port, seconds, &self.client)),
            Workload::Handshake => Ok(new_connections::run(Action::Handshake, port, seconds, &self.client)),
            Workload::Large | Workload::LargeTls => h2load()?.large((scheme, port), seconds),
        }
    }

    /// Requests under way at a time.
    fn in_flight(&self, workload: Workload) -> u16 {
        match workload {
            Workload::TlsH2 => H2load::MAX_IN_FLIGHT,
            Workload::Connect | Workload::Handshake => new_connections::THREADS,
            _ => self.wrk.connections,
        }
    }
}

/// What one leg gave. Times are in the workload's unit, such as microseconds of CPU per request.
#[derive(Debug, Serialize)]
pub(crate) struct Leg {
    /// Counted from 1.
    pub(crate) round: u32,
    /// Who was loaded.
    pub(crate) peer: PeerKind,
    /// Requests that the load saw answered, or handshakes that it saw finished.
    pub(crate) requests: u64,
    /// Of these, per second of the leg's nominal length.
    pub(crate) rate: f64,
    /// User time.
    pub(crate) user: f64,
    /// System time.
    pub(crate) system: f64,
    /// Share of the backend's requests that came on a reused connection.
    pub(crate) reuse: f64,
    /// Why the leg does not count; empty if it does.
    pub(crate) void: Vec<String>,
}

impl Leg {
    /// LoadGenerators a peer and looks at both sides.
    ///
    /// # Errors
    /// The load or the backend's counters fail, or the peer died: there is no leg then, not even a void one.
    pub(crate) fn run(
        (workload, round): (Workload, u32),
        peer: &mut Peer,
        (loads, seconds): (&LoadGenerators, f64),
        backend: &Backend,
    ) -> Result<Self> {
        let (scheme, port) = (workload.scheme(), peer.port(workload.scheme()));
        let answer = || check_response((scheme, port), backend.mark(), &loads.client);
        let mut void = answer();
        let (counts, cpu) = (backend.counts()?, peer.cpu()?);
        let summary = loads.run(workload, peer, seconds)?;
        let (used, seen) = (peer.cpu()?.since(cpu), backend.counts()?.since(counts));
        peer.check_alive()?;
        void.extend(answer());
        void.extend(summary.problems);
        void.extend(check(workload, (summary.requests, loads.in_flight(workload)), seen));
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

    /// User and system time together.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }

    /// One line for whoever watches.
    pub(crate) fn line(&self, workload: Workload) -> String {
        let Self { round, peer, requests, .. } = self;
        let (title, unit) = (workload.title(), workload.unit());
        let figures = format!("{title}: round {round:2} {peer:8} {:8.2} {unit}, {requests} done", self.cpu());
        if self.void.is_empty() { figures } else { format!("{figures}, VOID: {}", self.void.join("; ")) }
    }
}

/// What is wrong with the numbers of both sides, by what the workload promises.
fn check(workload: Workload, (answers, in_flight): (u64, u16), seen: BackendCounts) -> Vec<String> {
    match workload {
        // The backend has nothing to do with these.
        Workload::Handshake if answers > 0 => Vec::new(),
        // So few that the first connections would count as new ones.
        Workload::Large | Workload::LargeTls => check_requests(answers, in_flight, seen),
        _ => check_counts(answers, in_flight, seen),
    }
}

/// What is wrong with the numbers of both sides: every answer needs a request at the backend, which at the end
/// may have seen one more on each connection, and those have to come on connections that were already open. A peer may
/// have to make up for each connection that the leg before left in the middle of an answer.
pub(super) fn check_counts(answers: u64, in_flight: u16, seen: BackendCounts) -> Vec<String> {
    let mut wrong = check_requests(answers, in_flight, seen);
    let accepts = seen.accepts.saturating_sub(in_flight.into());
    if answers > 0 && reuse(BackendCounts { accepts, ..seen }) < MIN_REUSE {
        wrong.push(format!("{} new connections for {} requests at the backend", seen.accepts, seen.requests));
    }
    wrong
}

fn check_requests(answers: u64, in_flight: u16, seen: BackendCounts) -> Vec<String> {
    if answers == 0 {
        return vec!["nothing was answered".to_owned()];
    }
    if (answers..=answers + u64::from(in_flight)).contains(&seen.requests) {
        return Vec::new();
    }
    vec![format!("{answers} answers, but the backend saw {} requests", seen.requests)]
}

/// The share of requests that came on a connection which had carried one before.
fn reuse(seen: BackendCounts) -> f64 {
    1.0 - seen.accepts as f64 / seen.requests.max(1) as f64
}

/// What is wrong with a single answer: it has to come from the right backend, and that must have seen the
/// forwarding headers as the peer makes them, not as the client sent them.
fn check_response((scheme, port): (Scheme, u16), mark: &str, client: &TlsClient) -> Vec<String> {
    let answer = match send_forged_request((scheme, port), client) {
        Ok(answer) => answer,
        Err(error) => return vec![format!("no answer to a single request: {error:#}")],
    };
    let mut wrong = Vec::new();
    if answer.status != 200 {
        wrong.push(format!("a single request got {}", answer.status));
    }
    let from = answer.header(backend::MARK).unwrap_or("nobody");
    if from != mark {
        wrong.push(format!("the answer came from {from}, not from {mark}"));
    }
    let seen = answer.header(backend::SEEN_FIELDS).unwrap_or("nothing");
    // Which port a client that names none came to is an opinion: that of the socket, or the scheme's.
    let made = |port| format!("127.0.0.1|{scheme}|{}|{port}|127.0.0.1", http::HOST);
    if ![port, scheme.port()].map(made).iter().any(|made| made == seen) {
        wrong.push(format!("the backend saw the forwarding headers {seen}"));
    }
    wrong
}

fn send_forged_request((scheme, port): (Scheme, u16), client: &TlsClient) -> Result<Response> {
    let forged = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: forged.example\r\n\
                  X-Forwarded-Port: 1\r\nX-Real-IP: 192.0.2.1\r\n";
    let mut stream = http::connect(port)?;
    match scheme {
        Scheme::Http => http::get_over(&mut stream, backend::CHECK_PATH, forged),
        Scheme::Https => http::get_over(&mut client.handshake(stream)?, backend::CHECK_PATH, forged),
    }
}

#[cfg(test)]
mod tests;
