//! What workers share about endpoints and Backends: values of atomics, found by address or number.
//!
//! A worker looks a value up when it first meets an endpoint or a Backend, and keeps it; so the locks here are not
//! on a request's way. Not here: what the values mean (`health`, `line`).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use hashbrown::HashMap;

use super::health::Health;
use super::line::Load;

/// So many maps share the keys, so that workers that start at once do not queue up.
const SHARDS: usize = 16;

/// What one process knows of endpoints and Backends.
#[derive(Debug)]
pub struct Shared {
    /// Times are counted from here.
    pub(super) start: Instant,
    pub(super) health: Shards<SocketAddr, Health>,
    pub(super) loads: Shards<u64, Load>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { start: Instant::now(), health: Shards::default(), loads: Shards::default() }
    }
}

impl Shared {
    /// Forgets what no worker uses any more; called about once a minute.
    pub(super) fn sweep(&self) {
        self.health.sweep();
        self.loads.sweep();
    }
}

/// A map in parts, each with its own lock. It keeps no value alive.
#[derive(Debug)]
pub(super) struct Shards<K, V> {
    maps: [Mutex<HashMap<K, Weak<V>>>; SHARDS],
    hasher: RandomState,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { maps: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Default> Shards<K, V> {
    /// Finds the value that other workers use, or makes it.
    pub(super) fn find(&self, key: K) -> Arc<V> {
        let shard = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARDS;
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
        let shared = Shared::default();
        let first = shared.loads.find(7);
        assert!(Arc::ptr_eq(&first, &shared.loads.find(7)));
        assert!(!Arc::ptr_eq(&first, &shared.loads.find(8)));
        shared.sweep();
        assert!(Arc::ptr_eq(&first, &shared.loads.find(7)));
        drop(first);
        shared.sweep();
        assert!(shared.loads.maps.iter().all(|map| map.lock().unwrap().is_empty()));
    }
}
