//! Host ownership: the hosts that only some namespaces may serve, as the parameters of our classes say.
//!
//! An owned host is served as if nobody but its owners had any Ingress: no wildcard, host-less rule or default backend
//! of somebody else gets it, even if nobody names it. Not here: reading the parameters (`compiler::class`).

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
    wildcard: BTreeMap<Arc<str>, Owner>,
    /// Those who own any host together, each such set once; no empty one.
    all: BTreeSet<OwnerSet>,
    /// The same for the hosts with an entry of their own one label below a wildcard, by what follows its star.
    child_owners: BTreeMap<Arc<str>, BTreeSet<OwnerSet>>,
}

/// The namespaces that own a host together.
pub(crate) type OwnerSet = Arc<BTreeSet<Arc<str>>>;

/// Something for each of several sets of owners.
#[derive(Clone, Debug)]
pub(crate) struct OwnerMap<T> {
    /// Sorted.
    entries: Box<[(OwnerSet, T)]>,
}

/// One owned host, and to whom it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    host: HostName,
    namespaces: OwnerSet,
    config: Arc<str>,
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

    /// Allocates nothing.
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
    /// Takes entries of IngressClassConfigs: the host, its namespaces, and the name of the config. Entries for one
    /// host add up.
    pub(crate) fn new<'a>(
        entries: impl IntoIterator<Item = (&'a HostName, &'a [Arc<str>], &'a Arc<str>)>,
    ) -> Self {
        let mut ownership = Self::default();
        for (host, namespaces, config) in entries {
            ownership.add(host, namespaces, config);
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

    fn add(&mut self, host: &HostName, namespaces: &[Arc<str>], config: &Arc<str>) {
        let entries = match host {
            HostName::Exact(_) => &mut self.exact,
            HostName::Wildcard(_) => &mut self.wildcard,
            HostName::Any => return,
        };
        let new =
            || Owner { host: host.clone(), namespaces: OwnerSet::default(), config: Arc::clone(config) };
        let owner = entries.entry(host.key().into()).or_insert_with(new);
        Arc::make_mut(&mut owner.namespaces).extend(namespaces.iter().cloned());
        // Of several, the first by name is told, whatever the order in which they come.
        if *config < owner.config {
            owner.config = Arc::clone(config);
        }
    }

    /// Those who own hosts that the rules of this one would serve, and who may not be all who may name this one.
    pub(crate) fn owners_within(&self, host: &HostName) -> impl Iterator<Item = &OwnerSet> {
        let owners = match host {
            HostName::Any => Some(&self.all),
            HostName::Wildcard(parent) => self.child_owners.get(parent),
            HostName::Exact(_) => None,
        };
        owners.into_iter().flatten()
    }

    /// Those who own any host together, each such set once.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &OwnerSet> {
        self.all.iter()
    }

    /// To whom the host of a request belongs: the most specific entry decides alone. Allocates nothing.
    pub fn owner_of(&self, host: &str) -> Option<&Owner> {
        if self.is_empty() {
            return None;
        }
        self.exact.get(host).or_else(|| self.wildcard_owner(parent(host)))
    }

    /// To whom the host of a rule belongs.
    pub(crate) fn owner_of_rule(&self, host: &HostName) -> Option<&Owner> {
        match host {
            HostName::Exact(name) => self.owner_of(name),
            HostName::Wildcard(parent) => self.wildcard_owner(Some(parent)),
            HostName::Any => None,
        }
    }

    /// A wildcard owns all names below it, however deep.
    fn wildcard_owner(&self, mut name: Option<&str>) -> Option<&Owner> {
        while let Some(candidate) = name {
            if let Some(owner) = self.wildcard.get(candidate) {
                return Some(owner);
            }
            name = parent(candidate);
        }
        None
    }

    /// All entries: exact hosts by name, then wildcards by name.
    pub fn iter(&self) -> impl Iterator<Item = &Owner> {
        self.exact.values().chain(self.wildcard.values())
    }

    /// Whether no host is owned.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
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
    pub fn includes(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }
}
