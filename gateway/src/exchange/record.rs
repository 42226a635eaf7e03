//! What an exchange came to: gathered on its way, told once at its end.
//!
//! Not here: how it is counted and written (`telemetry`).

use std::net::SocketAddr;

use routing::table::Route;

use super::Worker;
use super::abort::Abort;
use super::refusal::Refusal;

/// What an exchange came to.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The status that the client got, or was about to get; 0 if none.
    pub status: u16,
    /// Why it is not an endpoint's whole answer.
    pub ending: Ending,
    /// The endpoint that was asked last.
    pub upstream: Option<SocketAddr>,
    /// How often a connection was had for it.
    pub tries: u32,
    /// Whether the last connection had carried a request before.
    pub reused: bool,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an endpoint's whole answer.
    Forwarded,
    /// With an answer of the gateway.
    Refused(Refusal),
    /// Without a whole answer.
    Aborted(Abort),
}

impl Record {
    /// Begins with nothing known.
    pub fn begin() -> Self {
        Self { status: 0, ending: Ending::Forwarded, upstream: None, tries: 0, reused: false }
    }

    /// A connection to an endpoint was had.
    pub(super) fn tried(&mut self, upstream: SocketAddr, reused: bool) {
        self.upstream = Some(upstream);
        self.tries += 1;
        self.reused = reused;
    }

    /// An endpoint answered.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// The gateway answers itself.
    pub fn refused(&mut self, refusal: Refusal) {
        self.status = refusal.status();
        self.ending = Ending::Refused(refusal);
    }

    /// The client gets no whole answer.
    pub fn aborted(&mut self, abort: Abort) {
        self.ending = Ending::Aborted(abort);
    }
}

impl Worker {
    /// Counts what an exchange came to.
    pub fn tell(&self, route: Option<&Route>, record: &Record) {
        self.counters.answered(route.map(|route| &route.origin.ingress), record.status);
        match record.ending {
            Ending::Forwarded => {}
            Ending::Refused(refusal) => self.counters.refused(refusal.reason()),
            Ending::Aborted(abort) => self.counters.aborted(abort.reason()),
        }
    }
}
