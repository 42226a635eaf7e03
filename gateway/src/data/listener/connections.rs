//! Connection limit and load distribution over all workers.
//!
//! The limit is lower than the number of file descriptors. One descriptor remains for each client's upstream
//! connection, and some for the admin pages and the folder of files. The kernel selects a worker's socket by a hash,
//! which is even only for many connections. A worker with too many connections hands new ones off to the worker with
//! the fewest. Not here: what happens to a client without a permit (`accept`).

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::protocol::Protocol;

/// Maximum load of a worker, in tenths of the mean. Above 1.3 × the mean it hands new connections off.
const MAX_LOAD_TENTHS: u64 = 13;

/// A connection that one worker accepted for another.
#[derive(Debug)]
pub(super) struct Handoff {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) permit: ConnectionPermit,
}

/// Counts the client connections of the process. The counters guard no other memory, so `Relaxed` is enough.
#[derive(Debug)]
pub struct ConnectionTracker {
    max_connections: u64,
    total: AtomicU64,
    /// One for each worker, by its index.
    slots: Box<[WorkerSlot]>,
}

/// The tracker's state of one worker.
#[derive(Debug)]
struct WorkerSlot {
    connections: AtomicU64,
    handoff_tx: mpsc::UnboundedSender<Handoff>,
}

/// One worker's access to the tracker.
#[derive(Debug)]
pub struct WorkerConnections {
    /// The worker's index, from 0.
    pub(super) worker: usize,
    pub(super) tracker: Arc<ConnectionTracker>,
    /// Connections that other workers accepted for this one.
    pub(super) handoff_rx: mpsc::UnboundedReceiver<Handoff>,
}

/// Permission for one client connection of one worker. Dropping it releases it.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    tracker: Arc<ConnectionTracker>,
    worker: usize,
}

impl ConnectionTracker {
    /// Creates a tracker of at most `max_connections` clients, and returns one access for each worker.
    pub fn for_workers(max_connections: u64, workers: usize) -> Vec<WorkerConnections> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let slot = |handoff_tx| WorkerSlot { connections: AtomicU64::new(0), handoff_tx };
        let slots = senders.into_iter().map(slot).collect();
        let tracker = Arc::new(Self { max_connections, total: AtomicU64::new(0), slots });
        let access =
            |(worker, handoff_rx)| WorkerConnections { worker, tracker: Arc::clone(&tracker), handoff_rx };
        receivers.into_iter().enumerate().map(access).collect()
    }

    /// Acquires a permit for a connection of `worker`. Returns `None` if the limit is reached.
    pub(super) fn acquire(self: &Arc<Self>, worker: usize) -> Option<ConnectionPermit> {
        let (permit, previous) = self.create_permit(worker);
        // Above the limit, dropping it subtracts again.
        (previous < self.max_connections).then_some(permit)
    }

    /// Acquires a permit in place of one that is about to be released.
    pub(super) fn acquire_replacing(self: &Arc<Self>, worker: usize) -> ConnectionPermit {
        self.create_permit(worker).0
    }

    /// Returns a permit, and the number of permits before it.
    fn create_permit(self: &Arc<Self>, worker: usize) -> (ConnectionPermit, u64) {
        let previous = self.total.fetch_add(1, Ordering::Relaxed);
        let permit = ConnectionPermit { tracker: Arc::clone(self), worker };
        permit.update_count(|count| count.fetch_add(1, Ordering::Relaxed));
        (permit, previous)
    }

    /// Returns the worker that the connection of `permit` should move to. That is the worker with the fewest
    /// connections, if the present one has more than 1.3 × the mean and the move reduces the difference.
    pub(super) fn less_loaded(&self, permit: &ConnectionPermit) -> Option<usize> {
        let own = self.slots.get(permit.worker)?.connections.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        if own * 10 * self.slots.len() as u64 <= total * MAX_LOAD_TENTHS {
            return None;
        }
        let counts = self.slots.iter().map(|slot| slot.connections.load(Ordering::Relaxed));
        let (worker, fewest) = counts.enumerate().min_by_key(|(_, connections)| *connections)?;
        (fewest + 1 < own).then_some(worker)
    }

    /// Hands a connection off to `worker`.
    ///
    /// # Errors
    /// Returns the connection, with its permit unchanged, if that worker accepts no more.
    pub(super) fn hand_off(&self, mut handoff: Handoff, worker: usize) -> Result<(), Handoff> {
        let Some(slot) = self.slots.get(worker) else { return Err(handoff) };
        let own = handoff.permit.worker;
        handoff.permit.move_to(worker);
        slot.handoff_tx.send(handoff).map_err(|mut returned| {
            returned.0.permit.move_to(own);
            returned.0
        })
    }
}

impl ConnectionPermit {
    /// Counts the connection for another worker.
    fn move_to(&mut self, worker: usize) {
        self.update_count(|count| count.fetch_sub(1, Ordering::Relaxed));
        self.worker = worker;
        self.update_count(|count| count.fetch_add(1, Ordering::Relaxed));
    }

    fn update_count(&self, update: impl FnOnce(&AtomicU64) -> u64) {
        if let Some(slot) = self.tracker.slots.get(self.worker) {
            update(&slot.connections);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.update_count(|count| count.fetch_sub(1, Ordering::Relaxed));
        self.tracker.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(tracker: &ConnectionTracker) -> Vec<u64> {
        tracker.slots.iter().map(|slot| slot.connections.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn permits_at_the_limit_are_denied_until_one_is_released() {
        let workers = ConnectionTracker::for_workers(2, 2);
        let tracker = &workers[0].tracker;
        let first = tracker.acquire(0);
        let second = tracker.acquire(1);
        assert!(first.is_some() && second.is_some());
        for _ in 0..3 {
            assert!(tracker.acquire(0).is_none());
        }
        drop(first);
        let third = tracker.acquire(0);
        assert!(third.is_some() && tracker.acquire(1).is_none());
    }

    #[test]
    fn connection_moves_if_its_worker_is_overloaded() {
        struct Case {
            /// The first worker's count includes the connection to move.
            connections: &'static [usize],
            target: Option<usize>,
        }
        let case = |connections, target| Case { connections, target };
        for Case { connections, target } in [
            case(&[1], None),
            case(&[9], None),
            case(&[1, 0], None),
            case(&[2, 0], Some(1)),
            case(&[2, 1], None),
            case(&[3, 1], Some(1)),
            case(&[13, 7], None),
            case(&[14, 6], Some(1)),
            case(&[131, 100, 90, 79], Some(3)),
            case(&[130, 100, 91, 79], None),
            case(&[6, 2, 1, 2], Some(2)),
        ] {
            let workers = ConnectionTracker::for_workers(1000, connections.len());
            let tracker = &workers[0].tracker;
            let permits: Vec<_> = connections
                .iter()
                .enumerate()
                .flat_map(|(worker, count)| (0..*count).map(move |_| worker))
                .map(|worker| tracker.acquire(worker).unwrap())
                .collect();
            assert_eq!(tracker.less_loaded(&permits[0]), target, "{connections:?}");
        }
    }

    /// Whichever worker accepts, none has more than 1.3 × the mean and one connection.
    #[test]
    fn skewed_connections_are_spread_over_the_workers() {
        for workers in 1..=9 {
            let handles = ConnectionTracker::for_workers(1000, workers);
            let tracker = &handles[0].tracker;
            let mut permits = Vec::new();
            for number in 0..500_usize {
                let mut permit = tracker.acquire(number.pow(2) % workers.min(3)).unwrap();
                if let Some(other) = tracker.less_loaded(&permit) {
                    permit.move_to(other);
                }
                permits.push(permit);
                let most = counts(tracker).into_iter().max().unwrap();
                let mean = permits.len() as f64 / workers as f64;
                assert!(most as f64 <= mean * 1.3 + 1.0, "{most} of {} at {workers} workers", permits.len());
            }
        }
    }

    #[test]
    fn handoff_to_a_stopped_worker_is_returned() {
        let mut workers = ConnectionTracker::for_workers(9, 2);
        let tracker = Arc::clone(&workers[0].tracker);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handoff = || Handoff {
            stream: TcpStream::connect(address).unwrap(),
            peer: address,
            protocol: Protocol::Plain,
            permit: tracker.acquire(0).unwrap(),
        };
        tracker.hand_off(handoff(), 1).unwrap();
        assert_eq!(counts(&tracker), [0, 1]);
        drop(workers.remove(1));
        assert_eq!(counts(&tracker), [0, 0]);
        let returned = tracker.hand_off(handoff(), 1).unwrap_err();
        assert_eq!(returned.peer, address);
        drop(returned);
        assert_eq!((counts(&tracker), tracker.total.load(Ordering::Relaxed)), (vec![0, 0], 0));
    }
}
