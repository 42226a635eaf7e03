//! What an idle gateway costs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::time::{Duration, Instant};

use program::Program;
use support::{Client, Origin, single_route};

/// Returns the wake-ups of the program for each second of the next five.
fn wake_up_rate(program: &Program) -> f64 {
    // The passage of time is what the test is about. What the start has left is done in the first second.
    std::thread::park_timeout(Duration::from_secs(1));
    let (began, before) = (Instant::now(), program.wake_ups());
    std::thread::park_timeout(Duration::from_secs(5));
    (program.wake_ups() - before) as f64 / began.elapsed().as_secs_f64()
}

#[test]
fn idle_program_wakes_at_most_twice_a_second() {
    let origin = Origin::named("a");
    let program = Program::start(&single_route(&origin), &[]);
    let rate = wake_up_rate(&program);
    assert!(rate <= 2.0, "{rate} wake-ups a second before the first request");
    let mut client = Client::connect(program.http);
    assert_eq!(client.get("a.example", "/").status(), 200);
    drop(client);
    // The kept connection to the endpoint is checked once a second.
    // A busy machine splits wake-ups, so the second measurement counts too.
    let rate = wake_up_rate(&program).min(wake_up_rate(&program));
    assert!(rate <= 4.0, "{rate} wake-ups a second after a request");
}
