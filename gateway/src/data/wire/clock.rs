//! A worker's coarse clock and the deadlines that hang on it.
//!
//! A request passes half a dozen deadlines and nearly none is ever reached, so setting one must cost
//! nothing: it is a store into a cell. A tick every [`TICK`] looks at all of them and wakes the tasks
//! whose time has passed. ARCHITECTURE.md has the figures against `pingora_timeout` and tokio's wheel.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How often deadlines are looked at: a deadline is met late by one tick at most, never early.
pub const TICK: Duration = Duration::from_millis(50);

/// How far a worker is on its way to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is not going to end.
    #[default]
    Serving,
    /// It still accepts, and each client is told with its next answer to come back by another connection.
    Draining,
    /// It accepts nothing more, and connections without a request end.
    Closing,
    /// It has ended: whoever is still connected is cut off.
    Stopped,
}

/// How a wait goes on when the worker is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrain {
    /// As if nothing was: for requests in flight.
    Ignore,
    /// No longer than so from [`Phase::Closing`] on: for clients that were accepted and have not yet said what they
    /// want.
    Grace(Duration),
    /// It ends when the worker reaches this phase: for waits between requests.
    StopAt(Phase),
}

/// A deadline passed before the awaited thing happened, or the worker is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The deadline passed.
    Elapsed,
    /// The worker reached the phase that the wait was to end with.
    Aborted,
}

#[derive(Debug, Default)]
struct Shared {
    /// Milliseconds since the clock was made, as of the last tick.
    now_ms: Cell<u64>,
    phase: Cell<Phase>,
    entries: RefCell<Vec<Rc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    /// When to wake the task, in the clock's milliseconds; `u64::MAX`: never.
    deadline_ms: Cell<u64>,
    index: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// The clock of one worker; clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Rc<Shared>,
    started: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { shared: Rc::default(), started: Instant::now() }
    }
}

impl Clock {
    /// When the clock was made.
    pub fn started_at(&self) -> std::time::Instant {
        self.started.into_std()
    }

    /// Milliseconds since the clock was made; up to one [`TICK`] behind.
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms.get()
    }

    /// Makes a deadline that is not set. Each task needs its own.
    pub fn timer(&self) -> Timer {
        let mut entries = self.shared.entries.borrow_mut();
        let entry = Rc::new(Entry {
            deadline_ms: Cell::new(u64::MAX),
            index: Cell::new(entries.len()),
            waker: RefCell::new(None),
        });
        entries.push(Rc::clone(&entry));
        Timer { entry, shared: Rc::clone(&self.shared), total_deadline_ms: Cell::new(u64::MAX) }
    }

    /// Ticks for ever: updates the time and wakes whom it passed. Each worker runs it once.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.now_ms.set(now);
        for entry in self.shared.entries.borrow().iter() {
            if entry.deadline_ms.get() <= now {
                entry.wake();
            }
        }
    }

    /// Enters a phase; there is no way back. All waits that were to end with it do, now and from now on.
    pub fn enter(&self, phase: Phase) {
        self.shared.phase.set(phase.max(self.phase()));
        for entry in self.shared.entries.borrow().iter() {
            entry.wake();
        }
    }

    /// How far the worker is on its way to its end.
    pub fn phase(&self) -> Phase {
        self.shared.phase.get()
    }
}

impl Entry {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// One task's deadline. Dropping it forgets it.
#[derive(Debug)]
pub struct Timer {
    entry: Rc<Entry>,
    shared: Rc<Shared>,
    /// No deadline lies beyond this.
    total_deadline_ms: Cell<u64>,
}

impl Timer {
    /// Sets the deadline anew, `after` from now, but not beyond [`Timer::set_total_deadline`].
    pub fn set(&self, after: Duration) {
        self.entry.deadline_ms.set(self.deadline_in(after).min(self.total_deadline_ms.get()));
    }

    /// Ends all deadlines at the latest `after` from now, until [`Timer::clear`].
    pub fn set_total_deadline(&self, after: Duration) {
        self.total_deadline_ms.set(self.deadline_in(after));
    }

    /// Whether the time that [`Timer::set_total_deadline`] gave has passed.
    pub fn is_total_elapsed(&self) -> bool {
        self.total_deadline_ms.get() <= self.shared.now_ms.get()
    }

    /// Forgets the deadline, and the end of all.
    pub fn clear(&self) {
        self.entry.deadline_ms.set(u64::MAX);
        self.total_deadline_ms.set(u64::MAX);
    }

    fn deadline_in(&self, after: Duration) -> u64 {
        // The clock may be a tick behind, so a tick is added: never early.
        let after = u64::try_from((after + TICK).as_millis()).unwrap_or(u64::MAX);
        self.shared.now_ms.get().saturating_add(after)
    }

    /// Whether the deadline has passed.
    pub fn is_elapsed(&self) -> bool {
        self.entry.deadline_ms.get() <= self.shared.now_ms.get()
    }

    /// Waits for `future`, but not beyond the deadline, which the future may move while it runs.
    ///
    /// # Errors
    /// [`WaitError::Elapsed`]; the future is dropped then.
    pub fn limit<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, WaitError>> {
        self.limit_on_drain(OnDrain::Ignore, future)
    }

    /// As [`Timer::limit`], and says how the wait goes on when the worker is about to end.
    ///
    /// # Errors
    /// [`WaitError::Elapsed`] or [`WaitError::Aborted`]; the future is dropped then.
    pub async fn limit_on_drain<F: Future>(
        &self,
        mut on_drain: OnDrain,
        future: F,
    ) -> Result<F::Output, WaitError> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match on_drain {
                OnDrain::StopAt(phase) if self.shared.phase.get() >= phase => {
                    return Poll::Ready(Err(WaitError::Aborted));
                }
                OnDrain::Grace(grace) if self.shared.phase.get() == Phase::Closing => {
                    let unhurried = self.entry.deadline_ms.get();
                    self.set(grace);
                    self.entry.deadline_ms.set(unhurried.min(self.entry.deadline_ms.get()));
                    on_drain = OnDrain::Ignore;
                }
                _ => {}
            }
            if self.is_elapsed() {
                return Poll::Ready(Err(WaitError::Elapsed));
            }
            let mut waker = self.entry.waker.borrow_mut();
            if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut entries = self.shared.entries.borrow_mut();
        let index = self.entry.index.get();
        entries.swap_remove(index);
        if let Some(moved) = entries.get(index) {
            moved.index.set(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_met_late_by_two_ticks_at_most_and_never_early() {
        let clock = Clock::default();
        let local = tokio::task::LocalSet::new();
        let ticking = clock.clone();
        local.spawn_local(async move { ticking.run().await });
        local
            .run_until(async {
                let timer = clock.timer();
                for wanted in [1, 49, 50, 51, 1000, 10_000] {
                    let wanted = Duration::from_millis(wanted);
                    let before = Instant::now();
                    timer.set(wanted);
                    let outcome = timer.limit(std::future::pending::<()>()).await;
                    assert_eq!(outcome, Err(WaitError::Elapsed));
                    let took = before.elapsed();
                    assert!(took >= wanted && took <= wanted + 2 * TICK, "{wanted:?} took {took:?}");
                }
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_deadline_lies_beyond_the_end_until_it_is_cleared() {
        let clock = Clock::default();
        let timer = clock.timer();
        timer.set_total_deadline(Duration::from_secs(1));
        timer.set(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!timer.is_elapsed(), "a deadline is seen by ticks");
        clock.tick();
        assert!(timer.is_elapsed() && timer.is_total_elapsed());
        timer.set(Duration::from_secs(60));
        assert!(timer.is_elapsed());
        timer.clear();
        timer.set(Duration::from_secs(60));
        assert!(!timer.is_elapsed() && !timer.is_total_elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_ends_the_waits_that_are_to_end_with_it() {
        let clock = Clock::default();
        let timer = clock.timer();
        let forever = std::future::pending::<()>;
        clock.enter(Phase::Draining);
        assert_eq!(
            timer.limit_on_drain(OnDrain::StopAt(Phase::Draining), forever()).await,
            Err(WaitError::Aborted)
        );
        assert_eq!(
            timer.limit_on_drain(OnDrain::StopAt(Phase::Draining), async { 7 }).await,
            Ok(7),
            "what is there comes first"
        );
        let mut closing = Box::pin(timer.limit_on_drain(OnDrain::StopAt(Phase::Closing), forever()));
        assert!(futures::poll!(closing.as_mut()).is_pending());
        clock.enter(Phase::Closing);
        assert_eq!(closing.await, Err(WaitError::Aborted));
        clock.enter(Phase::Draining);
        assert_eq!(clock.phase(), Phase::Closing, "there is no way back");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_leaves_a_hurried_wait_its_grace_or_its_deadline_whichever_is_sooner() {
        let clock = Clock::default();
        let local = tokio::task::LocalSet::new();
        let ticking = clock.clone();
        local.spawn_local(async move { ticking.run().await });
        let wait = async |deadline: Duration| {
            let timer = clock.timer();
            timer.set(deadline);
            let before = Instant::now();
            let on_drain = OnDrain::Grace(Duration::from_secs(1));
            let outcome = timer.limit_on_drain(on_drain, std::future::pending::<()>()).await;
            assert_eq!(outcome, Err(WaitError::Elapsed));
            before.elapsed()
        };
        local
            .run_until(async {
                assert!(wait(Duration::from_secs(10)).await >= Duration::from_secs(10));
                clock.enter(Phase::Closing);
                let late = 2 * TICK;
                let (long, short) = (wait(Duration::from_secs(10)).await, wait(TICK).await);
                assert!(long >= Duration::from_secs(1) && long <= Duration::from_secs(1) + late, "{long:?}");
                assert!(short >= TICK && short <= TICK + late, "{short:?}");
            })
            .await;
    }

    #[test]
    fn dropped_timers_leave_no_entry() {
        let clock = Clock::default();
        let timers: Vec<_> = (0..5).map(|_| clock.timer()).collect();
        for (index, timer) in timers.into_iter().enumerate() {
            if index % 2 == 0 {
                drop(timer);
            } else {
                timer.set(Duration::from_secs(1));
                std::mem::drop(timer);
            }
        }
        assert!(clock.shared.entries.borrow().is_empty());
    }
}
