//! Picks among healthy and ejected endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::data::upstream::ConnectError;
use crate::data::upstream::health::EndpointHealth;

const RR: LoadBalancingType = LoadBalancingType::RoundRobin;
const LR: LoadBalancingType = LoadBalancingType::LeastRequest;

fn endpoints(count: u16) -> Vec<Rc<Endpoint>> {
    (1..=count)
        .map(|port| Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)), EndpointHealth::default()))
        .collect()
}

fn health(endpoints: &[Rc<Endpoint>], index: usize) -> &EndpointHealth {
    &endpoints[index].health
}

/// Records a refused connect.
fn refuse(endpoints: &[Rc<Endpoint>], index: usize) {
    health(endpoints, index).on_connect_failure(ConnectError::Refused, Duration::from_secs(1), 0);
}

fn selection(balancing: LoadBalancingType, turn: usize, now: u64) -> Selection<'static> {
    Selection { balancing, max_ejected_percent: 50, turn, failed_attempts: &[], now }
}

/// Returns how many of 120 turns each port gets.
fn spread(endpoints: &[Rc<Endpoint>], kind: LoadBalancingType, now: u64) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for turn in 0..120 {
        let picked = pick(endpoints, &selection(kind, turn, now), |_| {}).unwrap();
        *counts.entry(picked.address.port()).or_default() += 1;
    }
    counts
}

#[test]
fn weights_are_met_after_any_number_of_turns() {
    let weights = [90u32, 0, 9, 1];
    for turns in [100usize, 1000, 10_000] {
        let mut counts = [0usize; 4];
        for turn in 0..turns {
            counts[weighted_index(turn, weights.iter().copied()).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let expected = turns * weight as usize / 100;
            assert!(count.abs_diff(expected) <= 4, "{counts:?} of {turns}");
        }
    }
    assert_eq!(weighted_index(7, [0u32, 0].into_iter()), None);
    assert!(weighted_index(7, [u32::MAX; 8].into_iter()).is_some());
}

#[test]
fn turns_of_an_ejected_endpoint_are_spread_evenly() {
    let list = endpoints(4);
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(1, 30), (2, 30), (3, 30), (4, 30)]));
    refuse(&list, 1);
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(1, 40), (3, 40), (4, 40)]));
}

#[test]
fn all_endpoints_are_used_if_all_are_ejected() {
    let list = endpoints(3);
    for index in 0..3 {
        refuse(&list, index);
    }
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(1, 40), (2, 40), (3, 40)]));
}

#[test]
fn failing_endpoints_are_used_if_more_than_half_fail() {
    let fail = |list: &[Rc<Endpoint>], index: usize| {
        (0..5).for_each(|_| health(list, index).on_request_failure(0));
    };
    let list = endpoints(4);
    fail(&list, 0);
    fail(&list, 1);
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(3, 60), (4, 60)]), "half is allowed");
    fail(&list, 2);
    assert_eq!(spread(&list, RR, 0).len(), 4, "more than half is not");
    let list = endpoints(4);
    for index in 0..3 {
        refuse(&list, index);
    }
    assert_eq!(spread(&list, RR, 0), BTreeMap::from([(4, 120)]));
    let alone = endpoints(1);
    fail(&alone, 0);
    assert_eq!(spread(&alone, RR, 0).len(), 1);
}

#[test]
fn share_of_ejected_endpoints_follows_the_setting() {
    struct Case {
        max_ejected_percent: u8,
        failing: usize,
        /// Endpoints that get requests.
        used: usize,
    }
    for Case { max_ejected_percent, failing, used } in [
        Case { max_ejected_percent: 0, failing: 1, used: 10 },
        Case { max_ejected_percent: 10, failing: 1, used: 9 },
        Case { max_ejected_percent: 10, failing: 2, used: 10 },
        Case { max_ejected_percent: 90, failing: 9, used: 1 },
        Case { max_ejected_percent: 100, failing: 9, used: 1 },
        Case { max_ejected_percent: 100, failing: 10, used: 10 },
    ] {
        let list = endpoints(10);
        for index in 0..failing {
            (0..5).for_each(|_| health(&list, index).on_request_failure(0));
        }
        let picked: std::collections::BTreeSet<_> = (0..100)
            .map(|turn| {
                let selection = Selection { max_ejected_percent, ..selection(RR, turn, 0) };
                pick(&list, &selection, |_| {}).unwrap().address
            })
            .collect();
        assert_eq!(picked.len(), used, "{failing} of 10 at {max_ejected_percent} %");
    }
}

#[test]
fn unreachable_endpoint_is_probed_apart_failing_by_one_request() {
    let list = endpoints(3);
    refuse(&list, 0);
    let mut probes = 0;
    for turn in 0..30 {
        let picked = pick(&list, &selection(RR, turn, 1_000), |endpoint| {
            probes += u32::from(endpoint.health.try_claim_probe(1_000))
        });
        assert_ne!(picked.unwrap().address.port(), 1, "no request probes it");
    }
    assert_eq!(probes, 1);
    let list = endpoints(3);
    (0..5).for_each(|_| health(&list, 0).on_request_failure(0));
    assert_eq!(spread(&list, RR, 1_000).get(&1), Some(&1));
}

#[test]
fn retry_prefers_another_and_skips_unreachable_endpoints() {
    let list = endpoints(3);
    let at = |index: usize| list[index].address;
    let picked = |failed_attempts: &[FailedAttempt]| {
        pick(&list, &Selection { failed_attempts, ..selection(RR, 0, 0) }, |_| {})
            .map(|endpoint| endpoint.address)
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
    assert_eq!(picked(&[0, 1, 2].map(|index| FailedAttempt::Unreachable(at(index)))), None);
    // An ejected endpoint is worse than the one that lost the request.
    refuse(&list, 1);
    refuse(&list, 2);
    assert_eq!(picked(&[FailedAttempt::Disconnected(at(0))]), Some(at(0)));
}

#[test]
fn least_request_prefers_the_less_loaded_of_two() {
    let list = endpoints(4);
    assert!(
        spread(&list, LR, 0).values().all(|count| (15..=45).contains(count)),
        "at random if all are idle"
    );
    (0..10).for_each(|_| health(&list, 2).on_request_start());
    let busy = spread(&list, LR, 0);
    assert_eq!(busy.get(&3), None, "another endpoint is always less loaded: {busy:?}");
    refuse(&list, 0);
    let ejected = spread(&list, LR, 0);
    assert_eq!((ejected.get(&1), ejected.get(&3)), (None, None), "{ejected:?}");
    let mut probes = 0;
    for turn in 0..30 {
        pick(&list, &selection(LR, turn, 1_000), |endpoint| {
            probes += u32::from(endpoint.health.try_claim_probe(1_000))
        });
    }
    assert_eq!(probes, 1, "an ejected endpoint is probed");
    assert_eq!(spread(&endpoints(1), LR, 0).len(), 1);
    assert_eq!(spread(&endpoints(2), LR, 0).len(), 2);
}
