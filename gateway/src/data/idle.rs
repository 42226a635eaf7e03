//! The idle client connections of a worker, and which of them close when the gateway is at a limit.
//!
//! A connection without a request can close at any time without a loss. Connections of the address with the most of them
//! close first, so that one client does not keep others out. Not here: the limits (`listener::connections`).

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::data::client_network::ClientNetwork;
use crate::data::wire::clock::{Timer, TimerHandle};

/// The `idle_since` of a connection that serves a request.
const BUSY: u64 = u64::MAX;

/// The client connections of one worker.
#[derive(Debug, Default)]
pub struct IdleConnections {
    entries: Rc<RefCell<Vec<Rc<IdleEntry>>>>,
}

#[derive(Debug)]
struct IdleEntry {
    client: ClientNetwork,
    /// Milliseconds of the worker's clock, or [`BUSY`].
    idle_since: Cell<u64>,
    /// The timer of the connection. Its end closes an idle connection.
    timer: TimerHandle,
    /// Position in [`IdleConnections::entries`].
    index: Cell<usize>,
}

/// The entry of one connection. Dropping it removes the entry.
#[derive(Debug)]
pub struct IdleSlot {
    entry: Rc<IdleEntry>,
    entries: Rc<RefCell<Vec<Rc<IdleEntry>>>>,
}

impl IdleConnections {
    /// Adds a connection that is idle since `now`. It must close when its timer ends while it is idle.
    pub fn register(&self, client: IpAddr, timer: &Timer, now: u64) -> IdleSlot {
        let mut entries = self.entries.borrow_mut();
        let entry = Rc::new(IdleEntry {
            client: client.into(),
            idle_since: Cell::new(now),
            timer: timer.handle(),
            index: Cell::new(entries.len()),
        });
        entries.push(Rc::clone(&entry));
        IdleSlot { entry, entries: Rc::clone(&self.entries) }
    }

    /// Closes up to `max` idle connections of the client with the most, those that are idle for the longest time first.
    /// Returns how many it closes.
    pub fn close_idle(&self, max: usize) -> usize {
        let entries = self.entries.borrow();
        let idle = || entries.iter().filter(|entry| entry.idle_since.get() != BUSY);
        let mut counts = HashMap::new();
        idle().for_each(|entry| *counts.entry(entry.client).or_insert(0) += 1);
        let Some((client, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return 0 };
        let mut oldest: Vec<_> = idle().filter(|entry| entry.client == client).collect();
        oldest.sort_unstable_by_key(|entry| entry.idle_since.get());
        // At most half of them, so that a client keeps its latest ones.
        let closed = max.min(usize::div_ceil(count, 2));
        for entry in oldest.iter().take(closed) {
            entry.idle_since.set(BUSY);
            entry.timer.expire();
        }
        closed
    }
}

impl IdleSlot {
    /// Records that the connection waits for a request since `now`.
    pub fn set_idle(&self, now: u64) {
        self.entry.idle_since.set(now);
    }

    /// Records that the connection serves a request.
    pub fn set_busy(&self) {
        self.entry.idle_since.set(BUSY);
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        let mut entries = self.entries.borrow_mut();
        let index = self.entry.index.get();
        entries.swap_remove(index);
        if let Some(moved) = entries.get(index) {
            moved.index.set(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::wire::clock::Clock;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn oldest_connections_of_the_client_with_the_most_close_first() {
        let (clock, idle) = (Clock::default(), IdleConnections::default());
        let timers: Vec<_> = (0..8).map(|_| clock.timer()).collect();
        // Client 1 has five connections, of which one is busy; client 2 has three.
        let clients = [1, 2, 1, 2, 1, 2, 1, 1];
        let slots: Vec<_> =
            (0..8).map(|n: usize| idle.register(address(clients[n]), &timers[n], 100 - n as u64)).collect();
        slots[6].set_busy();
        let closed = || (0..8).filter(|n| timers[*n].is_elapsed()).collect::<Vec<_>>();
        assert_eq!((idle.close_idle(9), closed()), (2, vec![4, 7]), "half of its idle connections");
        assert_eq!((idle.close_idle(1), closed()), (1, vec![4, 5, 7]), "the other client has the most now");
        drop(slots);
        assert_eq!(idle.close_idle(9), 0);
    }

    #[test]
    fn dropped_slots_leave_no_entry() {
        let (clock, idle) = (Clock::default(), IdleConnections::default());
        let timer = clock.timer();
        let mut slots: Vec<_> = (0..5).map(|last| idle.register(address(last), &timer, 0)).collect();
        for index in [2, 0, 2, 1, 0] {
            drop(slots.remove(index));
            let entries = idle.entries.borrow();
            assert_eq!(entries.len(), slots.len());
            assert!(entries.iter().enumerate().all(|(at, entry)| entry.index.get() == at));
        }
    }
}
