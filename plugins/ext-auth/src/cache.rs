//! Answers that let requests pass, for a while.

use std::collections::{BTreeMap, VecDeque};

use plugin_sdk::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::Permit;

/// SHA-256 of what the service decides by. Credentials are not kept.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct CacheKey([u8; 32]);

/// Answers by key.
pub(crate) struct Cache {
    ttl: Duration,
    max_entries: usize,
    entries: BTreeMap<CacheKey, Entry>,
    /// Keys and ends in the order of insertion, which is that of the ends.
    order: VecDeque<(CacheKey, Duration)>,
}

struct Entry {
    permit: Permit,
    ends_at: Duration,
}

impl CacheKey {
    /// Hashes the values of these fields, with their number and lengths so that no two requests look alike.
    pub(crate) fn of(names: &[String], fields: &Fields) -> Self {
        let mut hash = Sha256::new();
        for name in names {
            let values: Vec<_> = fields.get_all_bytes(name).collect();
            hash.update(values.len().to_le_bytes());
            for value in values {
                hash.update(value.len().to_le_bytes());
                hash.update(value);
            }
        }
        Self(hash.finalize().into())
    }
}

impl Cache {
    pub(crate) fn new(ttl: Duration, max_entries: usize) -> Self {
        Self { ttl, max_entries, entries: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Returns an answer that has not ended.
    pub(crate) fn get(&mut self, key: &CacheKey, now: Duration) -> Option<Permit> {
        while let Some((oldest, ends_at)) = self.order.front().copied()
            && ends_at <= now
        {
            self.drop_oldest(oldest, ends_at);
        }
        self.entries.get(key).map(|entry| entry.permit.clone())
    }

    /// Keeps an answer from now on.
    pub(crate) fn insert(&mut self, key: CacheKey, permit: Permit, now: Duration) {
        let ends_at = now.saturating_add(self.ttl);
        self.entries.insert(key, Entry { permit, ends_at });
        self.order.push_back((key, ends_at));
        while self.order.len() > self.max_entries
            && let Some((oldest, ends_at)) = self.order.front().copied()
        {
            self.drop_oldest(oldest, ends_at);
        }
    }

    /// Drops the first of the order. A later answer of the same key stays.
    fn drop_oldest(&mut self, key: CacheKey, ends_at: Duration) {
        self.order.pop_front();
        if self.entries.get(&key).is_some_and(|entry| entry.ends_at == ends_at) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> CacheKey {
        CacheKey([number; 32])
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn answers_end_after_their_time() {
        let mut cache = Cache::new(seconds(10), 10);
        cache.insert(key(1), Permit::default(), seconds(100));
        assert!(cache.get(&key(1), seconds(109)).is_some());
        assert!(cache.get(&key(1), seconds(110)).is_none());
        assert!(cache.order.is_empty() && cache.entries.is_empty());
    }

    #[test]
    fn oldest_answers_make_way_for_new_ones() {
        let mut cache = Cache::new(seconds(10), 2);
        for number in 1..=3 {
            cache.insert(key(number), Permit::default(), seconds(100));
        }
        assert!(cache.get(&key(1), seconds(100)).is_none());
        assert!(cache.get(&key(2), seconds(100)).is_some() && cache.get(&key(3), seconds(100)).is_some());
    }

    #[test]
    fn renewed_answer_outlives_its_first_time() {
        let mut cache = Cache::new(seconds(10), 10);
        cache.insert(key(1), Permit::default(), seconds(100));
        cache.insert(key(1), Permit::default(), seconds(105));
        assert!(cache.get(&key(1), seconds(112)).is_some());
        assert!(cache.get(&key(1), seconds(115)).is_none());
    }
}
