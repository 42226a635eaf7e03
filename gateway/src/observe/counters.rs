//! One worker's counters: plain cells, since nobody else writes them, snapshots out when somebody asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use routing::object::Name;
use routing::table::IngressOrigin;

/// How many status classes are told apart: 1xx to 5xx.
pub const CODE_CLASSES: usize = 5;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted since the start.
    pub connections_accepted: Cell<u64>,
    /// Connections that found no place and were reset.
    pub connections_rejected: Cell<u64>,
    /// Connections accepted for a worker that had fewer.
    pub connections_handed_over: Cell<u64>,
    /// Connections open now.
    pub connections_open: Cell<u64>,
    /// IngressRequests whose answer is not finished.
    pub requests_in_flight: Cell<u64>,
    /// Connections that switched to another protocol and are open.
    pub tunnels_open: Cell<u64>,
    /// Connections to endpoints that were opened.
    pub upstream_connects: Cell<u64>,
    /// Attempts to open one that failed.
    pub upstream_connect_failures: Cell<u64>,
    /// IngressRequests that went over a connection that already stood.
    pub upstream_connection_reuses: Cell<u64>,
    /// Connections that ended by a panic.
    pub panics: Cell<u64>,
    /// The gateway's own answers by reason.
    local_replies: RefCell<BTreeMap<&'static str, u64>>,
    /// Exchanges without a whole answer by reason.
    aborts: RefCell<BTreeMap<&'static str, u64>>,
    /// By the Ingress' number; nothing for requests that no route matched.
    requests: RefCell<HashMap<Option<u64>, IngressCounter>>,
}

#[derive(Debug)]
struct IngressCounter {
    requests: IngressRequests,
    /// Gone when neither a table nor a request knows the Ingress any more.
    origin: Weak<IngressOrigin>,
}

/// The answers that one Ingress got, by status class.
#[derive(Clone, Debug)]
pub struct IngressRequests {
    /// The Ingress, or nothing for requests that no route matched.
    pub ingress: Option<Name>,
    /// How many answers of 1xx to 5xx.
    pub by_code: [u64; CODE_CLASSES],
}

/// A copy of one worker's counters.
#[derive(Clone, Debug, Default)]
pub struct CounterSnapshot {
    /// [`Counters::connections_accepted`].
    pub connections_accepted: u64,
    /// [`Counters::connections_rejected`].
    pub connections_rejected: u64,
    /// [`Counters::connections_handed_over`].
    pub connections_handed_over: u64,
    /// [`Counters::connections_open`].
    pub connections_open: u64,
    /// [`Counters::requests_in_flight`].
    pub requests_in_flight: u64,
    /// [`Counters::tunnels_open`].
    pub tunnels_open: u64,
    /// [`Counters::upstream_connects`].
    pub upstream_connects: u64,
    /// [`Counters::upstream_connect_failures`].
    pub upstream_connect_failures: u64,
    /// [`Counters::upstream_connection_reuses`].
    pub upstream_connection_reuses: u64,
    /// [`Counters::panics`].
    pub panics: u64,
    /// Answers by Ingress.
    pub requests: Vec<IngressRequests>,
    /// The gateway's own answers by reason.
    pub local_replies: BTreeMap<&'static str, u64>,
    /// Exchanges without a whole answer by reason.
    pub aborts: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// CounterSnapshot an answer with this status.
    pub fn count_response(&self, ingress: Option<&Arc<IngressOrigin>>, status: u16) {
        let mut requests = self.requests.borrow_mut();
        let entry = requests.entry(ingress.map(|ingress| ingress.id)).or_insert_with(|| IngressCounter {
            requests: IngressRequests {
                ingress: ingress.map(|ingress| ingress.name.clone()),
                by_code: [0; CODE_CLASSES],
            },
            origin: ingress.map(Arc::downgrade).unwrap_or_default(),
        });
        // No status, no class: such a request was aborted, and is counted there.
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| entry.requests.by_code.get_mut(class)) {
            *count += 1;
        }
    }

    /// CounterSnapshot an answer of the gateway's own.
    pub fn count_local_reply(&self, reason: &'static str) {
        *self.local_replies.borrow_mut().entry(reason).or_default() += 1;
    }

    /// CounterSnapshot an exchange without a whole answer.
    pub fn count_abort(&self, reason: &'static str) {
        *self.aborts.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Copies the counters out. What was counted for Ingresses that are gone is said once more, then forgotten.
    pub fn snapshot(&self) -> CounterSnapshot {
        let mut requests = self.requests.borrow_mut();
        let mut snapshots: Vec<_> = requests.values().map(|entry| entry.requests.clone()).collect();
        snapshots.sort_by(|a, b| a.ingress.cmp(&b.ingress));
        requests.retain(|id, entry| id.is_none() || entry.origin.strong_count() > 0);
        CounterSnapshot {
            connections_accepted: self.connections_accepted.get(),
            connections_rejected: self.connections_rejected.get(),
            connections_handed_over: self.connections_handed_over.get(),
            connections_open: self.connections_open.get(),
            requests_in_flight: self.requests_in_flight.get(),
            tunnels_open: self.tunnels_open.get(),
            upstream_connects: self.upstream_connects.get(),
            upstream_connect_failures: self.upstream_connect_failures.get(),
            upstream_connection_reuses: self.upstream_connection_reuses.get(),
            panics: self.panics.get(),
            requests: snapshots,
            local_replies: self.local_replies.borrow().clone(),
            aborts: self.aborts.borrow().clone(),
        }
    }
}

/// Adds to a cell, and takes it back when dropped.
#[derive(Debug)]
pub struct GaugeGuard {
    counters: Rc<Counters>,
    cell: fn(&Counters) -> &Cell<u64>,
}

impl GaugeGuard {
    /// Adds one to the cell that `cell` picks.
    pub fn increment(counters: &Rc<Counters>, cell: fn(&Counters) -> &Cell<u64>) -> Self {
        increment(cell(counters));
        Self { counters: Rc::clone(counters), cell }
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        let cell = (self.cell)(&self.counters);
        cell.set(cell.get().saturating_sub(1));
    }
}

/// Adds one.
pub fn increment(cell: &Cell<u64>) {
    cell.set(cell.get().wrapping_add(1));
}
