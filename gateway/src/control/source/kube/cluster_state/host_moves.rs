//! Hosts that move from one Ingress to another of the same namespace: the change that frees a host waits for the one that
//! takes it. Pure.
//!
//! Not here: why an Ingress is held (`cluster_state`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::object::{Change, Kind, Name, Object, ObjectRef};

/// The hosts of the Ingresses that the last update left in use.
#[derive(Default)]
pub(super) struct HostMoves {
    hosts: BTreeMap<Name, Box<[Arc<str>]>>,
}

/// Hosts that held Ingresses name, each with its namespace.
#[derive(Default)]
pub(super) struct AwaitedHosts(BTreeSet<(Arc<str>, Arc<str>)>);

impl FromIterator<(Name, Box<[Arc<str>]>)> for AwaitedHosts {
    fn from_iter<I: IntoIterator<Item = (Name, Box<[Arc<str>]>)>>(ingresses: I) -> Self {
        let pairs = ingresses
            .into_iter()
            .flat_map(|(name, hosts)| hosts.into_iter().map(move |host| (name.namespace.clone(), host)));
        Self(pairs.collect())
    }
}

impl HostMoves {
    /// Returns the changes that would free an awaited host.
    pub(super) fn waiting(
        &self,
        changes: &BTreeMap<ObjectRef, Change>,
        awaited: &AwaitedHosts,
    ) -> BTreeSet<ObjectRef> {
        if awaited.0.is_empty() {
            return BTreeSet::new();
        }
        let frees = |(reference, change): &(&ObjectRef, &Change)| {
            let name = &reference.name;
            let Some(before) = self.hosts.get(name).filter(|_| reference.kind == Kind::Ingress) else {
                return false;
            };
            let after = match change {
                Change::Apply(object) => hosts_of(object).map(|(_, hosts)| hosts).unwrap_or_default(),
                Change::Delete(_) => Box::default(),
            };
            let is_awaited = |host: &Arc<str>| awaited.0.contains(&(name.namespace.clone(), host.clone()));
            before.iter().any(|host| !after.contains(host) && is_awaited(host))
        };
        changes.iter().filter(frees).map(|(reference, _)| reference.clone()).collect()
    }

    /// Records the changes of an update.
    pub(super) fn record<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) {
        for change in changes {
            match change {
                Change::Apply(object) => {
                    if let Some((name, hosts)) = hosts_of(object) {
                        self.hosts.insert(name, hosts);
                    }
                }
                Change::Delete(reference) if reference.kind == Kind::Ingress => {
                    self.hosts.remove(&reference.name);
                }
                Change::Delete(_) => {}
            }
        }
    }
}

/// Returns the hosts of an Ingress's rules. Returns `None` for other objects.
pub(super) fn hosts_of(object: &Object) -> Option<(Name, Box<[Arc<str>]>)> {
    let Object::Ingress(ingress) = object else { return None };
    let hosts: BTreeSet<_> = ingress.rules.iter().filter_map(|rule| rule.host.clone()).collect();
    Some((ingress.name.clone(), hosts.into_iter().collect()))
}
