//! Host ownership: the hosts that only some namespaces may serve, as the parameters of our classes say.
//!
//! An owned host is served by rules that name it and by nothing that takes any host: no wildcard and no host-less
//! rule of somebody else gets it, even if nobody names it. Not here: reading the parameters (`compiler::class`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::host::HostName;
use crate::host::parent;

/// The owned hosts. It holds for all classes, because they share the hosts: owning one would mean little if another
/// class were a way around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    exact: BTreeMap<Arc<str>, Owner>,
    /// By what follows the star.
    below: BTreeMap<Arc<str>, Owner>,
}

/// One owned host, and to whom it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    host: HostName,
    namespaces: BTreeSet<Arc<str>>,
    config: Arc<str>,
}

impl Ownership {
    /// Adds an entry of an IngressClassConfig; entries for one host add up.
    pub(crate) fn add(&mut self, host: &HostName, namespaces: &[Arc<str>], config: &Arc<str>) {
        let entries = match host {
            HostName::Exact(_) => &mut self.exact,
            HostName::Wildcard(_) => &mut self.below,
            HostName::Any => return,
        };
        let new = || Owner { host: host.clone(), namespaces: BTreeSet::new(), config: Arc::clone(config) };
        let owner = entries.entry(host.key().into()).or_insert_with(new);
        owner.namespaces.extend(namespaces.iter().cloned());
        // Of several, the first by name is told, whatever the order in which they come.
        if *config < owner.config {
            owner.config = Arc::clone(config);
        }
    }

    /// To whom the host of a request belongs: the most specific entry decides alone. Allocates nothing.
    pub fn of(&self, host: &str) -> Option<&Owner> {
        if self.is_empty() {
            return None;
        }
        self.exact.get(host).or_else(|| self.above(parent(host)))
    }

    /// To whom the host of a rule belongs.
    pub(crate) fn of_rule(&self, host: &HostName) -> Option<&Owner> {
        match host {
            HostName::Exact(name) => self.of(name),
            HostName::Wildcard(parent) => self.above(Some(parent)),
            HostName::Any => None,
        }
    }

    /// A wildcard owns all names below it, however deep.
    fn above(&self, mut name: Option<&str>) -> Option<&Owner> {
        while let Some(candidate) = name {
            if let Some(owner) = self.below.get(candidate) {
                return Some(owner);
            }
            name = parent(candidate);
        }
        None
    }

    /// All entries: exact hosts by name, then wildcards by name.
    pub fn iter(&self) -> impl Iterator<Item = &Owner> {
        self.exact.values().chain(self.below.values())
    }

    /// Whether no host is owned.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

impl Owner {
    /// The host, or the wildcard for all names below it.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// To whom it belongs. Nobody: no rule may name it.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(AsRef::as_ref)
    }

    /// The IngressClassConfig that says so; the first by name, if there are several.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Whether it belongs to this namespace.
    pub fn is(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }
}
