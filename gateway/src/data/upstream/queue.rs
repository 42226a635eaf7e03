//! How many connections a Backend has, and who waits for one.
//!
//! The numbers are counted over all workers by atomics. Each worker has a queue of its own: a connection that gets
//! free wakes the first one there at once, and what other workers free is noticed by looking, every tick.
//! Not here: what the limits are (`policy`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::sync::Notify;

use super::ConnectError;

/// What all workers take up of one Backend.
#[derive(Debug, Default)]
pub(super) struct BackendLoad {
    /// Connections, idle ones and those being opened included.
    connections: AtomicU32,
    /// Requests that wait for one.
    pending: AtomicU32,
}

/// One worker's place in front of a Backend.
#[derive(Debug)]
pub(super) struct ConnectionQueue {
    load: Arc<BackendLoad>,
    /// Wakes who waits in this worker, in the order in which they came.
    freed: Notify,
    /// How many wait in this worker.
    waiting: Cell<u32>,
}

/// The right to have one connection; dropping it gives it back.
#[derive(Debug)]
pub(super) struct UpstreamPermit {
    queue: Rc<ConnectionQueue>,
}

/// A place in the queue; dropping it leaves.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    queue: &'a ConnectionQueue,
}

// ===== impl ConnectionQueue =====

impl ConnectionQueue {
    pub(super) fn new(load: Arc<BackendLoad>) -> Rc<Self> {
        Rc::new(Self { load, freed: Notify::new(), waiting: Cell::new(0) })
    }

    /// Allows one more connection if there are fewer than `most`.
    pub(super) fn try_acquire(self: &Rc<Self>, most: u32) -> Option<UpstreamPermit> {
        increment_below(&self.load.connections, most).then(|| UpstreamPermit { queue: Rc::clone(self) })
    }

    /// Whether requests of this worker wait: who comes now has to queue up behind them.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Whether requests of other workers wait while there are as many connections as a request may open, and
    /// nobody here does: then a free connection is worth more to them closed.
    pub(super) fn other_workers_waiting(&self, most: u32) -> bool {
        !self.has_waiters()
            && self.load.pending.load(Relaxed) > 0
            && self.load.connections.load(Relaxed) >= most
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// [`ConnectError::Overloaded`]: `most` requests wait already, in all workers.
    pub(super) fn enqueue(&self, most: u32) -> Result<Waiter<'_>, ConnectError> {
        if !increment_below(&self.load.pending, most) {
            return Err(ConnectError::Overloaded);
        }
        self.waiting.set(self.waiting.get() + 1);
        Ok(Waiter { queue: self })
    }

    /// Wakes who waits longest in this worker, since there is a connection to be had.
    pub(super) fn wake_next(&self) {
        if self.has_waiters() {
            self.freed.notify_one();
        }
    }
}

/// Adds one, unless that would be more than `most`.
fn increment_below(count: &AtomicU32, most: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |count| (count < most).then(|| count + 1)).is_ok()
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
    /// Waits until this worker gets a connection free.
    pub(super) async fn wait_for_free(&self) {
        self.queue.freed.notified().await;
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
    fn permits_and_places_are_counted_over_all_workers_and_come_back() {
        let load = Arc::new(BackendLoad::default());
        let (here, there) =
            (ConnectionQueue::new(Arc::clone(&load)), ConnectionQueue::new(Arc::clone(&load)));
        let first = here.try_acquire(2).unwrap();
        let second = there.try_acquire(2).unwrap();
        assert!(here.try_acquire(2).is_none() && there.try_acquire(2).is_none());
        assert!(here.try_acquire(3).is_some(), "each route obeys its own number");
        let place = here.enqueue(1).unwrap();
        assert_eq!(there.enqueue(1).unwrap_err(), ConnectError::Overloaded);
        assert!(there.other_workers_waiting(2) && !here.other_workers_waiting(2));
        drop((first, place));
        assert!(there.try_acquire(2).is_some() && there.enqueue(1).is_ok());
        drop(second);
        assert_eq!((load.connections.load(Relaxed), load.pending.load(Relaxed)), (0, 0));
    }

    #[tokio::test]
    async fn the_first_in_the_queue_is_woken_first_and_a_place_left_early_is_passed_on() {
        let queue = ConnectionQueue::new(Arc::default());
        let places = [queue.enqueue(9).unwrap(), queue.enqueue(9).unwrap(), queue.enqueue(9).unwrap()];
        let mut waits = places.each_ref().map(|place| Box::pin(place.wait_for_free()));
        for wait in &mut waits {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        queue.wake_next();
        let [first, mut second, mut third] = waits;
        drop(first);
        assert!(futures::poll!(second.as_mut()).is_ready(), "the first one left after it was woken");
        assert!(futures::poll!(third.as_mut()).is_pending());
    }
}
