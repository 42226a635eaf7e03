//! One worker's view of one endpoint: its idle connections, and what all workers know of its health.
//!
//! IdleConnection connections are used last in, first out, so that surplus ones grow old and go. Not here: which endpoint a
//! request goes to (`balance`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::queue::UpstreamPermit;
use super::{Connection, Reuse};

/// An idle connection is closed after this time, unless the endpoint said another one: below the 75 s that nginx
/// keeps them.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What an endpoint says is believed up to here, so that nobody can make us keep connections for ever.
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// One idle for longer is used only for a request that could be sent again: Node closes at 5 s.
const SAFE_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// So much earlier than the endpoint says it is not surely open any more: the close may be on its way.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// So many idle connections are kept for one endpoint, by one worker.
const MAX_IDLE_PER_ENDPOINT: usize = 256;

/// An idle connection. Times are the worker clock's milliseconds.
struct IdleConnection {
    connection: Connection,
    permit: UpstreamPermit,
    /// Up to here it may carry any request.
    safe_until: u64,
    /// Up to here it may carry one that can be sent again.
    expires_at: u64,
}

/// An endpoint.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) health: Arc<Health>,
    idle: RefCell<Vec<IdleConnection>>,
    /// The Backend has it no more; requests in flight end, and nothing is kept for others.
    is_removed: Cell<bool>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, health: Arc<Health>) -> Rc<Self> {
        Rc::new(Self { address, health, idle: RefCell::default(), is_removed: Cell::new(false) })
    }

    /// Takes the connection that was used last, if one can still be used.
    pub(super) fn take_idle(&self, reuse: Reuse, now: u64) -> Option<(Connection, UpstreamPermit)> {
        let is_usable = |idle: &IdleConnection| match reuse {
            Reuse::Any => now <= idle.expires_at,
            Reuse::Recent => now <= idle.safe_until,
            Reuse::Never => false,
        };
        let mut idle = self.idle.borrow_mut();
        while idle.last().is_some_and(is_usable) {
            let mut last = idle.pop()?;
            if last.connection.is_reusable() {
                return Some((last.connection, last.permit));
            }
        }
        None
    }

    /// Keeps a connection for the next request. `said` is how long the endpoint keeps it, if it says so.
    pub(super) fn put_idle(
        &self,
        connection: Connection,
        permit: UpstreamPermit,
        keep_alive: Option<Duration>,
        now: u64,
    ) {
        let mut idle = self.idle.borrow_mut();
        if self.is_removed.get() || idle.len() >= MAX_IDLE_PER_ENDPOINT {
            return;
        }
        let (safe, idle_timeout) = idle_limits(keep_alive);
        idle.push(IdleConnection {
            connection,
            permit,
            safe_until: now + safe,
            expires_at: now + idle_timeout,
        });
    }

    /// Closes what has been idle too long or was closed by the peer.
    pub(super) fn sweep(&self, now: u64) {
        self.idle.borrow_mut().retain_mut(|idle| now <= idle.expires_at && idle.connection.is_reusable());
    }

    /// Closes all idle connections.
    pub(super) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// Closes all idle connections and keeps none from now on.
    pub(super) fn remove(&self) {
        self.is_removed.set(true);
        self.close_idle();
    }
}

/// For how many milliseconds an idle connection is surely open, and for how many it may be.
fn idle_limits(keep_alive: Option<Duration>) -> (u64, u64) {
    let (surely, open) = match keep_alive {
        None => (SAFE_IDLE_TIMEOUT, DEFAULT_IDLE_TIMEOUT),
        Some(keep_alive) => {
            (keep_alive.saturating_sub(CLOSE_MARGIN).min(SAFE_IDLE_TIMEOUT), keep_alive.min(MAX_IDLE_TIMEOUT))
        }
    };
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    (milliseconds(surely), milliseconds(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_says_of_keep_alive_holds_and_without_it_60_s() {
        let keep_alive = |seconds| idle_limits(Some(Duration::from_secs(seconds)));
        assert_eq!(idle_limits(None), (4_000, 60_000));
        assert_eq!(keep_alive(5), (4_000, 5_000));
        assert_eq!(keep_alive(2), (1_000, 2_000));
        assert_eq!(keep_alive(0), (0, 0));
        assert_eq!(keep_alive(300), (4_000, 300_000));
        assert_eq!(keep_alive(u64::MAX), (4_000, 600_000));
    }
}
