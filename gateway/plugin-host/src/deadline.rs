//! The time limit of a call, in processor time of the thread that makes it.
//!
//! The epoch counts elapsed time. A busy system may not run a thread for longer than the limit, and its guest must not
//! pay for that. So the processor time decides, and it is read only once half of the limit has elapsed: a call that ends
//! before then reads no clock.

use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;
use wasmtime::UpdateDeadline;

use crate::ticker::TICK;

/// The limit of the current call.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// Processor time that the guest may use after the first look.
    rest: Duration,
    /// Processor time of the thread at the first look.
    first_look: Option<Duration>,
}

impl Deadline {
    /// Begins a call with a limit in ticks. Returns the ticks until the first look.
    pub(crate) fn begin(&mut self, ticks: u64) -> u64 {
        let half = ticks.div_ceil(2);
        *self = Self { rest: duration(ticks - half), first_look: None };
        half
    }

    /// Called when the ticks are over. Says whether the call ends.
    pub(crate) fn look(&mut self) -> UpdateDeadline {
        let now = processor_time();
        let first = *self.first_look.get_or_insert(now);
        match self.rest.saturating_sub(now.saturating_sub(first)) {
            // Ticks are exact to one period.
            left if left < TICK / 2 => UpdateDeadline::Interrupt,
            left => UpdateDeadline::Continue(periods(left)),
        }
    }
}

/// Returns the processor time that the calling thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Returns a time in periods of the epoch, rounded up.
pub(crate) fn periods(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2)
}

fn duration(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    fn compute(time: Duration) {
        let start = processor_time();
        while processor_time() - start < time {
            black_box(0);
        }
    }

    fn is_over(look: &UpdateDeadline) -> bool {
        matches!(look, UpdateDeadline::Interrupt)
    }

    #[test]
    fn time_without_the_processor_is_not_counted() {
        let mut deadline = Deadline::default();
        assert_eq!(deadline.begin(20), 10);
        assert!(!is_over(&deadline.look()));
        let start = Instant::now();
        // The thread does not run.
        while start.elapsed() < Duration::from_millis(40) {
            std::thread::park_timeout(Duration::from_millis(40) - start.elapsed());
        }
        assert!(!is_over(&deadline.look()));
        compute(Duration::from_millis(10));
        assert!(is_over(&deadline.look()));
    }

    #[test]
    fn each_call_has_the_whole_limit() {
        let mut deadline = Deadline::default();
        for _ in 0..2 {
            assert_eq!(deadline.begin(3), 2);
            assert!(!is_over(&deadline.look()));
            compute(TICK);
            assert!(is_over(&deadline.look()));
        }
    }
}
