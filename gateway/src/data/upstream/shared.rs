//! The state of endpoints and Backends that all workers share: atomics, found by address or Backend number.
//!
//! A worker looks a value up once, when it first sees an endpoint or a Backend. No request takes these locks.
//! Not here: the meaning of the values (`health`, `queue`).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use hashbrown::HashMap;
use routing::table::Backend;

use super::ejection::{EjectedEndpoint, EjectionCount, EjectionLog};
use super::health::{AddressHealth, EndpointHealth, ServiceHealth};
use super::queue::BackendLoad;

/// Maps over which the keys are spread, so that workers that start at once rarely wait for one lock.
const SHARD_COUNT: usize = 16;

/// The state that all workers of a process share.
#[derive(Debug)]
pub struct SharedUpstreams {
    /// The origin of all shared times.
    pub(super) start: Instant,
    addresses: ShardedMap<SocketAddr, AddressHealth>,
    /// By the number of the pool and address.
    services: ShardedMap<(u64, SocketAddr), ServiceHealth>,
    pub(super) loads: ShardedMap<u64, BackendLoad>,
    ejections: Arc<EjectionLog>,
}

impl Default for SharedUpstreams {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            addresses: ShardedMap::default(),
            services: ShardedMap::default(),
            loads: ShardedMap::default(),
            ejections: Arc::default(),
        }
    }
}

impl SharedUpstreams {
    /// Returns the health of an endpoint of this Backend.
    pub(super) fn health(&self, backend: &Backend, address: SocketAddr) -> EndpointHealth {
        let (address_health, service) = (
            self.addresses.get_or_insert(address),
            self.services.get_or_insert((backend.pool_id(), address)),
        );
        let name = (backend.service.clone(), address);
        EndpointHealth::new(address_health, service, Arc::clone(&self.ejections), name)
    }

    /// Returns the ejected endpoints, sorted by Service and address. Workers wait for it only at a new endpoint.
    pub fn ejected(&self) -> Vec<EjectedEndpoint> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let by_address = |address| self.addresses.get(address)?.ejection(now);
        let services = self.services.values();
        let mut ejected: Vec<_> =
            services.iter().filter_map(|service| service.ejected(by_address, now)).collect();
        ejected.sort_unstable();
        // A Service has a health for each of its ports.
        ejected
            .dedup_by(|later, earlier| later.address == earlier.address && later.service == earlier.service);
        ejected
    }

    /// Returns the numbers of ejections by Service and cause.
    pub fn ejection_counts(&self) -> Vec<EjectionCount> {
        self.ejections.counts()
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
        let Some(map) = self.shard(key) else { return Arc::default() };
        // A panic cannot leave a map inconsistent: each change is one insertion.
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = map.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let created = Arc::default();
        map.insert(key, Arc::downgrade(&created));
        created
    }

    /// Returns the value that workers use.
    fn get(&self, key: K) -> Option<Arc<V>> {
        let map = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&key).and_then(Weak::upgrade)
    }

    /// Returns all values that workers use.
    fn values(&self) -> Vec<Arc<V>> {
        let values = |map: &Mutex<HashMap<K, Weak<V>>>| {
            let map = map.lock().unwrap_or_else(PoisonError::into_inner);
            map.values().filter_map(Weak::upgrade).collect::<Vec<_>>()
        };
        self.maps.iter().flat_map(values).collect()
    }

    fn shard(&self, key: K) -> Option<&Mutex<HashMap<K, Weak<V>>>> {
        let shard = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARD_COUNT;
        self.maps.get(shard)
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
