//! Medians, and what a void leg does to them.

use super::{Report, median};
use crate::bench::leg::Leg;
use crate::bench::peer::Kind;
use crate::bench::process::Cores;

fn report(legs: &[(u32, Kind, f64, &str)]) -> Report {
    let mut report = Report::new(1.0, 1, Cores { proxy: 0, load: 1 });
    for &(round, peer, cpu, void) in legs {
        let void = if void.is_empty() { vec![] } else { vec![void.to_owned()] };
        let (requests, rate, reuse) = (1, 1.0, 1.0);
        report.legs.push(Leg {
            round,
            peer,
            requests,
            rate,
            user: cpu / 4.0,
            system: cpu * 0.75,
            reuse,
            void,
        });
        report.versions.insert(peer, "1".to_owned());
    }
    report
}

#[test]
fn the_median_of_an_even_number_is_between_the_middle_ones() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
}

#[test]
fn ratios_are_taken_within_a_round() {
    let report = report(&[
        (1, Kind::Haproxy, 10.0, ""),
        (1, Kind::Gateway, 8.0, ""),
        (2, Kind::Gateway, 20.0, ""),
        (2, Kind::Haproxy, 20.0, ""),
        (3, Kind::Haproxy, 10.0, ""),
        (3, Kind::Gateway, 9.0, ""),
    ]);
    let ratio = report.ratio(Kind::Gateway).unwrap();
    assert_eq!((ratio.median, ratio.lowest, ratio.highest), (0.9, 0.8, 1.0));
    assert!(!report.is_void());
}

#[test]
fn a_void_leg_enters_no_median_and_is_named() {
    let report = report(&[
        (1, Kind::Haproxy, 10.0, ""),
        (1, Kind::Gateway, 1.0, "wrong backend"),
        (2, Kind::Haproxy, 10.0, "wrong backend"),
        (2, Kind::Gateway, 9.0, ""),
    ]);
    assert_eq!(report.ratio(Kind::Gateway), None);
    assert!(report.is_void());
    assert!(report.text().contains("VOID: gateway in round 1: wrong backend"), "{}", report.text());
}
