//! The counters of one worker: cells that only the worker writes, and snapshots of them for the metrics page.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use routing::object::Name;
use routing::table::IngressOrigin;

/// Number of classes of status codes: 1xx to 5xx.
pub const CODE_CLASSES: usize = 5;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Client connections that were accepted.
    pub connections_accepted: Cell<u64>,
    /// Client connections that were reset at the connection limit.
    pub connections_rejected: Cell<u64>,
    /// Client connections that this worker accepted and another one serves.
    pub connections_handed_over: Cell<u64>,
    /// Client connections that are open.
    pub connections_open: Cell<u64>,
    /// Requests without a complete response.
    pub requests_in_flight: Cell<u64>,
    /// Open connections that have switched to another protocol.
    pub tunnels_open: Cell<u64>,
    /// Connections to endpoints that were opened.
    pub upstream_connects: Cell<u64>,
    /// Failed attempts to open a connection to an endpoint.
    pub upstream_connect_failures: Cell<u64>,
    /// Requests that were sent over an idle connection.
    pub upstream_connection_reuses: Cell<u64>,
    /// Request fields that were dropped for an underscore in their name.
    pub request_fields_dropped: Cell<u64>,
    /// Client connections that ended by a panic.
    pub panics: Cell<u64>,
    /// Local replies by reason.
    local_replies: RefCell<BTreeMap<&'static str, u64>>,
    /// Requests without a complete response, by reason.
    aborts: RefCell<BTreeMap<&'static str, u64>>,
    /// By the number of the Ingress. `None` for requests that no route matched.
    requests: RefCell<HashMap<Option<u64>, IngressCounter>>,
}

#[derive(Debug)]
struct IngressCounter {
    requests: IngressRequests,
    /// Dead when neither a routing table nor a request refers to the Ingress.
    origin: Weak<IngressOrigin>,
}

/// The responses to requests of one Ingress, by class of the status code.
#[derive(Clone, Debug)]
pub struct IngressRequests {
    /// The Ingress. `None` for requests that no route matched.
    pub ingress: Option<Name>,
    /// Responses with a code of 1xx to 5xx.
    pub by_code: [u64; CODE_CLASSES],
}

/// A copy of the counters of one worker.
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
    /// [`Counters::request_fields_dropped`].
    pub request_fields_dropped: u64,
    /// [`Counters::panics`].
    pub panics: u64,
    /// Responses by Ingress.
    pub requests: Vec<IngressRequests>,
    /// Local replies by reason.
    pub local_replies: BTreeMap<&'static str, u64>,
    /// Requests without a complete response, by reason.
    pub aborts: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Counts a response. A `status` of 0, for a request that was aborted before its response, counts in no class.
    pub fn count_response(&self, ingress: Option<&Arc<IngressOrigin>>, status: u16) {
        let mut requests = self.requests.borrow_mut();
        let entry = requests.entry(ingress.map(|ingress| ingress.id)).or_insert_with(|| IngressCounter {
            requests: IngressRequests {
                ingress: ingress.map(|ingress| ingress.name.clone()),
                by_code: [0; CODE_CLASSES],
            },
            origin: ingress.map(Arc::downgrade).unwrap_or_default(),
        });
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| entry.requests.by_code.get_mut(class)) {
            *count += 1;
        }
    }

    /// Counts a local reply.
    pub fn count_local_reply(&self, reason: &'static str) {
        *self.local_replies.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Counts a request without a complete response.
    pub fn count_abort(&self, reason: &'static str) {
        *self.aborts.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Copies the counters. The counts of deleted Ingresses are part of this snapshot and of none after it.
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
            request_fields_dropped: self.request_fields_dropped.get(),
            panics: self.panics.get(),
            requests: snapshots,
            local_replies: self.local_replies.borrow().clone(),
            aborts: self.aborts.borrow().clone(),
        }
    }
}

/// Holds a gauge one higher until it is dropped.
#[derive(Debug)]
pub struct GaugeGuard {
    counters: Rc<Counters>,
    cell: fn(&Counters) -> &Cell<u64>,
}

impl GaugeGuard {
    /// Increments the gauge that `cell` selects.
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

/// Increments a counter.
pub fn increment(cell: &Cell<u64>) {
    cell.set(cell.get().wrapping_add(1));
}
