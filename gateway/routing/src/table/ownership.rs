//! Host ownership: hosts that only some namespaces may serve, by the parameters of the classes.
//!
//! Only the Ingresses of its owners serve an owned host. It never falls back to a wildcard, a rule without a host or a
//! default backend of another namespace. Not here: reading the parameters (`compiler::class_index`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::host::HostName;
use crate::host::parent;

/// The owned hosts. Ownership applies to the Ingresses of all classes, because all classes share the hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    exact: BTreeMap<Arc<str>, Owner>,
    /// Wildcard entries by the name after `*.`.
    wildcard: BTreeMap<Arc<str>, Owner>,
    /// All distinct non-empty sets of owners.
    all: BTreeSet<OwnerSet>,
    /// Distinct sets of owners of the exact entries one label below a wildcard, by the name after its `*.`.
    child_owners: BTreeMap<Arc<str>, BTreeSet<OwnerSet>>,
}

/// The namespaces that own a host.
pub(crate) type OwnerSet = Arc<BTreeSet<Arc<str>>>;

/// A map by set of owners.
#[derive(Clone, Debug)]
pub(crate) struct OwnerMap<T> {
    /// Sorted by owners.
    entries: Box<[(OwnerSet, T)]>,
}

/// An owned host and its owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    host: HostName,
    namespaces: OwnerSet,
    config: Arc<str>,
}

/// One entry of `spec.hostOwnership` of an IngressClassConfig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnershipEntry<'a> {
    pub(crate) host: &'a HostName,
    pub(crate) namespaces: &'a [Arc<str>],
    /// Name of the IngressClassConfig.
    pub(crate) config: &'a Arc<str>,
}

impl<T> Default for OwnerMap<T> {
    fn default() -> Self {
        Self { entries: Box::default() }
    }
}

impl<T> OwnerMap<T> {
    pub(crate) fn new(entries: BTreeMap<OwnerSet, T>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// Returns the value for the owners of a host. Allocates nothing.
    pub(crate) fn find(&self, owner: &Owner) -> Option<&T> {
        let at = self.entries.binary_search_by(|(owners, _)| owners.cmp(&owner.namespaces)).ok()?;
        self.entries.get(at).map(|(_, found)| found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(OwnerSet, T)> {
        self.entries.iter()
    }
}

impl Ownership {
    /// Creates the ownership from entries of IngressClassConfigs. Entries for one host add up.
    pub(crate) fn new<'a>(entries: impl IntoIterator<Item = OwnershipEntry<'a>>) -> Self {
        let mut ownership = Self::default();
        for entry in entries {
            ownership.add(entry);
        }
        let owners = ownership.iter().filter(|owner| !owner.namespaces.is_empty());
        let (mut all, mut child_owners) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<_>>::new());
        for owner in owners {
            all.insert(Arc::clone(&owner.namespaces));
            let HostName::Exact(name) = &owner.host else { continue };
            let Some(parent) = parent(name) else { continue };
            child_owners.entry(parent.into()).or_default().insert(Arc::clone(&owner.namespaces));
        }
        Self { all, child_owners, ..ownership }
    }

    fn add(&mut self, OwnershipEntry { host, namespaces, config }: OwnershipEntry<'_>) {
        let entries = match host {
            HostName::Exact(_) => &mut self.exact,
            HostName::Wildcard(_) => &mut self.wildcard,
            HostName::Any => return,
        };
        let new =
            || Owner { host: host.clone(), namespaces: OwnerSet::default(), config: Arc::clone(config) };
        let owner = entries.entry(host.key().into()).or_insert_with(new);
        Arc::make_mut(&mut owner.namespaces).extend(namespaces.iter().cloned());
        // Of several configs the first by name is kept, so that their order does not matter.
        if *config < owner.config {
            owner.config = Arc::clone(config);
        }
    }

    /// Returns the sets of owners of hosts that the rules of this host would serve if they were not owned.
    pub(crate) fn owners_within(&self, host: &HostName) -> impl Iterator<Item = &OwnerSet> {
        let owners = match host {
            HostName::Any => Some(&self.all),
            HostName::Wildcard(parent) => self.child_owners.get(parent),
            HostName::Exact(_) => None,
        };
        owners.into_iter().flatten()
    }

    /// Returns all distinct non-empty sets of owners.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &OwnerSet> {
        self.all.iter()
    }

    /// Returns the owner of a request's host by its most specific entry. Allocates nothing.
    pub fn owner_of(&self, host: &str) -> Option<&Owner> {
        if self.is_empty() {
            return None;
        }
        self.exact.get(host).or_else(|| self.wildcard_owner(parent(host)))
    }

    /// Returns the owner of a rule's host.
    pub(crate) fn owner_of_rule(&self, host: &HostName) -> Option<&Owner> {
        match host {
            HostName::Exact(name) => self.owner_of(name),
            HostName::Wildcard(parent) => self.wildcard_owner(Some(parent)),
            HostName::Any => None,
        }
    }

    /// Returns the owner of the nearest wildcard entry. A wildcard entry applies to all names below it at any depth.
    fn wildcard_owner(&self, mut name: Option<&str>) -> Option<&Owner> {
        while let Some(candidate) = name {
            if let Some(owner) = self.wildcard.get(candidate) {
                return Some(owner);
            }
            name = parent(candidate);
        }
        None
    }

    /// Returns all entries: exact hosts by name, then wildcards by name.
    pub fn iter(&self) -> impl Iterator<Item = &Owner> {
        self.exact.values().chain(self.wildcard.values())
    }

    /// Returns true if no host is owned.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }
}

impl Owner {
    /// Returns the host, or the wildcard for all names below it.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Returns the namespaces that own the host. If there are none, no rule may name it.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(AsRef::as_ref)
    }

    /// Returns the IngressClassConfig that has the entry. Of several, returns the first by name.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Returns true if the namespace is an owner.
    pub fn includes(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }
}
