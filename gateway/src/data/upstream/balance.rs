//! Load balancing: picks an endpoint of a backend, and a backend of a route.
//!
//! Round robin keeps its count when endpoints change. Each worker starts at a random turn, so that workers do not pick the
//! same endpoint at the same time. Least-request compares the requests in flight at two random endpoints, over all
//! workers: the counts of a single worker are mostly 0 or 1. Not here: health (`health`).

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;

use api::LoadBalancingType;

use super::endpoint::Endpoint;
use super::health::{EjectionCause, HealthStatus};

/// A failed attempt of a request at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailedAttempt {
    /// The connection was lost after the request was sent. Another endpoint is preferred.
    Disconnected(SocketAddr),
    /// The connect failed. The endpoint is not attempted again.
    Unreachable(SocketAddr),
}

/// The preference for an endpoint, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Preference {
    /// Its ejection is over, and this request probes it.
    Probe,
    /// It is healthy, and this request has not failed there.
    Fresh,
    /// It is healthy, but has lost this request.
    Repeat,
    /// It is ejected. It is picked if all are.
    Ejected,
}

/// The input of one pick besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection<'a> {
    pub(super) balancing: LoadBalancingType,
    /// Share of the endpoints that failed requests may eject.
    pub(super) max_ejected_percent: u8,
    pub(super) turn: usize,
    /// The failed attempts of the request.
    pub(super) failed_attempts: &'a [FailedAttempt],
    /// Milliseconds on the clock of [`super::health`].
    pub(super) now: u64,
}

/// Picks an endpoint. Returns `None` if the request found all of them unreachable. Calls `on_probe_due` with each
/// unreachable endpoint whose ejection is over.
pub(super) fn pick<'a>(
    endpoints: &'a [Rc<Endpoint>],
    selection: &Selection<'_>,
    on_probe_due: impl FnMut(&'a Rc<Endpoint>),
) -> Option<&'a Rc<Endpoint>> {
    let first = match selection.balancing {
        LoadBalancingType::RoundRobin => endpoints.get(selection.turn % endpoints.len().max(1)),
        LoadBalancingType::LeastRequest => pick_less_loaded(endpoints, selection.turn),
    }?;
    if selection.failed_attempts.is_empty() && first.health.status(selection.now) == HealthStatus::Healthy {
        return Some(first);
    }
    pick_by_preference(endpoints, selection, on_probe_due)
}

/// Compares two different random endpoints and returns the one with fewer requests in flight.
fn pick_less_loaded(endpoints: &[Rc<Endpoint>], turn: usize) -> Option<&Rc<Endpoint>> {
    let count = endpoints.len();
    let random = splitmix64(turn);
    let a = random % count.max(1);
    let b = (a + 1 + (random >> 32) % count.saturating_sub(1).max(1)) % count.max(1);
    let (a, b) = (endpoints.get(a)?, endpoints.get(b)?);
    Some(if b.health.in_flight() < a.health.in_flight() { b } else { a })
}

/// The slow path with an unhealthy endpoint or a failed attempt: takes turns among the endpoints of the best preference.
fn pick_by_preference<'a>(
    endpoints: &'a [Rc<Endpoint>],
    selection: &Selection<'_>,
    mut on_probe_due: impl FnMut(&'a Rc<Endpoint>),
) -> Option<&'a Rc<Endpoint>> {
    let Selection { balancing, max_ejected_percent, turn, failed_attempts, now } = *selection;
    // If most endpoints fail requests, the likely cause is common to all (the requests, a database), and the rest would
    // fail under the load. Failing endpoints then count as healthy; unreachable ones never do.
    let failing = |endpoint: &&Rc<Endpoint>| {
        matches!(
            endpoint.health.status(now),
            HealthStatus::Ejected(EjectionCause::Failing) | HealthStatus::ProbeDue(EjectionCause::Failing)
        )
    };
    let ignores_failing =
        endpoints.iter().filter(failing).count() * 100 > endpoints.len() * usize::from(max_ejected_percent);
    let mut preference = |endpoint: &'a Rc<Endpoint>| {
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
            // Only a request can show whether the endpoint responds again.
            HealthStatus::ProbeDue(EjectionCause::Failing)
                if failed_attempts.is_empty() && endpoint.health.try_claim_probe(now) =>
            {
                Preference::Probe
            }
            HealthStatus::ProbeDue(EjectionCause::Unreachable) => {
                on_probe_due(endpoint);
                Preference::Ejected
            }
            HealthStatus::Ejected(_) | HealthStatus::ProbeDue(_) => Preference::Ejected,
        })
    };
    let candidates: Vec<_> =
        endpoints.iter().filter_map(|endpoint| Some((preference(endpoint)?, endpoint))).collect();
    let best = candidates.iter().map(|(preference, _)| *preference).min()?;
    let among =
        || candidates.iter().filter(|(preference, _)| *preference == best).map(|(_, endpoint)| *endpoint);
    let count = endpoints.len().max(1);
    let by_turn = endpoints.get(turn % count)?;
    match balancing {
        LoadBalancingType::LeastRequest => among().min_by_key(|endpoint| endpoint.health.in_flight()),
        LoadBalancingType::RoundRobin if among().any(|endpoint| Rc::ptr_eq(endpoint, by_turn)) => {
            Some(by_turn)
        }
        // An ejected endpoint has every `count`th turn. The division spreads its turns evenly over the others.
        LoadBalancingType::RoundRobin => among().nth(turn / count % among().count().max(1)),
    }
}

/// Returns the index that gets turn number `turn` by weight, or `None` if all weights are 0.
///
/// A Weyl sequence of the golden ratio spreads the turns. After any number of turns each index has had its share within
/// a few turns, and the turns of one index do not come in a row.
pub(super) fn weighted_index(turn: usize, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let total: u64 = weights.clone().map(u64::from).sum();
    let point = (u128::from((turn as u64).wrapping_mul(GOLDEN)) * u128::from(total)) >> 64;
    let mut sum = 0u128;
    weights.enumerate().find_map(|(index, weight)| {
        sum += u128::from(weight);
        (point < sum).then_some(index)
    })
}

/// Returns a random first turn.
pub(super) fn random_start() -> usize {
    // Halved, so that the count does not overflow while the process runs.
    usize::try_from(RandomState::new().hash_one(0) >> 1).unwrap_or(0)
}

/// Hashes a turn (the finaliser of SplitMix64).
fn splitmix64(turn: usize) -> usize {
    let mut mixed = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(mixed ^ (mixed >> 31)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
