//! Whose turn it is: round robin among endpoints and shares among backends, from a random start so that many
//! workers do not march in step.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;

#[derive(Debug)]
struct Place {
    next: usize,
    used: bool,
}

/// What turns are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// The endpoints of the backend with this number.
    Endpoints(u64),
    /// The shares of a route whose first backend has this number.
    Shares(u64),
}

/// The places of one worker.
#[derive(Debug, Default)]
pub(super) struct Balance {
    places: RefCell<HashMap<Of, Place>>,
}

impl Balance {
    /// Gives the next turn. It goes on counting when endpoints change.
    pub(super) fn next(&self, of: Of) -> usize {
        let mut places = self.places.borrow_mut();
        let place = places.entry(of).or_insert_with(|| Place { next: random(), used: true });
        place.used = true;
        place.next = place.next.wrapping_add(1);
        place.next
    }

    /// Forgets backends that had no request since the last sweep but one; called about once a minute.
    pub(super) fn sweep(&self) {
        self.places.borrow_mut().retain(|_, place| std::mem::replace(&mut place.used, false));
    }
}

/// Gives turn number `turn` to one of several shares; their place, or nothing if all are 0.
///
/// Turns are spread by the golden ratio (a Weyl sequence), so that after any number of turns each share has had
/// what it is due, give or take a few, and no share gets its turns in a row.
pub(super) fn share(turn: usize, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let total: u64 = weights.clone().map(u64::from).sum();
    let point = (u128::from((turn as u64).wrapping_mul(GOLDEN)) * u128::from(total)) >> 64;
    let mut sum = 0u128;
    weights.enumerate().find_map(|(place, weight)| {
        sum += u128::from(weight);
        (point < sum).then_some(place)
    })
}

/// A start that differs from worker to worker and from process to process.
fn random() -> usize {
    // Halved, so that counting up never wraps within a life.
    usize::try_from(RandomState::new().hash_one(0) >> 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met_after_any_number_of_turns() {
        let weights = [90u32, 0, 9, 1];
        for turns in [100usize, 1000, 10_000] {
            let mut counts = [0usize; 4];
            for turn in 0..turns {
                counts[share(turn, weights.iter().copied()).unwrap()] += 1;
            }
            for (count, weight) in counts.iter().zip(weights) {
                let due = turns * weight as usize / 100;
                assert!(count.abs_diff(due) <= 4, "{counts:?} of {turns}");
            }
        }
        assert_eq!(share(7, [0u32, 0].into_iter()), None);
        assert!(share(7, [u32::MAX; 8].into_iter()).is_some());
    }

    #[test]
    fn turns_go_round_and_keep_their_place_when_endpoints_change() {
        let balance = Balance::default();
        let first = balance.next(Of::Endpoints(7));
        assert_eq!(balance.next(Of::Endpoints(7)), first + 1);
        balance.sweep();
        assert_eq!(balance.next(Of::Endpoints(7)), first + 2, "a used place survives a sweep");
    }
}
