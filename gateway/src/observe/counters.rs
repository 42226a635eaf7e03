//! One worker's counters: plain cells, since nobody else writes them, copied out when somebody asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use routing::object::Name;
use routing::table::IngressOrigin;

/// How many status classes are told apart: 1xx to 5xx.
pub const CLASSES: usize = 5;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted since the start.
    pub accepted: Cell<u64>,
    /// Connections that found no place and were reset.
    pub turned_away: Cell<u64>,
    /// Connections accepted for a worker that had fewer.
    pub handed_over: Cell<u64>,
    /// Connections open now.
    pub open: Cell<u64>,
    /// Requests whose answer is not finished.
    pub in_flight: Cell<u64>,
    /// Connections that switched to another protocol and are open.
    pub tunnels: Cell<u64>,
    /// Connections to endpoints that were opened.
    pub dials: Cell<u64>,
    /// Attempts to open one that failed.
    pub dial_failures: Cell<u64>,
    /// Requests that went over a connection that already stood.
    pub reuses: Cell<u64>,
    /// Connections that ended by a panic.
    pub panics: Cell<u64>,
    /// The gateway's own answers by reason.
    refusals: RefCell<BTreeMap<&'static str, u64>>,
    /// Exchanges without a whole answer by reason.
    aborts: RefCell<BTreeMap<&'static str, u64>>,
    /// By the Ingress' number; nothing for requests that no route matched.
    requests: RefCell<HashMap<Option<u64>, Entry>>,
}

#[derive(Debug)]
struct Entry {
    requests: Requests,
    /// Gone when neither a table nor a request knows the Ingress any more.
    origin: Weak<IngressOrigin>,
}

/// The answers that one Ingress got, by status class.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The Ingress, or nothing for requests that no route matched.
    pub ingress: Option<Name>,
    /// How many answers of 1xx to 5xx.
    pub by_class: [u64; CLASSES],
}

/// A copy of one worker's counters.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// [`Counters::accepted`].
    pub accepted: u64,
    /// [`Counters::turned_away`].
    pub turned_away: u64,
    /// [`Counters::handed_over`].
    pub handed_over: u64,
    /// [`Counters::open`].
    pub open: u64,
    /// [`Counters::in_flight`].
    pub in_flight: u64,
    /// [`Counters::tunnels`].
    pub tunnels: u64,
    /// [`Counters::dials`].
    pub dials: u64,
    /// [`Counters::dial_failures`].
    pub dial_failures: u64,
    /// [`Counters::reuses`].
    pub reuses: u64,
    /// [`Counters::panics`].
    pub panics: u64,
    /// Answers by Ingress.
    pub requests: Vec<Requests>,
    /// The gateway's own answers by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Exchanges without a whole answer by reason.
    pub aborts: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Counts an answer with this status.
    pub fn answered(&self, ingress: Option<&Arc<IngressOrigin>>, status: u16) {
        let mut requests = self.requests.borrow_mut();
        let entry = requests.entry(ingress.map(|ingress| ingress.id)).or_insert_with(|| Entry {
            requests: Requests {
                ingress: ingress.map(|ingress| ingress.name.clone()),
                by_class: [0; CLASSES],
            },
            origin: ingress.map(Arc::downgrade).unwrap_or_default(),
        });
        // No status, no class: such a request was aborted, and is counted there.
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| entry.requests.by_class.get_mut(class)) {
            *count += 1;
        }
    }

    /// Counts an answer of the gateway's own.
    pub fn refused(&self, reason: &'static str) {
        *self.refusals.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Counts an exchange without a whole answer.
    pub fn aborted(&self, reason: &'static str) {
        *self.aborts.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Copies the counters out. What was counted for Ingresses that are gone is said once more, then forgotten.
    pub fn copy(&self) -> Counts {
        let mut requests = self.requests.borrow_mut();
        let mut copied: Vec<_> = requests.values().map(|entry| entry.requests.clone()).collect();
        copied.sort_by(|a, b| a.ingress.cmp(&b.ingress));
        requests.retain(|id, entry| id.is_none() || entry.origin.strong_count() > 0);
        Counts {
            accepted: self.accepted.get(),
            turned_away: self.turned_away.get(),
            handed_over: self.handed_over.get(),
            open: self.open.get(),
            in_flight: self.in_flight.get(),
            tunnels: self.tunnels.get(),
            dials: self.dials.get(),
            dial_failures: self.dial_failures.get(),
            reuses: self.reuses.get(),
            panics: self.panics.get(),
            requests: copied,
            refusals: self.refusals.borrow().clone(),
            aborts: self.aborts.borrow().clone(),
        }
    }
}

/// Adds to a cell, and takes it back when dropped.
#[derive(Debug)]
pub struct Gauge {
    counters: Rc<Counters>,
    cell: fn(&Counters) -> &Cell<u64>,
}

impl Gauge {
    /// Adds one to the cell that `cell` picks.
    pub fn raise(counters: &Rc<Counters>, cell: fn(&Counters) -> &Cell<u64>) -> Self {
        bump(cell(counters));
        Self { counters: Rc::clone(counters), cell }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        let cell = (self.cell)(&self.counters);
        cell.set(cell.get().saturating_sub(1));
    }
}

/// Adds one.
pub fn bump(cell: &Cell<u64>) {
    cell.set(cell.get().wrapping_add(1));
}
