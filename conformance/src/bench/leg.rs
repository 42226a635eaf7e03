//! One leg: one peer under load for some seconds, with everything that decides whether its figure counts.

use anyhow::Result;
use serde::Serialize;

use super::backend::{self, Backend, Counts};
use super::http;
use super::load::Load;
use super::peer::{Kind, Peer};

/// The share of requests that have to travel on a connection that was already open.
const REUSE_LIMIT: f64 = 0.99;

/// What one leg gave. Times are microseconds of CPU per request.
#[derive(Debug, Serialize)]
pub(crate) struct Leg {
    /// Counted from 1.
    pub(crate) round: u32,
    /// Who was loaded.
    pub(crate) peer: Kind,
    /// Requests that the load saw answered.
    pub(crate) requests: u64,
    /// Requests per second of the leg's nominal length.
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
    /// Loads a peer and looks at both sides.
    ///
    /// # Errors
    /// The load or the backend's counters fail, or the peer died: there is no leg then, not even a void one.
    pub(crate) fn run(
        round: u32,
        peer: &mut Peer,
        (load, seconds): (&Load, f64),
        backend: &Backend,
    ) -> Result<Self> {
        let mut void = check_answer(peer.port(), backend.mark());
        let (counts, cpu) = (backend.counts()?, peer.cpu()?);
        let summary = load.run(peer.port(), seconds)?;
        let (used, seen) = (peer.cpu()?.since(cpu), backend.counts()?.since(counts));
        peer.check_alive()?;
        void.extend(check_answer(peer.port(), backend.mark()));
        void.extend(summary.complaints);

        void.extend(check_counts(summary.requests, load.connections, seen));
        void.dedup();
        let requests = summary.requests.max(1) as f64;
        Ok(Self {
            round,
            peer: peer.kind(),
            requests: summary.requests,
            rate: summary.requests as f64 / seconds,
            user: used.user / requests,
            system: used.system / requests,
            reuse: reuse(seen),
            void,
        })
    }

    /// User and system time together.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }

    /// One line for whoever watches.
    pub(crate) fn line(&self) -> String {
        let Self { round, peer, requests, .. } = self;
        let figures = format!("round {round:2} {peer:8} {:6.2} µs/request, {requests} requests", self.cpu());
        if self.void.is_empty() { figures } else { format!("{figures}, VOID: {}", self.void.join("; ")) }
    }
}

/// What is wrong with the numbers of both sides: every answer needs a request at the backend, which at the end
/// may have seen one more on each connection, and those have to come on connections that were already open.
pub(super) fn check_counts(answers: u64, connections: u16, seen: Counts) -> Vec<String> {
    if answers == 0 {
        return vec!["no request was answered".to_owned()];
    }
    let mut wrong = Vec::new();
    if !(answers..=answers + u64::from(connections)).contains(&seen.requests) {
        wrong.push(format!("{answers} answers, but the backend saw {} requests", seen.requests));
    }
    if reuse(seen) < REUSE_LIMIT {
        wrong.push(format!("{} new connections for {} requests at the backend", seen.accepts, seen.requests));
    }
    wrong
}

/// The share of requests that came on a connection which had carried one before.
fn reuse(seen: Counts) -> f64 {
    1.0 - seen.accepts as f64 / seen.requests.max(1) as f64
}

/// What is wrong with a single answer: it has to come from the right backend, and that must have seen the
/// forwarding headers as the peer makes them, not as the client sent them.
fn check_answer(port: u16, mark: &str) -> Vec<String> {
    let forged = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: forged.example\r\n\
                  X-Forwarded-Port: 1\r\nX-Real-IP: 192.0.2.1\r\n";
    let answer = match http::get(port, backend::CHECK_PATH, forged) {
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
    let seen = answer.header(backend::SEEN).unwrap_or("nothing");
    if seen != format!("127.0.0.1|http|{}|{port}|127.0.0.1", http::HOST) {
        wrong.push(format!("the backend saw the forwarding headers {seen}"));
    }
    wrong
}

#[cfg(test)]
mod tests;
