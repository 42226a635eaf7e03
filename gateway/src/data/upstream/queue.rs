//! The connection limit of a Backend, and the requests that wait for a connection.
//!
//! Atomics count connections and waiting requests over all workers. Each worker has one queue: a freed connection wakes
//! its first request at once. Requests check every tick for connections that other workers freed. Tunnels have a limit of
//! their own, since one lasts for hours.
//! Not here: the limits (`policy`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::sync::Notify;

use super::ConnectError;
use super::share::Shares;
use crate::data::client_network::ClientNetwork;

/// The load of one Backend over all workers.
#[derive(Debug, Default)]
pub(super) struct BackendLoad {
    /// Connections, including idle ones and those that are being opened.
    connections: AtomicU32,
    /// Connections that carry a tunnel. They do not count as `connections`.
    tunnels: AtomicU32,
    /// Requests that wait for a connection.
    pending: AtomicU32,
    connection_shares: Shares,
    pending_shares: Shares,
}

/// The requests of one worker that wait for a connection to one Backend.
#[derive(Debug)]
pub(super) struct ConnectionQueue {
    load: Arc<BackendLoad>,
    /// Wakes the requests of this worker in the order of their arrival.
    free: Notify,
    /// Number of requests of this worker that wait for the next free connection.
    waiting: Cell<u32>,
}

/// The permit for one connection. Dropping it releases the permit.
#[derive(Debug)]
pub(super) struct UpstreamPermit {
    queue: Rc<ConnectionQueue>,
    /// The client address whose share the permit is taken from; `None` if it is not scarce, or idle.
    owner: Option<ClientNetwork>,
    kind: PermitKind,
}

/// What a permit counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PermitKind {
    Connection,
    Tunnel,
}

/// A request in the queue. Dropping it removes the request.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    queue: &'a ConnectionQueue,
    owner: Option<ClientNetwork>,
    /// Whether its client holds its share, so that no freed connection is for this request.
    is_limited: Cell<bool>,
}

// ===== impl ConnectionQueue =====

impl ConnectionQueue {
    pub(super) fn new(load: Arc<BackendLoad>) -> Rc<Self> {
        Rc::new(Self { load, free: Notify::new(), waiting: Cell::new(0) })
    }

    /// Returns a permit if the Backend has fewer than `max` connections.
    pub(super) fn try_acquire(self: &Rc<Self>, max: u32) -> Option<UpstreamPermit> {
        increment_below(&self.load.connections, max).then(|| UpstreamPermit {
            queue: Rc::clone(self),
            owner: None,
            kind: PermitKind::Connection,
        })
    }

    /// Returns true if a client may have a further connection of `max`: they are not scarce, or its share is not used up.
    pub(super) fn has_share(&self, client: Option<ClientNetwork>, max: u32) -> bool {
        let is_scarce = Shares::is_scarce(self.load.connections.load(Relaxed), max);
        !is_scarce || client.is_none_or(|client| self.load.connection_shares.has_left(client, max))
    }

    /// Returns true if the Backend has `max` tunnels.
    pub(super) fn has_max_tunnels(&self, max: u32) -> bool {
        self.load.tunnels.load(Relaxed) >= max
    }

    /// Returns true if requests of this worker wait for the next free connection. A new request must queue behind them.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Returns true if the Backend has `max` connections and only other workers have waiting requests. The caller then
    /// closes its idle connection, so that they can open one.
    pub(super) fn other_workers_waiting(&self, max: u32) -> bool {
        !self.has_waiters()
            && self.load.pending.load(Relaxed) > 0
            && self.load.connections.load(Relaxed) >= max
    }

    /// Adds a request to the queue.
    ///
    /// # Errors
    /// [`ConnectError::Overloaded`] if `max` requests of all workers already wait, or the client's share of them does.
    pub(super) fn enqueue(
        &self,
        max: u32,
        client: Option<ClientNetwork>,
    ) -> Result<Waiter<'_>, ConnectError> {
        if !increment_below(&self.load.pending, max) {
            return Err(ConnectError::Overloaded);
        }
        self.waiting.set(self.waiting.get() + 1);
        let mut waiter = Waiter { queue: self, owner: None, is_limited: Cell::new(false) };
        if let Some(client) = client
            && Shares::is_scarce(self.load.pending.load(Relaxed) - 1, max)
        {
            if !self.load.pending_shares.try_take(client, max) {
                return Err(ConnectError::Overloaded);
            }
            waiter.owner = Some(client);
        }
        Ok(waiter)
    }

    /// Wakes the first waiting request of this worker, since a connection is free.
    pub(super) fn wake_next(&self) {
        if self.has_waiters() {
            self.free.notify_one();
        }
    }
}

/// Increments `count` and returns true if it is below `max`.
fn increment_below(count: &AtomicU32, max: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |count| (count < max).then(|| count + 1)).is_ok()
}

// ===== impl UpstreamPermit =====

impl UpstreamPermit {
    /// Assigns the permit to the share of a client if connections are scarce.
    pub(super) fn assign(&mut self, client: Option<ClientNetwork>, max: u32) {
        self.release_share();
        let load = &self.queue.load;
        // The permit itself is one of the connections.
        let is_scarce = Shares::is_scarce(load.connections.load(Relaxed).saturating_sub(1), max);
        self.owner = client.filter(|client| is_scarce && load.connection_shares.try_take(*client, max));
    }

    /// Returns the permit to no client's share, since its connection is idle.
    pub(super) fn release_share(&mut self) {
        if let Some(client) = self.owner.take() {
            self.queue.load.connection_shares.release(client);
        }
    }

    /// Makes the permit count as a tunnel.
    pub(super) fn convert_to_tunnel(&mut self) {
        self.release_share();
        if self.kind == PermitKind::Connection {
            self.kind = PermitKind::Tunnel;
            self.queue.load.tunnels.fetch_add(1, Relaxed);
            self.queue.load.connections.fetch_sub(1, Relaxed);
            self.queue.wake_next();
        }
    }
}

impl Drop for UpstreamPermit {
    fn drop(&mut self) {
        self.release_share();
        match self.kind {
            PermitKind::Connection => {
                self.queue.load.connections.fetch_sub(1, Relaxed);
                self.queue.wake_next();
            }
            PermitKind::Tunnel => {
                self.queue.load.tunnels.fetch_sub(1, Relaxed);
            }
        }
    }
}

// ===== impl Waiter =====

impl Waiter<'_> {
    /// Sets whether the client of the request holds its share. The request then keeps no other one waiting.
    pub(super) fn set_limited(&self, is_limited: bool) {
        if self.is_limited.replace(is_limited) != is_limited {
            let waiting = &self.queue.waiting;
            waiting.set(if is_limited { waiting.get().saturating_sub(1) } else { waiting.get() + 1 });
        }
    }

    /// Waits until this worker frees a connection. Not ready for a limited request.
    pub(super) async fn wait_for_free(&self) {
        if self.is_limited.get() {
            return std::future::pending().await;
        }
        self.queue.free.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.owner {
            self.queue.load.pending_shares.release(client);
        }
        self.queue.load.pending.fetch_sub(1, Relaxed);
        self.set_limited(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_apply_to_all_workers_and_drops_release() {
        let load = Arc::new(BackendLoad::default());
        let (here, there) =
            (ConnectionQueue::new(Arc::clone(&load)), ConnectionQueue::new(Arc::clone(&load)));
        let first = here.try_acquire(2).unwrap();
        let second = there.try_acquire(2).unwrap();
        assert!(here.try_acquire(2).is_none() && there.try_acquire(2).is_none());
        assert!(here.try_acquire(3).is_some(), "each route has its own limit");
        let waiter = here.enqueue(1, None).unwrap();
        assert_eq!(there.enqueue(1, None).unwrap_err(), ConnectError::Overloaded);
        assert!(there.other_workers_waiting(2) && !here.other_workers_waiting(2));
        drop((first, waiter));
        assert!(there.try_acquire(2).is_some() && there.enqueue(1, None).is_ok());
        drop(second);
        assert_eq!((load.connections.load(Relaxed), load.pending.load(Relaxed)), (0, 0));
    }

    #[test]
    fn one_client_leaves_an_eighth_of_a_limit_to_others() {
        let queue = ConnectionQueue::new(Arc::default());
        let [first, other] =
            [1, 2].map(|last| Some(ClientNetwork::from(std::net::IpAddr::from([10, 0, 0, last]))));
        let acquire = |client| {
            let mut permit = queue.has_share(client, 64).then(|| queue.try_acquire(64))??;
            permit.assign(client, 64);
            Some(permit)
        };
        let held: Vec<_> = std::iter::from_fn(|| acquire(first)).collect();
        assert_eq!(held.len(), 56, "three quarters and half of the last one");
        let others: Vec<_> = std::iter::from_fn(|| acquire(other)).collect();
        assert_eq!(others.len(), 8);
        let waiting: Vec<_> = std::iter::from_fn(|| queue.enqueue(64, first).ok()).collect();
        assert_eq!(waiting.len(), 56);
        assert!(queue.enqueue(64, other).is_ok());
        waiting.iter().for_each(|waiter| waiter.set_limited(true));
        assert!(!queue.has_waiters(), "requests of a client that holds its share keep none waiting");
        drop((held, others, waiting));
        assert_eq!((queue.load.connections.load(Relaxed), queue.load.pending.load(Relaxed)), (0, 0));
    }

    #[test]
    fn tunnels_do_not_count_as_connections() {
        let queue = ConnectionQueue::new(Arc::default());
        let mut tunnel = queue.try_acquire(1).unwrap();
        tunnel.convert_to_tunnel();
        tunnel.convert_to_tunnel();
        assert!(queue.try_acquire(1).is_some());
        assert!(queue.has_max_tunnels(1) && !queue.has_max_tunnels(2));
        drop(tunnel);
        assert!(!queue.has_max_tunnels(1));
        assert_eq!(queue.load.connections.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn wake_passes_to_the_next_request_if_the_first_leaves() {
        let queue = ConnectionQueue::new(Arc::default());
        let waiters = [(); 3].map(|()| queue.enqueue(9, None).unwrap());
        let mut waits = waiters.each_ref().map(|waiter| Box::pin(waiter.wait_for_free()));
        for wait in &mut waits {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        queue.wake_next();
        let [first, mut second, mut third] = waits;
        drop(first);
        assert!(futures::poll!(second.as_mut()).is_ready(), "the first request left after it was woken");
        assert!(futures::poll!(third.as_mut()).is_pending());
    }
}
