//! Which endpoint is next, and which backend of several.
//!
//! Round robin goes on counting when endpoints change, from a start that differs from worker to worker, so that
//! many workers do not march in step. Least-request compares two endpoints taken at random by their requests in
//! flight, counted over all workers: one worker's own count would be 0 or 1 for nearly all. Not here: what makes an
//! endpoint ill (`health`).

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;

use api::LoadBalancingType;

use super::endpoint::Endpoint;
use super::health::{EjectionCause, HealthStatus};

/// An endpoint that a request met already, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailedAttempt {
    /// It lost the request: another one is better.
    Disconnected(SocketAddr),
    /// It gave no connection: it is not asked again.
    Unreachable(SocketAddr),
}

/// What an endpoint is good for at this moment; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Preference {
    /// It is ejected, and this request is to find out whether it answers again.
    Probe,
    /// It is well, and this request has not been there.
    Fresh,
    /// It is well, but lost this request once.
    Repeat,
    /// It is ejected; when all are, that is no reason.
    Ejected,
}

/// Picks an endpoint; none if the request found all of them unreachable. `due` is called with endpoints that
/// somebody should try to connect to.
pub(super) fn pick<'a>(
    endpoints: &'a [Rc<Endpoint>],
    (kind, turn): (LoadBalancingType, usize),
    failed_attempts: &[FailedAttempt],
    now: u64,
    due: impl FnMut(&'a Rc<Endpoint>),
) -> Option<&'a Rc<Endpoint>> {
    let first = match kind {
        LoadBalancingType::RoundRobin => endpoints.get(turn % endpoints.len().max(1)),
        LoadBalancingType::LeastRequest => pick_less_loaded(endpoints, turn),
    }?;
    if failed_attempts.is_empty() && first.health.status(now) == HealthStatus::Healthy {
        return Some(first);
    }
    pick_by_preference(endpoints, (kind, turn), failed_attempts, now, due)
}

/// Takes two different endpoints at random and gives the one with fewer requests in flight.
fn pick_less_loaded(endpoints: &[Rc<Endpoint>], turn: usize) -> Option<&Rc<Endpoint>> {
    let count = endpoints.len();
    let random = splitmix64(turn);
    let a = random % count.max(1);
    let b = (a + 1 + (random >> 32) % count.saturating_sub(1).max(1)) % count.max(1);
    let (a, b) = (endpoints.get(a)?, endpoints.get(b)?);
    Some(if b.health.in_flight() < a.health.in_flight() { b } else { a })
}

/// The way when something is ill: looks at all endpoints, and takes turns among the best of them.
fn pick_by_preference<'a>(
    endpoints: &'a [Rc<Endpoint>],
    (kind, turn): (LoadBalancingType, usize),
    failed_attempts: &[FailedAttempt],
    now: u64,
    mut due: impl FnMut(&'a Rc<Endpoint>),
) -> Option<&'a Rc<Endpoint>> {
    // Where more than half seem to fail, it is rather something else that fails (the requests, a database), and
    // the rest would break under the load: then failing answers are no reason. That connecting fails is a fact.
    let failing = |endpoint: &&Rc<Endpoint>| {
        matches!(
            endpoint.health.status(now),
            HealthStatus::Ejected(EjectionCause::Failing) | HealthStatus::ProbeDue(EjectionCause::Failing)
        )
    };
    let ignores_failing = endpoints.iter().filter(failing).count() * 2 > endpoints.len();
    let mut choice = |endpoint: &'a Rc<Endpoint>| {
        if failed_attempts.contains(&FailedAttempt::Unreachable(endpoint.address)) {
            return None;
        }
        let fresh = if failed_attempts.contains(&FailedAttempt::Disconnected(endpoint.address)) {
            Preference::Repeat
        } else {
            Preference::Fresh
        };
        Some(match endpoint.health.status(now) {
            HealthStatus::Healthy => fresh,
            HealthStatus::Ejected(EjectionCause::Failing)
            | HealthStatus::ProbeDue(EjectionCause::Failing)
                if ignores_failing =>
            {
                fresh
            }
            // Whether it answers again only a request can tell: this one.
            HealthStatus::ProbeDue(EjectionCause::Failing)
                if failed_attempts.is_empty() && endpoint.health.try_claim_probe(now) =>
            {
                Preference::Probe
            }
            HealthStatus::ProbeDue(EjectionCause::Unreachable) => {
                due(endpoint);
                Preference::Ejected
            }
            HealthStatus::Ejected(_) | HealthStatus::ProbeDue(_) => Preference::Ejected,
        })
    };
    let choices: Vec<_> =
        endpoints.iter().filter_map(|endpoint| Some((choice(endpoint)?, endpoint))).collect();
    let best = choices.iter().map(|(choice, _)| *choice).min()?;
    let among = || choices.iter().filter(|(choice, _)| *choice == best).map(|(_, endpoint)| *endpoint);
    let count = endpoints.len().max(1);
    let whose_turn = endpoints.get(turn % count)?;
    match kind {
        LoadBalancingType::LeastRequest => among().min_by_key(|endpoint| endpoint.health.in_flight()),
        LoadBalancingType::RoundRobin if among().any(|endpoint| Rc::ptr_eq(endpoint, whose_turn)) => {
            Some(whose_turn)
        }
        // The turns of an ejected endpoint come round every `count`: dividing hands them to all others in turn.
        LoadBalancingType::RoundRobin => among().nth(turn / count % among().count().max(1)),
    }
}

/// Gives turn number `turn` to one of several shares; their place, or nothing if all are 0.
///
/// Turns are spread by the golden ratio (a Weyl sequence), so that after any number of turns each share has had
/// what it is due, give or take a few, and no share gets its turns in a row.
pub(super) fn weighted_index(turn: usize, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
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
pub(super) fn random_start() -> usize {
    // Halved, so that counting up never wraps within a life.
    usize::try_from(RandomState::new().hash_one(0) >> 1).unwrap_or(0)
}

/// Spreads consecutive turns over all numbers (the finaliser of SplitMix64).
fn splitmix64(turn: usize) -> usize {
    let mut mixed = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(mixed ^ (mixed >> 31)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
