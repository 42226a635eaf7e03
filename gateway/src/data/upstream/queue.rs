//! The connection limit of a Backend, and the requests that wait for a connection.
//!
//! Atomics count connections and waiting requests over all workers. Each worker has one queue: a freed connection wakes
//! its first request at once. Requests check every tick for connections that other workers freed.
//! Not here: the limits (`policy`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::sync::Notify;

use super::ConnectError;

/// The load of one Backend over all workers.
#[derive(Debug, Default)]
pub(super) struct BackendLoad {
    /// Connections, including idle ones and those that are being opened.
    connections: AtomicU32,
    /// Requests that wait for a connection.
    pending: AtomicU32,
}

/// The requests of one worker that wait for a connection to one Backend.
#[derive(Debug)]
pub(super) struct ConnectionQueue {
    load: Arc<BackendLoad>,
    /// Wakes the requests of this worker in the order of their arrival.
    free: Notify,
    /// Number of requests of this worker that wait.
    waiting: Cell<u32>,
}

/// The permit for one connection. Dropping it releases the permit.
#[derive(Debug)]
pub(super) struct UpstreamPermit {
    queue: Rc<ConnectionQueue>,
}

/// A request in the queue. Dropping it removes the request.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    queue: &'a ConnectionQueue,
}

// ===== impl ConnectionQueue =====

impl ConnectionQueue {
    pub(super) fn new(load: Arc<BackendLoad>) -> Rc<Self> {
        Rc::new(Self { load, free: Notify::new(), waiting: Cell::new(0) })
    }

    /// Returns a permit if the Backend has fewer than `max` connections.
    pub(super) fn try_acquire(self: &Rc<Self>, max: u32) -> Option<UpstreamPermit> {
        increment_below(&self.load.connections, max).then(|| UpstreamPermit { queue: Rc::clone(self) })
    }

    /// Returns true if requests of this worker wait. A new request must queue behind them.
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
    /// [`ConnectError::Overloaded`] if `max` requests of all workers already wait.
    pub(super) fn enqueue(&self, max: u32) -> Result<Waiter<'_>, ConnectError> {
        if !increment_below(&self.load.pending, max) {
            return Err(ConnectError::Overloaded);
        }
        self.waiting.set(self.waiting.get() + 1);
        Ok(Waiter { queue: self })
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

impl Drop for UpstreamPermit {
    fn drop(&mut self) {
        self.queue.load.connections.fetch_sub(1, Relaxed);
        self.queue.wake_next();
    }
}

// ===== impl Waiter =====

impl Waiter<'_> {
    /// Waits until this worker frees a connection.
    pub(super) async fn wait_for_free(&self) {
        self.queue.free.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.load.pending.fetch_sub(1, Relaxed);
        self.queue.waiting.set(self.queue.waiting.get().saturating_sub(1));
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
        let waiter = here.enqueue(1).unwrap();
        assert_eq!(there.enqueue(1).unwrap_err(), ConnectError::Overloaded);
        assert!(there.other_workers_waiting(2) && !here.other_workers_waiting(2));
        drop((first, waiter));
        assert!(there.try_acquire(2).is_some() && there.enqueue(1).is_ok());
        drop(second);
        assert_eq!((load.connections.load(Relaxed), load.pending.load(Relaxed)), (0, 0));
    }

    #[tokio::test]
    async fn wake_passes_to_the_next_request_if_the_first_leaves() {
        let queue = ConnectionQueue::new(Arc::default());
        let waiters = [queue.enqueue(9).unwrap(), queue.enqueue(9).unwrap(), queue.enqueue(9).unwrap()];
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
