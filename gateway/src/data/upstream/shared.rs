//! What workers share about endpoints and Backends: values of atomics, found by address or number.
//!
//! A worker looks a value up when it first meets an endpoint or a Backend, and keeps it; so the locks here are not
//! on a request's way. Not here: what the values mean (`health`, `queue`).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use hashbrown::HashMap;

use super::health::Health;
use super::queue::BackendLoad;

/// So many maps share the keys, so that workers that start at once do not queue up.
const SHARD_COUNT: usize = 16;

/// What one process knows of endpoints and Backends.
#[derive(Debug)]
pub struct SharedUpstreams {
    /// Times are counted from here.
    pub(super) start: Instant,
    pub(super) health: ShardedMap<SocketAddr, Health>,
    pub(super) loads: ShardedMap<u64, BackendLoad>,
}

impl Default for SharedUpstreams {
    fn default() -> Self {
        Self { start: Instant::now(), health: ShardedMap::default(), loads: ShardedMap::default() }
    }
}

impl SharedUpstreams {
    /// Forgets what no worker uses any more; called about once a minute.
    pub(super) fn sweep(&self) {
        self.health.sweep();
        self.loads.sweep();
    }
}

/// A map in parts, each with its own lock. It keeps no value alive.
#[derive(Debug)]
pub(super) struct ShardedMap<K, V> {
    maps: [Mutex<HashMap<K, Weak<V>>>; SHARD_COUNT],
    hasher: RandomState,
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self { maps: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Default> ShardedMap<K, V> {
    /// Finds the value that other workers use, or makes it.
    pub(super) fn get_or_insert(&self, key: K) -> Arc<V> {
        let shard = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARD_COUNT;
        let Some(map) = self.maps.get(shard) else { return Arc::default() };
        // A map is as good as before if a thread panicked beside it: every change is one insertion.
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = map.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let made = Arc::default();
        map.insert(key, Arc::downgrade(&made));
        made
    }

    fn sweep(&self) {
        for map in &self.maps {
            let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
            map.retain(|_, value| value.strong_count() > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_find_the_same_value_for_as_long_as_one_of_them_uses_it() {
        let shared = SharedUpstreams::default();
        let first = shared.loads.get_or_insert(7);
        assert!(Arc::ptr_eq(&first, &shared.loads.get_or_insert(7)));
        assert!(!Arc::ptr_eq(&first, &shared.loads.get_or_insert(8)));
        shared.sweep();
        assert!(Arc::ptr_eq(&first, &shared.loads.get_or_insert(7)));
        drop(first);
        shared.sweep();
        assert!(shared.loads.maps.iter().all(|map| map.lock().unwrap().is_empty()));
    }
}
