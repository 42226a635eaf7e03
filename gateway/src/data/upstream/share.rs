//! The share of one client in a limit of a Service.
//!
//! Most of a limit goes to the first that asks. The last quarter is scarce: a client may hold half of it only, so that one
//! client never takes the whole limit. Only scarce units are counted by client, so that a Service with spare capacity pays
//! nothing. Not here: the limits (`queue`).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::data::client_network::ClientNetwork;

/// Minimum limit that is shared. Of a smaller one, the parts would be less than two units.
const MIN_SHARED_LIMIT: u32 = 16;

/// Counters of one limit. Clients of one counter have one share, which no client can cause: their hashes are random.
const COUNTER_COUNT: usize = 256;

/// The scarce units of one limit, by the client that holds them. Without a lock, since workers share it.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Created with the first scarce unit.
    counters: OnceLock<Counters>,
}

#[derive(Debug)]
struct Counters {
    held: Box<[AtomicU32; COUNTER_COUNT]>,
    hasher: RandomState,
}

impl Shares {
    /// Returns true if a unit is scarce when `used` of `max` are taken.
    pub(super) fn is_scarce(used: u32, max: u32) -> bool {
        max >= MIN_SHARED_LIMIT && used >= max - max / 4
    }

    /// Returns true if a client may take a further scarce unit of `max`.
    pub(super) fn has_left(&self, client: ClientNetwork, max: u32) -> bool {
        self.held(client).is_none_or(|held| held.load(Relaxed) < max / 8)
    }

    /// Takes a scarce unit for a client. Returns false if the client holds its share of `max`.
    pub(super) fn try_take(&self, client: ClientNetwork, max: u32) -> bool {
        let increment = |held| (held < max / 8).then_some(held + 1);
        self.held(client).is_some_and(|held| held.fetch_update(Relaxed, Relaxed, increment).is_ok())
    }

    /// Returns a scarce unit of a client.
    pub(super) fn release(&self, client: ClientNetwork) {
        if let Some(held) = self.held(client) {
            held.fetch_sub(1, Relaxed);
        }
    }

    fn held(&self, client: ClientNetwork) -> Option<&AtomicU32> {
        let Counters { held, hasher } = self.counters.get_or_init(|| Counters {
            held: Box::new([const { AtomicU32::new(0) }; COUNTER_COUNT]),
            hasher: RandomState::new(),
        });
        held.get(usize::try_from(hasher.hash_one(client)).unwrap_or(0) % COUNTER_COUNT)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn last_quarter_is_scarce_unless_the_limit_is_small() {
        for (used, max, expected) in [
            (0, 1024, false),
            (767, 1024, false),
            (768, 1024, true),
            (1023, 1024, true),
            (14, 15, false),
            (11, 16, false),
            (12, 16, true),
            (0, u32::MAX, false),
        ] {
            assert_eq!(Shares::is_scarce(used, max), expected, "{used} of {max}");
        }
    }

    #[test]
    fn client_holds_at_most_an_eighth_of_the_limit() {
        let shares = Shares::default();
        let clients: Vec<_> = (0..8).map(|last| IpAddr::from([10, 0, 0, last]).into()).collect();
        let taken = (0..1024).filter(|_| shares.try_take(clients[0], 1024)).count();
        assert_eq!(taken, 128);
        assert!(!shares.has_left(clients[0], 1024));
        // Two clients have the same counter with a chance of 1/256, seven with 10^-14.
        assert!(clients.iter().any(|client| shares.has_left(*client, 1024)));
        shares.release(clients[0]);
        assert!(shares.try_take(clients[0], 1024) && !shares.try_take(clients[0], 1024));
    }
}
