//! The map from host to its Routes, split so that one host's change copies a small part.
//!
//! Not here: what a host holds (`host`).

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashTable;

use super::host::Host;
use crate::host::HostName;

/// With a million hosts a change copies about a thousand pointers, and the list of shards itself (8 KiB).
const SHARDS: usize = 1024;

/// A host's hash, its name, and what it is to be; `None` takes it out.
type HashedChange = (u64, HostName, Option<Arc<Host>>);

/// The map. `HashTable` rather than `HashMap`: one hash picks the shard and the entry.
#[derive(Clone, Debug)]
pub(super) struct HostMap {
    hasher: DefaultHashBuilder,
    shards: Arc<[Arc<HashTable<Arc<Host>>>]>,
    /// How many hosts there are in all shards.
    count: usize,
}

impl Default for HostMap {
    fn default() -> Self {
        // All shards start as one shared empty map.
        let empty = Arc::new(HashTable::new());
        Self { hasher: DefaultHashBuilder::default(), shards: vec![empty; SHARDS].into(), count: 0 }
    }
}

impl HostMap {
    /// Finds a host by its key: its name, or what follows the star.
    pub(super) fn find(&self, key: &str) -> Option<&Arc<Host>> {
        let hash = self.hasher.hash_one(key);
        self.shards.get(shard_of(hash))?.find(hash, |entry| entry.name().key() == key)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn sorted(&self) -> Vec<&Arc<Host>> {
        let mut hosts: Vec<&Arc<Host>> = self.shards.iter().flat_map(|shard| shard.iter()).collect();
        hosts.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        hosts
    }

    pub(super) fn with(&self, changes: Vec<(HostName, Option<Arc<Host>>)>) -> Self {
        if changes.is_empty() {
            return self.clone();
        }
        let mut by_shard: BTreeMap<usize, Vec<HashedChange>> = BTreeMap::new();
        for (name, host) in changes {
            let hash = self.hasher.hash_one(name.key());
            by_shard.entry(shard_of(hash)).or_default().push((hash, name, host));
        }
        let (mut shards, mut count) = (self.shards.to_vec(), self.count);
        for (index, changes) in by_shard {
            let Some(slot) = shards.get_mut(index) else { continue };
            let mut shard = HashTable::clone(slot);
            count -= shard.len();
            // Once and not by doubling: at the first compile all hosts come together.
            shard.reserve(changes.len(), |entry| self.hasher.hash_one(entry.name().key()));
            for (hash, name, host) in changes {
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

/// Bits that the hash table itself does not use: it takes its position from the lowest and its tag from the
/// highest ones.
fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % SHARDS
}
