//! Who is connected, over all workers: how many clients may be, and which worker gets the next one.
//!
//! The limit is below the number of file descriptors, so that one is left for each client's endpoint, for the admin
//! pages and for the folder. The kernel spreads connections over the workers' sockets by a hash, which is even only
//! over many of them: what a worker with too many accepts goes to the one with the fewest. Not here: what becomes of a
//! client that gets no permit (`accept`).

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::Protocol;

/// A worker has too many connections if it has more than so many tenths of the mean.
const MAX_LOAD_TENTHS: u64 = 13;

/// A connection that one worker accepted for another.
#[derive(Debug)]
pub(super) struct Handoff {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) permit: ConnectionPermit,
}

/// All connections of the process. No number here guards other memory, so no ordering is needed.
#[derive(Debug)]
pub struct ConnectionTracker {
    /// How many clients may be connected.
    max_connections: u64,
    /// How many are.
    total: AtomicU64,
    /// By worker.
    slots: Box<[WorkerSlot]>,
}

/// One worker's part of it.
#[derive(Debug)]
struct WorkerSlot {
    connections: AtomicU64,
    handoff_tx: mpsc::UnboundedSender<Handoff>,
}

/// One worker's access to the tracker.
#[derive(Debug)]
pub struct WorkerConnections {
    /// The worker's number, from 0.
    pub(super) worker: usize,
    pub(super) tracker: Arc<ConnectionTracker>,
    /// What the others accepted for this worker.
    pub(super) handoff_rx: mpsc::UnboundedReceiver<Handoff>,
}

/// Permission for one client connection. Dropping it releases it.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    tracker: Arc<ConnectionTracker>,
    worker: usize,
}

impl ConnectionTracker {
    /// Makes a tracker of at most `max_connections` clients and returns one access for each worker.
    pub fn for_workers(max_connections: u64, workers: usize) -> Vec<WorkerConnections> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let slots = senders
            .into_iter()
            .map(|handoff_tx| WorkerSlot { connections: AtomicU64::new(0), handoff_tx })
            .collect();
        let tracker = Arc::new(Self { max_connections, total: AtomicU64::new(0), slots });
        let connections =
            |(worker, handoff_rx)| WorkerConnections { worker, tracker: Arc::clone(&tracker), handoff_rx };
        receivers.into_iter().enumerate().map(connections).collect()
    }

    /// Acquires a permit for a connection of `worker`. Returns `None` if the limit is reached.
    pub(super) fn acquire(self: &Arc<Self>, worker: usize) -> Option<ConnectionPermit> {
        let previous = self.total.fetch_add(1, Ordering::Relaxed);
        // Made in any case: dropping it takes back what was added.
        let permit = ConnectionPermit { tracker: Arc::clone(self), worker };
        permit.update_count(|count| count.fetch_add(1, Ordering::Relaxed));
        (previous < self.max_connections).then_some(permit)
    }

    /// The worker that should have the connection of this permit, if that is another one: its own has more than 1.3 ×
    /// the mean, and moving it makes things better.
    pub(super) fn less_loaded(&self, permit: &ConnectionPermit) -> Option<usize> {
        let own = self.slots.get(permit.worker)?.connections.load(Ordering::Relaxed);
        let all = self.total.load(Ordering::Relaxed);
        if own * 10 * self.slots.len() as u64 <= all * MAX_LOAD_TENTHS {
            return None;
        }
        let counts = self.slots.iter().map(|slot| slot.connections.load(Ordering::Relaxed));
        let (worker, fewest) = counts.enumerate().min_by_key(|(_, connected)| *connected)?;
        (fewest + 1 < own).then_some(worker)
    }

    /// Hands a connection to a worker. It comes back with its permit if that worker accepts nothing more.
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
    /// Counts the connection at another worker.
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

    #[test]
    fn as_many_places_as_there_are_can_be_taken_and_come_back() {
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
    fn a_connection_moves_if_its_worker_has_too_many_and_another_has_two_less() {
        for (counts, expected) in [
            (&[1][..], None),
            (&[9], None),
            // The first worker's count includes the connection that is asked about.
            (&[1, 0], None),
            (&[2, 0], Some(1)),
            (&[2, 1], None),
            (&[3, 1], Some(1)),
            (&[13, 7], None),
            (&[14, 6], Some(1)),
            (&[131, 100, 90, 79], Some(3)),
            (&[130, 100, 91, 79], None),
            (&[6, 2, 1, 2], Some(2)),
        ] {
            let workers = ConnectionTracker::for_workers(1000, counts.len());
            let tracker = &workers[0].tracker;
            let permits: Vec<_> = counts
                .iter()
                .enumerate()
                .flat_map(|(worker, count)| (0..*count).map(move |_| worker))
                .map(|worker| tracker.acquire(worker).unwrap())
                .collect();
            assert_eq!(tracker.less_loaded(&permits[0]), expected, "{counts:?}");
        }
    }

    /// Wherever the kernel lets them in, nobody has more than 1.3 × the mean and one connection.
    #[test]
    fn however_they_come_in_they_are_spread() {
        for workers in 1..=9 {
            let handles = ConnectionTracker::for_workers(1000, workers);
            let tracker = &handles[0].tracker;
            let mut permits = Vec::new();
            for number in 0..500_usize {
                let mut permit = tracker.acquire(number.pow(2) % workers.min(3)).unwrap();
                if let Some(better) = tracker.less_loaded(&permit) {
                    permit.move_to(better);
                }
                permits.push(permit);
                let most =
                    tracker.slots.iter().map(|slot| slot.connections.load(Ordering::Relaxed)).max().unwrap();
                let mean = permits.len() as f64 / workers as f64;
                assert!(most as f64 <= mean * 1.3 + 1.0, "{most} of {} at {workers} workers", permits.len());
            }
        }
    }

    #[test]
    fn whoever_has_left_gets_nothing_and_all_places_come_back() {
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
        let counts =
            || tracker.slots.iter().map(|slot| slot.connections.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(counts(), [0, 1]);
        drop(workers.remove(1));
        assert_eq!(counts(), [0, 0]);
        let returned = tracker.hand_off(handoff(), 1).unwrap_err();
        assert_eq!(returned.peer, address);
        drop(returned);
        assert_eq!((counts(), tracker.total.load(Ordering::Relaxed)), (vec![0, 0], 0));
    }
}
