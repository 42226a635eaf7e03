//! How many connections a Backend has, and who waits for one.
//!
//! The numbers are counted over all workers by atomics. Each worker has a queue of its own: a connection that gets
//! free wakes the first one there at once, and what other workers free is noticed by looking, every tick.
//! Not here: what the limits are (`terms`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::sync::Notify;

use super::OpenError;

/// What all workers take up of one Backend.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Connections, idle ones and those being opened included.
    connections: AtomicU32,
    /// Requests that wait for one.
    pending: AtomicU32,
}

/// One worker's place in front of a Backend.
#[derive(Debug)]
pub(super) struct Line {
    load: Arc<Load>,
    /// Wakes who waits in this worker, in the order in which they came.
    freed: Notify,
    /// How many wait in this worker.
    waiting: Cell<u32>,
}

/// The right to have one connection; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    line: Rc<Line>,
}

/// A place in the queue; dropping it leaves.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a Line,
}

// ===== impl Line =====

impl Line {
    pub(super) fn new(load: Arc<Load>) -> Rc<Self> {
        Rc::new(Self { load, freed: Notify::new(), waiting: Cell::new(0) })
    }

    /// Allows one more connection if there are fewer than `most`.
    pub(super) fn permit(self: &Rc<Self>, most: u32) -> Option<Permit> {
        raise(&self.load.connections, most).then(|| Permit { line: Rc::clone(self) })
    }

    /// Whether requests of this worker wait: who comes now has to queue up behind them.
    pub(super) fn is_waited_in(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Whether requests of other workers wait while there are as many connections as a request may open, and
    /// nobody here does: then a free connection is worth more to them closed.
    pub(super) fn is_wanted_elsewhere(&self, most: u32) -> bool {
        !self.is_waited_in()
            && self.load.pending.load(Relaxed) > 0
            && self.load.connections.load(Relaxed) >= most
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// [`OpenError::Overloaded`]: `most` requests wait already, in all workers.
    pub(super) fn queue(&self, most: u32) -> Result<Place<'_>, OpenError> {
        if !raise(&self.load.pending, most) {
            return Err(OpenError::Overloaded);
        }
        self.waiting.set(self.waiting.get() + 1);
        Ok(Place { line: self })
    }

    /// Wakes who waits longest in this worker, since there is a connection to be had.
    pub(super) fn wake(&self) {
        if self.is_waited_in() {
            self.freed.notify_one();
        }
    }
}

/// Adds one, unless that would be more than `most`.
fn raise(count: &AtomicU32, most: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |count| (count < most).then(|| count + 1)).is_ok()
}

// ===== impl Permit =====

impl Drop for Permit {
    fn drop(&mut self) {
        self.line.load.connections.fetch_sub(1, Relaxed);
        self.line.wake();
    }
}

// ===== impl Place =====

impl Place<'_> {
    /// Waits until this worker gets a connection free.
    pub(super) async fn freed(&self) {
        self.line.freed.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.load.pending.fetch_sub(1, Relaxed);
        self.line.waiting.set(self.line.waiting.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_and_places_are_counted_over_all_workers_and_come_back() {
        let load = Arc::new(Load::default());
        let (here, there) = (Line::new(Arc::clone(&load)), Line::new(Arc::clone(&load)));
        let first = here.permit(2).unwrap();
        let second = there.permit(2).unwrap();
        assert!(here.permit(2).is_none() && there.permit(2).is_none());
        assert!(here.permit(3).is_some(), "each route obeys its own number");
        let place = here.queue(1).unwrap();
        assert_eq!(there.queue(1).unwrap_err(), OpenError::Overloaded);
        assert!(there.is_wanted_elsewhere(2) && !here.is_wanted_elsewhere(2));
        drop((first, place));
        assert!(there.permit(2).is_some() && there.queue(1).is_ok());
        drop(second);
        assert_eq!((load.connections.load(Relaxed), load.pending.load(Relaxed)), (0, 0));
    }

    #[tokio::test]
    async fn the_first_in_the_queue_is_woken_first_and_a_place_left_early_is_passed_on() {
        let line = Line::new(Arc::default());
        let places = [line.queue(9).unwrap(), line.queue(9).unwrap(), line.queue(9).unwrap()];
        let mut waits = places.each_ref().map(|place| Box::pin(place.freed()));
        for wait in &mut waits {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        line.wake();
        let [first, mut second, mut third] = waits;
        drop(first);
        assert!(futures::poll!(second.as_mut()).is_ready(), "the first one left after it was woken");
        assert!(futures::poll!(third.as_mut()).is_pending());
    }
}
