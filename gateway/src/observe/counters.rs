//! The counters of one worker: cells that only the worker writes, and snapshots of them for the metrics page.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use routing::object::Name;
use routing::table::IngressOrigin;

use super::histogram::Histogram;

/// Number of classes of status codes: 1xx to 5xx.
pub const CODE_CLASSES: usize = 5;

/// Maximum Services of all Ingresses with durations and bytes of their own, for each worker. Each takes 256 bytes and 30
/// time series. Further ones are counted together.
pub const MAX_SERVICES: usize = 1000;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Client connections that were accepted.
    pub connections_accepted: Cell<u64>,
    /// Client connections that were reset at the connection limit.
    pub connections_rejected: Cell<u64>,
    /// Idle client connections that were closed in favour of new ones.
    pub idle_connections_closed: Cell<u64>,
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
    /// Number of Services of all Ingresses.
    services: Cell<usize>,
    /// Requests of Services beyond [`MAX_SERVICES`].
    other: RefCell<RequestTotals>,
    /// Durations of connects to endpoints.
    connects: RefCell<Histogram>,
    /// Whether requests are counted by Ingress and Service.
    labels: RequestLabels,
}

/// Whether requests are counted by Ingress and Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLabels {
    /// By Ingress and Service.
    #[default]
    Ingress,
    /// All together.
    None,
}

#[derive(Debug)]
struct IngressCounter {
    requests: IngressRequests,
    /// Dead when neither a routing table nor a request refers to the Ingress.
    origin: Weak<IngressOrigin>,
}

/// A response, as it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseSample<'a> {
    /// The Ingress. `None` if no route matched.
    pub ingress: Option<&'a Arc<IngressOrigin>>,
    /// Number and Service of the Backend; `None` if none was chosen.
    pub backend: Option<(u64, &'a Name)>,
    /// Status code; 0 for a request that was aborted before its response.
    pub status: u16,
    /// Time from the request's head to its end.
    pub duration: Option<Duration>,
    /// Time from the request's head to that of the endpoint's response.
    pub first_byte: Option<Duration>,
    /// Bytes of the request's body.
    pub received_bytes: u64,
    /// Bytes of the response's body.
    pub sent_bytes: u64,
}

/// Durations and bytes of requests.
#[derive(Clone, Debug, Default)]
pub struct RequestTotals {
    /// Durations of requests.
    pub durations: Histogram,
    /// Times to the head of the endpoint's response.
    pub first_bytes: Histogram,
    /// Bytes of request bodies.
    pub received_bytes: u64,
    /// Bytes of response bodies.
    pub sent_bytes: u64,
}

impl RequestTotals {
    fn record(&mut self, response: &ResponseSample<'_>) {
        response.duration.into_iter().for_each(|duration| self.durations.record(duration));
        response.first_byte.into_iter().for_each(|first_byte| self.first_bytes.record(first_byte));
        self.received_bytes = self.received_bytes.wrapping_add(response.received_bytes);
        self.sent_bytes = self.sent_bytes.wrapping_add(response.sent_bytes);
    }

    /// Adds the totals of other requests.
    pub fn add(&mut self, other: &Self) {
        self.durations.add(&other.durations);
        self.first_bytes.add(&other.first_bytes);
        self.received_bytes = self.received_bytes.wrapping_add(other.received_bytes);
        self.sent_bytes = self.sent_bytes.wrapping_add(other.sent_bytes);
    }
}

/// The requests of one Ingress to one Service.
#[derive(Clone, Debug)]
pub struct ServiceRequests {
    /// The Service. `None` for requests without an endpoint.
    pub service: Option<Name>,
    backend: Option<u64>,
    /// Their durations and bytes.
    pub totals: Box<RequestTotals>,
}

impl ServiceRequests {
    /// Creates an entry.
    pub fn new(service: Option<Name>, backend: Option<u64>) -> Self {
        Self { service, backend, totals: Box::default() }
    }
}

/// The responses to requests of one Ingress, by class of the status code.
#[derive(Clone, Debug)]
pub struct IngressRequests {
    /// The Ingress. `None` for requests that no route matched.
    pub ingress: Option<Name>,
    /// Responses with a code of 1xx to 5xx.
    pub by_code: [u64; CODE_CLASSES],
    /// By Service.
    pub services: Vec<ServiceRequests>,
}

/// A copy of the counters of one worker.
#[derive(Clone, Debug, Default)]
pub struct CounterSnapshot {
    /// [`Counters::connections_accepted`].
    pub connections_accepted: u64,
    /// [`Counters::connections_rejected`].
    pub connections_rejected: u64,
    /// [`Counters::idle_connections_closed`].
    pub idle_connections_closed: u64,
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
    /// Requests of Services beyond [`MAX_SERVICES`].
    pub other: RequestTotals,
    /// Durations of connects to endpoints.
    pub connects: Histogram,
}

impl Counters {
    /// Creates counters that are all 0.
    pub fn new(labels: RequestLabels) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Counts a response. A status of 0 counts in no class.
    pub fn count_response(&self, response: &ResponseSample<'_>) {
        let is_labelled = self.labels == RequestLabels::Ingress;
        let ResponseSample { ingress, backend, status, .. } = *response;
        let (ingress, backend) = (ingress.filter(|_| is_labelled), backend.filter(|_| is_labelled));
        let mut requests = self.requests.borrow_mut();
        let entry = requests.entry(ingress.map(|ingress| ingress.id)).or_insert_with(|| IngressCounter {
            requests: IngressRequests {
                ingress: ingress.map(|ingress| ingress.name.clone()),
                by_code: [0; CODE_CLASSES],
                services: Vec::new(),
            },
            origin: ingress.map(Arc::downgrade).unwrap_or_default(),
        });
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| entry.requests.by_code.get_mut(class)) {
            *count += 1;
        }
        let services = &mut entry.requests.services;
        let id = backend.map(|(id, _)| id);
        if let Some(known) = services.iter_mut().find(|known| known.backend == id) {
            known.totals.record(response);
        } else if self.services.get() < MAX_SERVICES {
            increment_usize(&self.services);
            let mut new = ServiceRequests::new(backend.map(|(_, service)| service.clone()), id);
            new.totals.record(response);
            services.push(new);
        } else {
            self.other.borrow_mut().record(response);
        }
    }

    /// Records the duration of a connect to an endpoint.
    pub fn record_connect(&self, duration: Duration) {
        self.connects.borrow_mut().record(duration);
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
        self.services.set(requests.values().map(|entry| entry.requests.services.len()).sum());
        CounterSnapshot {
            connections_accepted: self.connections_accepted.get(),
            connections_rejected: self.connections_rejected.get(),
            idle_connections_closed: self.idle_connections_closed.get(),
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
            other: self.other.borrow().clone(),
            connects: *self.connects.borrow(),
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

fn increment_usize(cell: &Cell<usize>) {
    cell.set(cell.get().saturating_add(1));
}

/// Increments a counter.
pub fn increment(cell: &Cell<u64>) {
    add(cell, 1);
}

/// Adds to a counter.
pub fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get().wrapping_add(count));
}
