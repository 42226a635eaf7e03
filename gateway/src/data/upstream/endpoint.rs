//! One worker's idle connections to one endpoint, and the shared health of the endpoint.
//!
//! The connection that was used last is reused first, so that surplus connections reach their idle timeout.
//! Not here: the choice of an endpoint (`balance`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::health::EndpointHealth;
use super::queue::UpstreamPermit;
use super::{Reuse, Stream};

/// Idle timeout of connections whose endpoint announces none. Below the 75 s after which nginx closes.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum idle timeout that an endpoint can announce. Bounds how long a connection occupies a permit.
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Idle time after which a connection carries only replayable requests. Node.js closes after 5 s.
const SAFE_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Safety margin subtracted from an announced idle timeout: the FIN of the endpoint may be in flight.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// Maximum idle connections of one worker to one endpoint. Further ones are closed.
const MAX_IDLE_PER_ENDPOINT: usize = 256;

/// An idle connection. Times are milliseconds of the worker's clock.
struct IdleConnection {
    stream: Stream,
    permit: UpstreamPermit,
    idle_since: u64,
    /// The last time at which it may carry any request.
    safe_until: u64,
    /// The last time at which it may carry a replayable request.
    expires_at: u64,
}

/// An endpoint, as one worker knows it.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) health: EndpointHealth,
    idle: RefCell<Vec<IdleConnection>>,
    /// Whether the Backend no longer has the endpoint. Requests in flight complete; no connection is kept.
    is_removed: Cell<bool>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, health: EndpointHealth) -> Rc<Self> {
        Rc::new(Self { address, health, idle: RefCell::default(), is_removed: Cell::new(false) })
    }

    /// Takes the usable connection that was used last. Closed connections are dropped.
    pub(super) fn take_idle(&self, reuse: Reuse, now: u64) -> Option<(Stream, UpstreamPermit)> {
        let is_usable = |idle: &IdleConnection| match reuse {
            Reuse::Any => now <= idle.expires_at,
            Reuse::Recent => now <= idle.safe_until,
            Reuse::Never => false,
        };
        let mut idle = self.idle.borrow_mut();
        while idle.last().is_some_and(is_usable) {
            let mut last = idle.pop()?;
            // The runtime learns of a close only when it polls the socket. A request that must not be sent twice asks the
            // kernel.
            if last.stream.is_reusable() && (reuse == Reuse::Any || last.stream.is_established()) {
                return Some((last.stream, last.permit));
            }
        }
        None
    }

    /// Keeps a connection for the next request. `keep_alive` is the idle timeout that the endpoint announced.
    pub(super) fn put_idle(
        &self,
        stream: Stream,
        mut permit: UpstreamPermit,
        keep_alive: Option<Duration>,
        now: u64,
    ) {
        permit.release_share();
        let mut idle = self.idle.borrow_mut();
        if self.is_removed.get() || idle.len() >= MAX_IDLE_PER_ENDPOINT {
            return;
        }
        let IdleLimits { safe_ms, total_ms } = IdleLimits::new(keep_alive);
        let (safe_until, expires_at) = (now + safe_ms, now + total_ms);
        idle.push(IdleConnection { stream, permit, idle_since: now, safe_until, expires_at });
    }

    /// Returns the time since which the oldest idle connection is idle.
    pub(super) fn oldest_idle(&self) -> Option<u64> {
        self.idle.borrow().first().map(|idle| idle.idle_since)
    }

    /// Closes the oldest idle connection, and returns its permit for another one.
    pub(super) fn close_oldest_idle(&self) -> Option<UpstreamPermit> {
        let mut idle = self.idle.borrow_mut();
        (!idle.is_empty()).then(|| idle.remove(0).permit)
    }

    /// Drops connections whose idle timeout has passed or that the endpoint has closed.
    pub(super) fn sweep(&self, now: u64) {
        self.idle.borrow_mut().retain_mut(|idle| now <= idle.expires_at && idle.stream.is_reusable());
    }

    /// Closes all idle connections.
    pub(super) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// Returns true if the Backend no longer has the endpoint.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.get()
    }

    /// Closes all idle connections, and keeps no connection from now on.
    pub(super) fn remove(&self) {
        self.is_removed.set(true);
        self.close_idle();
    }
}

/// How long a connection may be idle, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IdleLimits {
    /// For any request.
    safe_ms: u64,
    /// For replayable requests. The connection is closed afterwards.
    total_ms: u64,
}

impl IdleLimits {
    fn new(keep_alive: Option<Duration>) -> Self {
        let (safe, total) = match keep_alive {
            None => (SAFE_IDLE_TIMEOUT, DEFAULT_IDLE_TIMEOUT),
            Some(keep_alive) => (
                keep_alive.saturating_sub(CLOSE_MARGIN).min(SAFE_IDLE_TIMEOUT),
                keep_alive.min(MAX_IDLE_TIMEOUT),
            ),
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { safe_ms: millis(safe), total_ms: millis(total) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_limits_follow_the_announced_timeout_within_bounds() {
        for (keep_alive_seconds, safe_ms, total_ms) in [
            (None, 4_000, 60_000),
            (Some(5), 4_000, 5_000),
            (Some(2), 1_000, 2_000),
            (Some(0), 0, 0),
            (Some(300), 4_000, 300_000),
            (Some(u64::MAX), 4_000, 600_000),
        ] {
            let limits = IdleLimits::new(keep_alive_seconds.map(Duration::from_secs));
            assert_eq!(limits, IdleLimits { safe_ms, total_ms }, "{keep_alive_seconds:?}");
        }
    }
}
