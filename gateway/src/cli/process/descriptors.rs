//! The limit of file descriptors, and the limit of client connections that follows from it.

use std::num::NonZeroU32;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors that clients and endpoints never get: listening sockets, event queues, admin pages, DNS, the folder.
/// A quarter of a limit below 1024.
const RESERVED: u64 = 256;

/// Raises the soft limit of file descriptors to the hard limit, and returns the new soft limit.
pub(super) fn raise_limit() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the maximum number of client connections. The default leaves one descriptor for a connection to an endpoint
/// beside each. A configured number is capped at the descriptors that are not reserved.
pub(super) fn max_client_connections(configured: Option<NonZeroU32>, descriptors: u64) -> u64 {
    let max = (descriptors - RESERVED.min(descriptors / 4)).max(1);
    let Some(configured) = configured else { return (max / 2).max(1) };
    let configured = u64::from(configured.get());
    if configured > max {
        tracing::warn!(configured, max, "limits.clientConnections is more than the file descriptors allow");
    }
    configured.min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        configured: Option<u32>,
        descriptors: u64,
        expected: u64,
    }

    #[test]
    fn connections_never_exceed_descriptors() {
        for Case { configured, descriptors, expected } in [
            Case { configured: None, descriptors: 1024, expected: 384 },
            Case { configured: None, descriptors: 128, expected: 48 },
            Case { configured: None, descriptors: 1, expected: 1 },
            Case { configured: None, descriptors: u64::MAX, expected: (u64::MAX - RESERVED) / 2 },
            Case { configured: Some(500), descriptors: 1024, expected: 500 },
            Case { configured: Some(5000), descriptors: 1024, expected: 768 },
        ] {
            let max = max_client_connections(configured.and_then(NonZeroU32::new), descriptors);
            assert_eq!(max, expected, "{configured:?} of {descriptors}");
        }
    }
}
