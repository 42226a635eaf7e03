//! File descriptors: how many this process may have, and how many clients may be connected for that reason.

use std::num::NonZeroU32;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that clients and their endpoints never get: listening sockets, event queues, admin pages, the folder.
/// Of a small limit it is a quarter.
const RESERVE: u64 = 256;

/// Lets this process have as many file descriptors as it may ask for, and says how many those are.
pub(super) fn raise() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many clients may be connected: as many as wanted or else as many as can each have a connection to an endpoint
/// as well, and in any case no more than there are descriptors.
pub(super) fn places(wanted: Option<NonZeroU32>, limit: u64) -> u64 {
    let most = (limit - RESERVE.min(limit / 4)).max(1);
    let Some(wanted) = wanted else { return (most / 2).max(1) };
    let wanted = u64::from(wanted.get());
    if wanted > most {
        tracing::warn!(wanted, most, "limits.clientConnections is more than the file descriptors allow");
    }
    wanted.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_places_than_descriptors() {
        for (wanted, limit, expected) in [
            (None, 1024, 384),
            (None, 128, 48),
            (None, 1, 1),
            (None, u64::MAX, (u64::MAX - RESERVE) / 2),
            (Some(500), 1024, 500),
            (Some(5000), 1024, 768),
        ] {
            assert_eq!(places(wanted.and_then(NonZeroU32::new), limit), expected, "{wanted:?} of {limit}");
        }
    }
}
