//! The phases of a worker's shutdown, and how each kind of wait reacts to them.
//!
//! Not here: deadlines (`wire::clock`), and when a phase begins (`cli::process`).

use std::cell::Cell;
use std::time::Duration;

use crate::data::wire::clock::{Clock, Timer, WaitError};

/// How far the shutdown of a worker has advanced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No shutdown has begun.
    #[default]
    Serving,
    /// The worker accepts connections. Each response asks its client to reconnect (`Connection: close` or GOAWAY).
    Draining,
    /// The worker accepts no connection and closes those without a request.
    Closing,
    /// The worker has stopped. Connections that are still open are dropped.
    Stopped,
}

/// The reaction of a wait to the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrain {
    /// Waits on, for requests in flight.
    Ignore,
    /// Waits at most this long from [`Phase::Closing`] on, for clients that have not sent a request yet.
    Grace(Duration),
    /// Aborts the wait when the worker reaches this phase, for waits between requests.
    StopAt(Phase),
}

/// The phase of one worker.
#[derive(Debug)]
pub struct DrainState {
    phase: Cell<Phase>,
    clock: Clock,
}

impl DrainState {
    /// Creates the state of a worker that serves. `clock` has the timers of all waits.
    pub fn new(clock: Clock) -> Self {
        Self { phase: Cell::default(), clock }
    }

    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase, and aborts the waits that stop at it. An earlier phase than the current one has no effect.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase.max(self.phase()));
        self.clock.wake_all();
    }

    /// Waits for `future` until the deadline of `timer` passes or the shutdown aborts the wait.
    ///
    /// # Errors
    /// [`WaitError::Elapsed`] or [`WaitError::Aborted`]; both drop the future.
    ///
    /// # Cancellation
    /// Dropping the returned future drops `future`. A grace that has begun stays the deadline of `timer`.
    pub fn limit<F: Future>(
        &self,
        timer: &Timer,
        mut on_drain: OnDrain,
        future: F,
    ) -> impl Future<Output = Result<F::Output, WaitError>> {
        let is_aborted = move || match on_drain {
            OnDrain::Ignore => false,
            OnDrain::StopAt(phase) => self.phase() >= phase,
            OnDrain::Grace(grace) => {
                if self.phase() == Phase::Closing {
                    timer.shorten(grace);
                    on_drain = OnDrain::Ignore;
                }
                false
            }
        };
        timer.limit_unless(is_aborted, future)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::data::wire::clock::TICK;

    fn drain_state() -> (Clock, DrainState) {
        let clock = Clock::default();
        (clock.clone(), DrainState::new(clock))
    }

    #[tokio::test(start_paused = true)]
    async fn phase_aborts_the_waits_that_stop_at_it() {
        let (clock, drain) = drain_state();
        let timer = clock.timer();
        let never = std::future::pending::<()>;
        drain.enter(Phase::Draining);
        let at_draining = OnDrain::StopAt(Phase::Draining);
        assert_eq!(drain.limit(&timer, at_draining, never()).await, Err(WaitError::Aborted));
        assert_eq!(drain.limit(&timer, at_draining, async { 7 }).await, Ok(7), "a ready future wins");
        let mut closing = Box::pin(drain.limit(&timer, OnDrain::StopAt(Phase::Closing), never()));
        assert!(futures::poll!(closing.as_mut()).is_pending());
        drain.enter(Phase::Closing);
        assert_eq!(closing.await, Err(WaitError::Aborted));
        drain.enter(Phase::Draining);
        assert_eq!(drain.phase(), Phase::Closing, "a phase is never left");
    }

    #[tokio::test(start_paused = true)]
    async fn grace_ends_at_the_sooner_of_grace_and_deadline() {
        let (clock, drain) = drain_state();
        let local = tokio::task::LocalSet::new();
        let ticking = clock.clone();
        local.spawn_local(async move { ticking.run().await });
        let wait = async |deadline: Duration| {
            let timer = clock.timer();
            timer.set(deadline);
            let before = Instant::now();
            let grace = OnDrain::Grace(Duration::from_secs(1));
            let outcome = drain.limit(&timer, grace, std::future::pending::<()>()).await;
            assert_eq!(outcome, Err(WaitError::Elapsed));
            before.elapsed()
        };
        local
            .run_until(async {
                assert!(wait(Duration::from_secs(10)).await >= Duration::from_secs(10));
                drain.enter(Phase::Closing);
                let late = 2 * TICK;
                let (long, short) = (wait(Duration::from_secs(10)).await, wait(TICK).await);
                assert!(long >= Duration::from_secs(1) && long <= Duration::from_secs(1) + late, "{long:?}");
                assert!(short >= TICK && short <= TICK + late, "{short:?}");
            })
            .await;
    }
}
