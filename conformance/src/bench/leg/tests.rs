//! Counters that make a leg void.

use super::{BackendCounts, check_counts};

#[test]
fn equal_counters_with_reuse_are_valid() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 42, requests: 1000 }), [""; 0]);
}

#[test]
fn requests_in_flight_at_the_end_are_valid() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 0, requests: 1032 }), [""; 0]);
}

#[test]
fn fewer_backend_requests_than_responses_are_void() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 0, requests: 999 }).len(), 1);
}

#[test]
fn more_backend_requests_than_in_flight_are_void() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 0, requests: 1033 }).len(), 1);
}

#[test]
fn more_than_one_percent_new_connections_are_void() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 43, requests: 1000 }).len(), 1);
}

#[test]
fn no_response_is_void() {
    assert_eq!(check_counts(0, 32, BackendCounts::default()), ["no response"]);
}
