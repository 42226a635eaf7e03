//! The map of hosts, split into shards so that a change copies only a small part.
//!
//! Not here: the contents of a host (`host`).

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashTable;

use super::host::Host;
use crate::host::HostName;

/// Number of shards. With a million hosts a change copies about a thousand pointers and the list of shards (8 KiB).
const SHARDS: usize = 1024;

/// The change of one host.
#[derive(Debug)]
pub(crate) struct HostChange {
    pub(crate) name: HostName,
    /// The new host. `None` removes it.
    pub(crate) host: Option<Arc<Host>>,
}

struct HashedChange {
    hash: u64,
    change: HostChange,
}

/// The map. One hash of a `HashTable` selects the shard and the entry, which a `HashMap` would hash twice.
#[derive(Clone, Debug)]
pub(super) struct HostMap {
    hasher: DefaultHashBuilder,
    shards: Arc<[Arc<HashTable<Arc<Host>>>]>,
    /// Number of hosts in all shards.
    count: usize,
}

impl Default for HostMap {
    fn default() -> Self {
        // All shards share one empty map.
        let empty = Arc::new(HashTable::new());
        Self { hasher: DefaultHashBuilder::default(), shards: vec![empty; SHARDS].into(), count: 0 }
    }
}

impl HostMap {
    /// Finds a host by [`HostName::key`].
    pub(super) fn find(&self, key: &str) -> Option<&Arc<Host>> {
        let hash = self.hasher.hash_one(key);
        self.shards.get(shard_of(hash))?.find(hash, |entry| entry.name().key() == key)
    }

    /// Returns true if both maps are one value.
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shards, &other.shards)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn sorted(&self) -> Vec<&Arc<Host>> {
        let mut hosts: Vec<&Arc<Host>> = self.shards.iter().flat_map(|shard| shard.iter()).collect();
        hosts.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        hosts
    }

    pub(super) fn with(&self, changes: Vec<HostChange>) -> Self {
        if changes.is_empty() {
            return self.clone();
        }
        let mut by_shard: BTreeMap<usize, Vec<HashedChange>> = BTreeMap::new();
        for change in changes {
            let hash = self.hasher.hash_one(change.name.key());
            by_shard.entry(shard_of(hash)).or_default().push(HashedChange { hash, change });
        }
        let (mut shards, mut count) = (self.shards.to_vec(), self.count);
        for (index, changes) in by_shard {
            let Some(slot) = shards.get_mut(index) else { continue };
            let mut shard = HashTable::clone(slot);
            count -= shard.len();
            // Grows once instead of by doubling: the first compile adds all hosts.
            shard.reserve(changes.len(), |entry| self.hasher.hash_one(entry.name().key()));
            for HashedChange { hash, change: HostChange { name, host } } in changes {
                if let Ok(entry) = shard.find_entry(hash, |entry| *entry.name() == name) {
                    entry.remove();
                }
                if let Some(host) = host {
                    shard.insert_unique(hash, host, |entry| self.hasher.hash_one(entry.name().key()));
                }
            }
            count += shard.len();
            *slot = Arc::new(shard);
        }
        Self { hasher: self.hasher.clone(), shards: shards.into(), count }
    }
}

/// Selects a shard by bits that the hash table does not use. The table uses the lowest bits for the position and the
/// highest bits for the tag.
fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % SHARDS
}
