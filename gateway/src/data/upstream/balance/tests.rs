//! Turns with healthy and ejected endpoints, on their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::data::upstream::health::Health;

const RR: LoadBalancingType = LoadBalancingType::RoundRobin;
const LR: LoadBalancingType = LoadBalancingType::LeastRequest;

fn endpoints(count: u16) -> Vec<Rc<Endpoint>> {
    (1..=count).map(|port| Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)), Arc::default())).collect()
}

fn health(endpoints: &[Rc<Endpoint>], place: usize) -> &Health {
    &endpoints[place].health
}

/// How many of these turns each port gets; `due` are the ports that were to be tried.
fn spread(endpoints: &[Rc<Endpoint>], kind: LoadBalancingType, now: u64) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for turn in 0..120 {
        let picked = pick(endpoints, (kind, turn), &[], now, |_| {}).unwrap();
        *counts.entry(picked.address.port()).or_default() += 1;
    }
    counts
}

#[test]
fn shares_are_met_after_any_number_of_turns() {
    let weights = [90u32, 0, 9, 1];
    for turns in [100usize, 1000, 10_000] {
        let mut counts = [0usize; 4];
        for turn in 0..turns {
            counts[weighted_index(turn, weights.iter().copied()).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let due = turns * weight as usize / 100;
            assert!(count.abs_diff(due) <= 4, "{counts:?} of {turns}");
        }
    }
    assert_eq!(weighted_index(7, [0u32, 0].into_iter()), None);
    assert!(weighted_index(7, [u32::MAX; 8].into_iter()).is_some());
}

#[test]
fn the_turns_of_an_ejected_endpoint_are_shared_out_evenly() {
    let list = endpoints(4);
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(1, 30), (2, 30), (3, 30), (4, 30)]));
    health(&list, 1).on_failure(EjectionCause::Unreachable, 0);
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(1, 40), (3, 40), (4, 40)]));
}

#[test]
fn when_all_endpoints_are_ejected_all_are_used() {
    let list = endpoints(3);
    for place in 0..3 {
        health(&list, place).on_failure(EjectionCause::Unreachable, 0);
    }
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(1, 40), (2, 40), (3, 40)]));
}

#[test]
fn failing_answers_never_eject_more_than_half_and_refused_connections_all_but_one() {
    let fail = |list: &[Rc<Endpoint>], place: usize| {
        (0..5).for_each(|_| health(list, place).on_failure(EjectionCause::Failing, 0));
    };
    let list = endpoints(4);
    fail(&list, 0);
    fail(&list, 1);
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(3, 60), (4, 60)]), "half is allowed");
    fail(&list, 2);
    assert_eq!(spread(&list, RR, 0).len(), 4, "more than half is not");
    let list = endpoints(4);
    for place in 0..3 {
        health(&list, place).on_failure(EjectionCause::Unreachable, 0);
    }
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(4, 120)]));
    let alone = endpoints(1);
    fail(&alone, 0);
    assert_eq!(spread(&alone, RR, 0).len(), 1);
}

#[test]
fn an_endpoint_that_was_unreachable_is_tried_beside_requests_and_a_failing_one_by_a_single_request() {
    let list = endpoints(3);
    health(&list, 0).on_failure(EjectionCause::Unreachable, 0);
    let mut tried = 0;
    for turn in 0..30 {
        let picked = pick(&list, (RR, turn), &[], 1_000, |endpoint| {
            tried += u32::from(endpoint.health.try_claim_probe(1_000))
        });
        assert_ne!(picked.unwrap().address.port(), 1, "no request pays for it");
    }
    assert_eq!(tried, 1);
    let list = endpoints(3);
    (0..5).for_each(|_| health(&list, 0).on_failure(EjectionCause::Failing, 0));
    assert_eq!(spread(&list, RR, 1_000).get(&1), Some(&1));
}

#[test]
fn a_request_is_tried_again_elsewhere_and_never_where_it_found_nobody() {
    let list = endpoints(3);
    let at = |place: usize| list[place].address;
    let picked = |failed_attempts: &[FailedAttempt]| {
        pick(&list, (RR, 0), failed_attempts, 0, |_| {}).map(|endpoint| endpoint.address)
    };
    assert_eq!(picked(&[]), Some(at(0)));
    assert_ne!(picked(&[FailedAttempt::Disconnected(at(0))]), Some(at(0)));
    assert_eq!(picked(&[FailedAttempt::Disconnected(at(0)), FailedAttempt::Unreachable(at(1))]), Some(at(2)));
    assert_eq!(
        picked(&[
            FailedAttempt::Disconnected(at(0)),
            FailedAttempt::Unreachable(at(1)),
            FailedAttempt::Unreachable(at(2))
        ]),
        Some(at(0))
    );
    assert_eq!(picked(&[0, 1, 2].map(|place| FailedAttempt::Unreachable(at(place)))), None);
    // An ejected one is worse than the one that lost the request over a stale connection.
    health(&list, 1).on_failure(EjectionCause::Unreachable, 0);
    health(&list, 2).on_failure(EjectionCause::Unreachable, 0);
    assert_eq!(picked(&[FailedAttempt::Disconnected(at(0))]), Some(at(0)));
}

#[test]
fn least_request_prefers_the_less_busy_of_two_and_reaches_everybody() {
    let list = endpoints(4);
    assert!(
        spread(&list, LR, 0).values().all(|count| (15..=45).contains(count)),
        "at random if all are idle"
    );
    (0..10).for_each(|_| health(&list, 2).on_request_start());
    let busy = spread(&list, LR, 0);
    assert_eq!(busy.get(&3), None, "somebody is always less busy: {busy:?}");
    health(&list, 0).on_failure(EjectionCause::Unreachable, 0);
    let ejected = spread(&list, LR, 0);
    assert_eq!((ejected.get(&1), ejected.get(&3)), (None, None), "{ejected:?}");
    let mut tried = 0;
    for turn in 0..30 {
        pick(&list, (LR, turn), &[], 1_000, |endpoint| {
            tried += u32::from(endpoint.health.try_claim_probe(1_000))
        });
    }
    assert_eq!(tried, 1, "an ejected one is not forgotten");
    assert_eq!(spread(&endpoints(1), LR, 0).len(), 1);
    assert_eq!(spread(&endpoints(2), LR, 0).len(), 2);
}
