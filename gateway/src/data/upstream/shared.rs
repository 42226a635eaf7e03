//! The state of endpoints and Backends that all workers share: atomics, found by address or Backend number.
//!
//! A worker looks a value up once, when it first sees an endpoint or a Backend. No request takes these locks.
//! Not here: the meaning of the values (`health`, `queue`).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use hashbrown::HashMap;

use super::health::{AddressHealth, EndpointHealth, Health};
use super::queue::BackendLoad;

/// Maps over which the keys are spread, so that workers that start at once rarely wait for one lock.
const SHARD_COUNT: usize = 16;

/// The state that all workers of a process share.
#[derive(Debug)]
pub struct SharedUpstreams {
    /// The origin of all shared times.
    pub(super) start: Instant,
    addresses: ShardedMap<SocketAddr, AddressHealth>,
    /// By Backend number and address.
    services: ShardedMap<(u64, SocketAddr), Health>,
    pub(super) loads: ShardedMap<u64, BackendLoad>,
}

impl Default for SharedUpstreams {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            addresses: ShardedMap::default(),
            services: ShardedMap::default(),
            loads: ShardedMap::default(),
        }
    }
}

impl SharedUpstreams {
    /// Returns the health of an endpoint of this Backend.
    pub(super) fn health(&self, backend_id: u64, address: SocketAddr) -> EndpointHealth {
        let (address_health, service) =
            (self.addresses.get_or_insert(address), self.services.get_or_insert((backend_id, address)));
        EndpointHealth::new(address_health, service)
    }

    /// Removes values that no worker uses. Called once a minute by each worker.
    pub(super) fn sweep(&self) {
        self.addresses.sweep();
        self.services.sweep();
        self.loads.sweep();
    }
}

/// A map in parts with one lock each. It holds weak references.
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
    /// Returns the value that other workers use, or inserts a new one.
    pub(super) fn get_or_insert(&self, key: K) -> Arc<V> {
        let shard = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARD_COUNT;
        let Some(map) = self.maps.get(shard) else { return Arc::default() };
        // A panic cannot leave a map inconsistent: each change is one insertion.
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = map.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let created = Arc::default();
        map.insert(key, Arc::downgrade(&created));
        created
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
    fn shared_value_lives_as_long_as_a_worker_uses_it() {
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
