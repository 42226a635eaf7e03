//! What makes the numbers of a leg void.

use super::{BackendCounts, check_counts};

#[test]
fn equal_numbers_over_reused_connections_are_fine() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 42, requests: 1000 }), [""; 0]);
}

#[test]
fn requests_under_way_at_the_end_are_fine() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 0, requests: 1032 }), [""; 0]);
}

#[test]
fn answers_that_the_backend_did_not_give_are_wrong() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 0, requests: 999 }).len(), 1);
}

#[test]
fn requests_that_nobody_got_an_answer_to_are_wrong() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 0, requests: 1033 }).len(), 1);
}

#[test]
fn a_new_connection_for_more_than_one_request_in_a_hundred_is_wrong() {
    assert_eq!(check_counts(1000, 32, BackendCounts { accepts: 43, requests: 1000 }).len(), 1);
}

#[test]
fn silence_is_wrong() {
    assert_eq!(check_counts(0, 32, BackendCounts::default()), ["nothing was answered"]);
}
