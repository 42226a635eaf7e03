//! From changes of objects to a routing table and changes of Problems.
//!
//! Purpose: total (whatever an object holds, the rest is compiled), deterministic (the order of changes does not
//! show in the result), and incremental (a change costs what it touches: a host names its Ingresses, a Service
//! its Backends). Not here: where changes come from, and publishing tables.
//!
//! The way of one Ingress: `class` (is it ours?) → `translate` (to the shape of HTTPRoute, with field paths) →
//! `lower` (to Routes that share Backends) → `hosts` (who wins which path of a host) → table.

mod backend;
mod class;
mod endpoints;
mod hosts;
mod ledger;
mod lower;
mod pending;
mod secret;
mod tls;
mod translate;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::host::HostName;
use crate::object::Change;
use crate::object::Delta;
use crate::object::Ingress;
use crate::object::Name;
use crate::object::Object;
use crate::problem::Problem;
use crate::table::IngressOrigin;
use crate::table::RoutingTable;

use backend::Backends;
use class::Admission;
use class::Classes;
use hosts::Hosts;
use ledger::Ledger;
use lower::Lowered;
use pending::IngressChange;
use pending::Pending;
use secret::Secrets;

pub use ledger::ProblemDelta;

/// How a Compiler reads objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `spec.controller` of the IngressClasses that are ours.
    pub controller: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { controller: "wasm-gateway.dev/ingress-controller".to_owned() }
    }
}

/// Holds the Snapshot and everything that was compiled from it.
#[derive(Debug)]
pub struct Compiler {
    table: RoutingTable,
    classes: Classes,
    ingresses: BTreeMap<Name, Entry>,
    hosts: Hosts,
    backends: Backends,
    secrets: Secrets,
    next_origin: u64,
}

/// An Ingress and what became of it.
#[derive(Debug)]
struct Entry {
    ingress: Ingress,
    origin: Arc<IngressOrigin>,
    lowered: Lowered,
}

/// Compiles all objects at once: the same as [`Compiler::apply`] on a new Compiler. The Problems are sorted.
pub fn compile(config: Config, objects: impl IntoIterator<Item = Object>) -> (RoutingTable, Vec<Problem>) {
    let (table, problems) = Compiler::new(config).apply(objects.into_iter().map(Change::Apply).collect());
    (table, problems.added)
}

impl Compiler {
    /// Makes a Compiler that knows no object.
    pub fn new(config: Config) -> Self {
        Self {
            table: RoutingTable::default(),
            classes: Classes::new(config.controller.into()),
            ingresses: BTreeMap::new(),
            hosts: Hosts::default(),
            backends: Backends::default(),
            secrets: Secrets::default(),
            next_origin: 0,
        }
    }

    /// Takes changes in, all of them together, and gives the table of the new Snapshot beside the Problems that
    /// came and went. If a delta changes one object more than once, the last change counts.
    ///
    /// Endpoint cells are shared with earlier tables, so changes of Services and EndpointSlices are visible in
    /// those as soon as this returns.
    pub fn apply(&mut self, delta: Delta) -> (RoutingTable, ProblemDelta) {
        let pending = Pending::new(delta);
        let mut ledger = Ledger::default();
        let mut ingresses = pending.ingresses;
        for class in self.classes.update(pending.classes) {
            for name in self.classes.users(&class) {
                ingresses.entry(name).or_insert(IngressChange::Again);
            }
        }
        self.backends.update(pending.services, pending.slices, &mut ledger);
        self.secrets.update(pending.secrets, &mut ledger);

        // Everything is withdrawn before anything is admitted again, but Backends without users stay until the
        // end: an Ingress that keeps its Service keeps its cell.
        let mut dirty = BTreeSet::new();
        let mut admitted = Vec::new();
        for (name, change) in ingresses {
            let known = self.ingresses.get(&name).map(|entry| &entry.ingress);
            if matches!(&change, IngressChange::Apply(ingress) if known == Some(ingress)) {
                continue;
            }
            self.withdraw(&name, &mut dirty, &mut ledger);
            if self.store(&name, change) {
                admitted.push(name);
            }
        }
        for name in admitted {
            self.admit(&name, &mut dirty, &mut ledger);
        }
        self.backends.sweep();
        self.secrets.sweep();
        let rebuilt = self.hosts.rebuild(dirty, &self.ingresses, &mut ledger);
        self.table = self.table.with(rebuilt);
        (self.table.clone(), ledger.close())
    }

    /// Takes out of all indexes what an Ingress brought in. It stays known.
    fn withdraw(&mut self, name: &Name, dirty: &mut BTreeSet<HostName>, ledger: &mut Ledger) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let lowered = std::mem::take(&mut entry.lowered);
        ledger.remove(lowered.problems);
        for host in lowered.hosts.into_keys() {
            self.hosts.leave(&host, &entry.ingress);
            dirty.insert(host);
        }
        for user in &lowered.backend_uses {
            self.backends.release(name, user, ledger);
        }
        for user in &lowered.secret_uses {
            self.secrets.release(name, user, ledger);
        }
        self.classes.leave(&entry.ingress);
    }

    /// Keeps the new state of an Ingress, and tells whether it exists.
    fn store(&mut self, name: &Name, change: IngressChange) -> bool {
        match change {
            IngressChange::Again => self.ingresses.contains_key(name),
            IngressChange::Delete => {
                self.ingresses.remove(name);
                false
            }
            IngressChange::Apply(ingress) => {
                if let Some(entry) = self.ingresses.get_mut(name) {
                    entry.ingress = ingress;
                    return true;
                }
                let origin = Arc::new(IngressOrigin { name: name.clone(), id: self.next_origin });
                self.next_origin += 1;
                self.ingresses.insert(name.clone(), Entry { ingress, origin, lowered: Lowered::default() });
                true
            }
        }
    }

    /// Compiles an Ingress, if it is ours, as far as it can be compiled alone, and enters it into the indexes.
    fn admit(&mut self, name: &Name, dirty: &mut BTreeSet<HostName>, ledger: &mut Ledger) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        self.classes.join(&entry.ingress);
        let lowered = match self.classes.admission(&entry.ingress) {
            Admission::NotOurs => return,
            Admission::Refused(problem) => Lowered { problems: vec![*problem], ..Lowered::default() },
            Admission::Ours => {
                let translation = translate::translate(&entry.ingress);
                lower::lower(translation, &entry.origin, &mut self.backends)
            }
        };
        ledger.add(lowered.problems.iter().cloned());
        for host in lowered.hosts.keys() {
            self.hosts.join(host, &entry.ingress);
            dirty.insert(host.clone());
        }
        for user in &lowered.backend_uses {
            self.backends.report(name, user, ledger);
        }
        for user in &lowered.secret_uses {
            self.secrets.claim(name, user, ledger);
        }
        entry.lowered = lowered;
    }
}
