//! Ratios, and void legs.

use super::Series;
use crate::bench::case::Workload;
use crate::bench::leg::Leg;
use crate::bench::peer::PeerKind;

fn series(legs: &[(u32, PeerKind, f64, &str)]) -> Series {
    let mut series = Series::new(Workload::Small);
    for &(round, peer, cpu, void) in legs {
        let void = if void.is_empty() { vec![] } else { vec![void.to_owned()] };
        let (requests, rate, reuse) = (1, 1.0, 1.0);
        series.add(Leg { round, peer, requests, rate, user: cpu / 4.0, system: cpu * 0.75, reuse, void });
    }
    series
}

#[test]
fn ratios_are_taken_within_a_round() {
    let series = series(&[
        (1, PeerKind::Haproxy, 10.0, ""),
        (1, PeerKind::Gateway, 8.0, ""),
        (2, PeerKind::Gateway, 20.0, ""),
        (2, PeerKind::Haproxy, 20.0, ""),
        (3, PeerKind::Haproxy, 10.0, ""),
        (3, PeerKind::Gateway, 9.0, ""),
    ]);
    let ratio = series.ratio(PeerKind::Gateway).unwrap();
    assert_eq!((ratio.median, ratio.lowest, ratio.highest), (0.9, 0.8, 1.0));
    assert!(!series.is_void());
    assert_eq!(series.figure().is_met(), Some(false), "0.9 is above 0.85");
}

#[test]
fn void_leg_is_excluded_and_reported() {
    let series = series(&[
        (1, PeerKind::Haproxy, 10.0, ""),
        (1, PeerKind::Gateway, 1.0, "wrong backend"),
        (2, PeerKind::Haproxy, 10.0, "wrong backend"),
        (2, PeerKind::Gateway, 9.0, ""),
    ]);
    assert_eq!(series.ratio(PeerKind::Gateway), None);
    assert!(series.is_void());
    let mut text = String::new();
    series.write(&mut text).unwrap();
    assert!(text.contains("VOID: gateway in round 1: wrong backend"), "{text}");
}
