//! Host ownership: which namespaces may name which hosts, as the parameters of a class say.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use api::HostOwnership;

use crate::host;
use crate::host::HostError;
use crate::host::HostName;

/// The owned hosts and who may name them. A wildcard owns all names below it, however deep.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ownership {
    owners: BTreeMap<HostName, BTreeSet<String>>,
}

impl Ownership {
    /// Reads the list; entries for one host add up.
    ///
    /// # Errors
    ///
    /// The first entry whose host cannot be read, by its index.
    pub(super) fn read(list: &[HostOwnership]) -> Result<Self, (usize, HostError)> {
        let mut owners: BTreeMap<HostName, BTreeSet<String>> = BTreeMap::new();
        for (index, entry) in list.iter().enumerate() {
            let host = HostName::parse(&entry.host).map_err(|error| (index, error))?;
            owners.entry(host).or_default().extend(entry.namespaces.iter().cloned());
        }
        Ok(Self { owners })
    }

    /// The entry that keeps a namespace from naming a host, if there is one. The most specific entry decides alone.
    pub(super) fn forbids(&self, host: &HostName, namespace: &str) -> Option<&HostName> {
        if self.owners.is_empty() {
            return None;
        }
        let above = |name: &str| host::parent(name).map(|parent| HostName::Wildcard(parent.into()));
        let mut candidate = Some(host.clone());
        while let Some(name) = candidate {
            if let Some((owned, namespaces)) = self.owners.get_key_value(&name) {
                return (!namespaces.contains(namespace)).then_some(owned);
            }
            candidate = above(name.key());
        }
        None
    }
}
