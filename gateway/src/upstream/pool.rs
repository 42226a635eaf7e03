//! Idle connections to endpoints: last in, first out, so that surplus ones grow old and go.

use std::cell::RefCell;
use std::net::SocketAddr;

use hashbrown::HashMap;

use super::{Connection, Reuse};

/// An idle connection is closed after so many milliseconds: below the 75 s that nginx keeps them.
const LONGEST_IDLE: u64 = 60_000;

/// One idle for longer is used only for a request that could be sent again: Node closes at 5 s.
const SURELY_OPEN: u64 = 4_000;

/// So many idle connections are kept for one endpoint, by one worker.
const MOST_PER_ENDPOINT: usize = 256;

struct Idle {
    connection: Connection,
    since: u64,
}

/// The idle connections of one worker. Times are the worker clock's milliseconds.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

impl Pool {
    /// Takes the connection that was used last, if one can still be used.
    pub(super) fn take(&self, address: SocketAddr, reuse: Reuse, now: u64) -> Option<Connection> {
        let oldest = match reuse {
            Reuse::Any => LONGEST_IDLE,
            Reuse::Recent => SURELY_OPEN,
            Reuse::Never => return None,
        };
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&address)?;
        while list.last().is_some_and(|last| now.saturating_sub(last.since) <= oldest) {
            let mut last = list.pop()?;
            if last.connection.is_quiet() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Keeps a connection.
    pub(super) fn put(&self, address: SocketAddr, connection: Connection, now: u64) {
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(address).or_default();
        if list.len() < MOST_PER_ENDPOINT {
            list.push(Idle { connection, since: now });
        }
    }

    /// Closes what has been idle too long or was closed by the peer.
    pub(super) fn sweep(&self, now: u64) {
        self.idle.borrow_mut().retain(|_, list| {
            list.retain_mut(|idle| {
                now.saturating_sub(idle.since) <= LONGEST_IDLE && idle.connection.is_quiet()
            });
            !list.is_empty()
        });
    }
}
