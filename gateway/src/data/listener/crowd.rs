//! Who is connected, over all workers: how many clients may be, and which worker gets the next one.
//!
//! The limit is below the number of file descriptors, so that one is left for each client's endpoint, for the admin
//! pages and for the folder. The kernel spreads connections over the workers' sockets by a hash, which is even only
//! over many of them: what a worker with too many accepts goes to the one with the fewest. Not here: what becomes of a
//! client that finds no place (`accept`).

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::Protocol;

/// A worker has too many connections if it has more than so many tenths of the mean.
const SKEWED: u64 = 13;

/// A connection that one worker accepted for another.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) place: Place,
}

/// All connections of the process. No number here guards other memory, so no ordering is needed.
#[derive(Debug)]
pub struct Crowd {
    /// How many clients may be connected.
    most: u64,
    /// How many are.
    all: AtomicU64,
    /// By worker.
    seats: Box<[Seat]>,
}

/// One worker's part of it.
#[derive(Debug)]
struct Seat {
    connected: AtomicU64,
    door: mpsc::UnboundedSender<Arrival>,
}

/// What makes a worker one of the crowd.
#[derive(Debug)]
pub struct Member {
    /// The worker's number, from 0.
    pub(super) number: usize,
    pub(super) crowd: Arc<Crowd>,
    /// What the others accepted for this worker.
    pub(super) arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// One client's place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    worker: usize,
}

impl Crowd {
    /// A crowd of at most so many clients, and its workers.
    pub fn of(most: u64, workers: usize) -> Vec<Member> {
        let (doors, arrivals): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let seats = doors.into_iter().map(|door| Seat { connected: AtomicU64::new(0), door }).collect();
        let crowd = Arc::new(Self { most, all: AtomicU64::new(0), seats });
        let member = |(number, arrivals)| Member { number, crowd: Arc::clone(&crowd), arrivals };
        arrivals.into_iter().enumerate().map(member).collect()
    }

    /// Takes a place at a worker, if one is free.
    pub(super) fn take(self: &Arc<Self>, worker: usize) -> Option<Place> {
        let taken = self.all.fetch_add(1, Ordering::Relaxed);
        // Made in any case: dropping it takes back what was added.
        let place = Place { crowd: Arc::clone(self), worker };
        place.change(|connected| connected.fetch_add(1, Ordering::Relaxed));
        (taken < self.most).then_some(place)
    }

    /// The worker that should have the connection in this place, if that is another one: its own has more than 1.3 ×
    /// the mean, and moving it makes things better.
    pub(super) fn better(&self, place: &Place) -> Option<usize> {
        let own = self.seats.get(place.worker)?.connected.load(Ordering::Relaxed);
        let all = self.all.load(Ordering::Relaxed);
        if own * 10 * self.seats.len() as u64 <= all * SKEWED {
            return None;
        }
        let counts = self.seats.iter().map(|seat| seat.connected.load(Ordering::Relaxed));
        let (worker, fewest) = counts.enumerate().min_by_key(|(_, connected)| *connected)?;
        (fewest + 1 < own).then_some(worker)
    }

    /// Hands a connection to a worker. It comes back with its place if that worker accepts nothing more.
    pub(super) fn hand_over(&self, mut arrival: Arrival, worker: usize) -> Result<(), Arrival> {
        let Some(seat) = self.seats.get(worker) else { return Err(arrival) };
        let own = arrival.place.worker;
        arrival.place.move_to(worker);
        seat.door.send(arrival).map_err(|mut refused| {
            refused.0.place.move_to(own);
            refused.0
        })
    }
}

impl Place {
    /// Counts the connection at another worker.
    fn move_to(&mut self, worker: usize) {
        self.change(|connected| connected.fetch_sub(1, Ordering::Relaxed));
        self.worker = worker;
        self.change(|connected| connected.fetch_add(1, Ordering::Relaxed));
    }

    fn change(&self, change: impl FnOnce(&AtomicU64) -> u64) {
        if let Some(seat) = self.crowd.seats.get(self.worker) {
            change(&seat.connected);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.change(|connected| connected.fetch_sub(1, Ordering::Relaxed));
        self.crowd.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_as_there_are_can_be_taken_and_come_back() {
        let members = Crowd::of(2, 2);
        let crowd = &members[0].crowd;
        let first = crowd.take(0);
        let second = crowd.take(1);
        assert!(first.is_some() && second.is_some());
        for _ in 0..3 {
            assert!(crowd.take(0).is_none());
        }
        drop(first);
        let third = crowd.take(0);
        assert!(third.is_some() && crowd.take(1).is_none());
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
            let members = Crowd::of(1000, counts.len());
            let crowd = &members[0].crowd;
            let places: Vec<_> = counts
                .iter()
                .enumerate()
                .flat_map(|(worker, count)| (0..*count).map(move |_| worker))
                .map(|worker| crowd.take(worker).unwrap())
                .collect();
            assert_eq!(crowd.better(&places[0]), expected, "{counts:?}");
        }
    }

    /// Wherever the kernel lets them in, nobody has more than 1.3 × the mean and one connection.
    #[test]
    fn however_they_come_in_they_are_spread() {
        for workers in 1..=9 {
            let members = Crowd::of(1000, workers);
            let crowd = &members[0].crowd;
            let mut places = Vec::new();
            for number in 0..500_usize {
                let mut place = crowd.take(number.pow(2) % workers.min(3)).unwrap();
                if let Some(better) = crowd.better(&place) {
                    place.move_to(better);
                }
                places.push(place);
                let most =
                    crowd.seats.iter().map(|seat| seat.connected.load(Ordering::Relaxed)).max().unwrap();
                let mean = places.len() as f64 / workers as f64;
                assert!(most as f64 <= mean * 1.3 + 1.0, "{most} of {} at {workers} workers", places.len());
            }
        }
    }

    #[test]
    fn whoever_has_left_gets_nothing_and_all_places_come_back() {
        let mut members = Crowd::of(9, 2);
        let crowd = Arc::clone(&members[0].crowd);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let arrival = || Arrival {
            stream: TcpStream::connect(address).unwrap(),
            peer: address,
            protocol: Protocol::Plain,
            place: crowd.take(0).unwrap(),
        };
        crowd.hand_over(arrival(), 1).unwrap();
        let counts =
            || crowd.seats.iter().map(|seat| seat.connected.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(counts(), [0, 1]);
        drop(members.remove(1));
        assert_eq!(counts(), [0, 0]);
        let refused = crowd.hand_over(arrival(), 1).unwrap_err();
        assert_eq!(refused.peer, address);
        drop(refused);
        assert_eq!((counts(), crowd.all.load(Ordering::Relaxed)), (vec![0, 0], 0));
    }
}
