//! One worker's view of one endpoint: its idle connections, and what all workers know of its health.
//!
//! Idle connections are used last in, first out, so that surplus ones grow old and go. Not here: which endpoint a
//! request goes to (`balance`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::line::Permit;
use super::{Connection, Reuse};

/// An idle connection is closed after this time, unless the endpoint said another one: below the 75 s that nginx
/// keeps them.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// What an endpoint says is believed up to here, so that nobody can make us keep connections for ever.
const LONGEST_BELIEVED: Duration = Duration::from_secs(600);

/// One idle for longer is used only for a request that could be sent again: Node closes at 5 s.
const SURELY_OPEN: Duration = Duration::from_secs(4);

/// So much earlier than the endpoint says it is not surely open any more: the close may be on its way.
const MARGIN: Duration = Duration::from_secs(1);

/// So many idle connections are kept for one endpoint, by one worker.
const MOST_IDLE: usize = 256;

/// An idle connection. Times are the worker clock's milliseconds.
struct Idle {
    connection: Connection,
    permit: Permit,
    /// Up to here it may carry any request.
    surely_open: u64,
    /// Up to here it may carry one that can be sent again.
    open: u64,
}

/// An endpoint.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) health: Arc<Health>,
    idle: RefCell<Vec<Idle>>,
    /// The Backend has it no more; requests in flight end, and nothing is kept for others.
    is_removed: Cell<bool>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, health: Arc<Health>) -> Rc<Self> {
        Rc::new(Self { address, health, idle: RefCell::default(), is_removed: Cell::new(false) })
    }

    /// Takes the connection that was used last, if one can still be used.
    pub(super) fn take(&self, reuse: Reuse, now: u64) -> Option<(Connection, Permit)> {
        let is_usable = |idle: &Idle| match reuse {
            Reuse::Any => now <= idle.open,
            Reuse::Recent => now <= idle.surely_open,
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
    pub(super) fn put(&self, connection: Connection, permit: Permit, said: Option<Duration>, now: u64) {
        let mut idle = self.idle.borrow_mut();
        if self.is_removed.get() || idle.len() >= MOST_IDLE {
            return;
        }
        let (surely_open, open) = lifetimes(said);
        idle.push(Idle { connection, permit, surely_open: now + surely_open, open: now + open });
    }

    /// Closes what has been idle too long or was closed by the peer.
    pub(super) fn sweep(&self, now: u64) {
        self.idle.borrow_mut().retain_mut(|idle| now <= idle.open && idle.connection.is_reusable());
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
fn lifetimes(said: Option<Duration>) -> (u64, u64) {
    let (surely, open) = match said {
        None => (SURELY_OPEN, LONGEST_IDLE),
        Some(said) => (said.saturating_sub(MARGIN).min(SURELY_OPEN), said.min(LONGEST_BELIEVED)),
    };
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    (milliseconds(surely), milliseconds(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_says_of_keep_alive_holds_and_without_it_60_s() {
        let said = |seconds| lifetimes(Some(Duration::from_secs(seconds)));
        assert_eq!(lifetimes(None), (4_000, 60_000));
        assert_eq!(said(5), (4_000, 5_000));
        assert_eq!(said(2), (1_000, 2_000));
        assert_eq!(said(0), (0, 0));
        assert_eq!(said(300), (4_000, 300_000));
        assert_eq!(said(u64::MAX), (4_000, 600_000));
    }
}
