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
    Leaving,
    /// It accepts nothing more, and connections without a request end.
    Closing,
    /// It has ended: whoever is still connected is cut off.
    Ended,
}

/// How a wait goes on when the worker is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As if nothing was: for requests in flight.
    IsPatient,
    /// No longer than so from [`Phase::Closing`] on: for clients that were accepted and have not yet said what they
    /// want.
    IsHurried(Duration),
    /// It ends when the worker reaches this phase: for waits between requests.
    With(Phase),
}

/// A deadline passed before the awaited thing happened, or the worker is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The deadline passed.
    Elapsed,
    /// The worker reached the phase that the wait was to end with.
    Ending,
}

#[derive(Debug, Default)]
struct Shared {
    /// Milliseconds since the clock was made, as of the last tick.
    now: Cell<u64>,
    phase: Cell<Phase>,
    entries: RefCell<Vec<Rc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    /// When to wake the task, in the clock's milliseconds; `u64::MAX`: never.
    at: Cell<u64>,
    place: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// The clock of one worker; clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Rc<Shared>,
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { shared: Rc::default(), start: Instant::now() }
    }
}

impl Clock {
    /// When the clock was made.
    pub fn start(&self) -> std::time::Instant {
        self.start.into_std()
    }

    /// Milliseconds since the clock was made; up to one [`TICK`] behind.
    pub fn now(&self) -> u64 {
        self.shared.now.get()
    }

    /// Makes a deadline that is not set. Each task needs its own.
    pub fn timer(&self) -> Timer {
        let mut entries = self.shared.entries.borrow_mut();
        let entry = Rc::new(Entry {
            at: Cell::new(u64::MAX),
            place: Cell::new(entries.len()),
            waker: RefCell::new(None),
        });
        entries.push(Rc::clone(&entry));
        Timer { entry, shared: Rc::clone(&self.shared), end: Cell::new(u64::MAX) }
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
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.now.set(now);
        for entry in self.shared.entries.borrow().iter() {
            if entry.at.get() <= now {
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
    end: Cell<u64>,
}

impl Timer {
    /// Sets the deadline anew, `after` from now, but not beyond [`Timer::end`].
    pub fn set(&self, after: Duration) {
        self.entry.at.set(self.after(after).min(self.end.get()));
    }

    /// Ends all deadlines at the latest `after` from now, until [`Timer::clear`].
    pub fn end(&self, after: Duration) {
        self.end.set(self.after(after));
    }

    /// Whether the time that [`Timer::end`] gave has passed.
    pub fn is_ended(&self) -> bool {
        self.end.get() <= self.shared.now.get()
    }

    /// Forgets the deadline, and the end of all.
    pub fn clear(&self) {
        self.entry.at.set(u64::MAX);
        self.end.set(u64::MAX);
    }

    fn after(&self, after: Duration) -> u64 {
        // The clock may be a tick behind, so a tick is added: never early.
        let after = u64::try_from((after + TICK).as_millis()).unwrap_or(u64::MAX);
        self.shared.now.get().saturating_add(after)
    }

    /// Whether the deadline has passed.
    pub fn is_elapsed(&self) -> bool {
        self.entry.at.get() <= self.shared.now.get()
    }

    /// Waits for `future`, but not beyond the deadline, which the future may move while it runs.
    ///
    /// # Errors
    /// [`Interrupted::Elapsed`]; the future is dropped then.
    pub fn limit<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, Interrupted>> {
        self.limit_by(Ending::IsPatient, future)
    }

    /// As [`Timer::limit`], and says how the wait goes on when the worker is about to end.
    ///
    /// # Errors
    /// [`Interrupted::Elapsed`] or [`Interrupted::Ending`]; the future is dropped then.
    pub async fn limit_by<F: Future>(&self, mut ending: Ending, future: F) -> Result<F::Output, Interrupted> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match ending {
                Ending::With(phase) if self.shared.phase.get() >= phase => {
                    return Poll::Ready(Err(Interrupted::Ending));
                }
                Ending::IsHurried(grace) if self.shared.phase.get() == Phase::Closing => {
                    let slow = self.entry.at.get();
                    self.set(grace);
                    self.entry.at.set(slow.min(self.entry.at.get()));
                    ending = Ending::IsPatient;
                }
                _ => {}
            }
            if self.is_elapsed() {
                return Poll::Ready(Err(Interrupted::Elapsed));
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
        let place = self.entry.place.get();
        entries.swap_remove(place);
        if let Some(moved) = entries.get(place) {
            moved.place.set(place);
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
                    assert_eq!(outcome, Err(Interrupted::Elapsed));
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
        timer.end(Duration::from_secs(1));
        timer.set(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!timer.is_elapsed(), "a deadline is seen by ticks");
        clock.tick();
        assert!(timer.is_elapsed() && timer.is_ended());
        timer.set(Duration::from_secs(60));
        assert!(timer.is_elapsed());
        timer.clear();
        timer.set(Duration::from_secs(60));
        assert!(!timer.is_elapsed() && !timer.is_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_ends_the_waits_that_are_to_end_with_it() {
        let clock = Clock::default();
        let timer = clock.timer();
        let forever = std::future::pending::<()>;
        clock.enter(Phase::Leaving);
        assert_eq!(timer.limit_by(Ending::With(Phase::Leaving), forever()).await, Err(Interrupted::Ending));
        assert_eq!(
            timer.limit_by(Ending::With(Phase::Leaving), async { 7 }).await,
            Ok(7),
            "what is there comes first"
        );
        let mut closing = Box::pin(timer.limit_by(Ending::With(Phase::Closing), forever()));
        assert!(futures::poll!(closing.as_mut()).is_pending());
        clock.enter(Phase::Closing);
        assert_eq!(closing.await, Err(Interrupted::Ending));
        clock.enter(Phase::Leaving);
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
            let ending = Ending::IsHurried(Duration::from_secs(1));
            let outcome = timer.limit_by(ending, std::future::pending::<()>()).await;
            assert_eq!(outcome, Err(Interrupted::Elapsed));
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
        for (place, timer) in timers.into_iter().enumerate() {
            if place % 2 == 0 {
                drop(timer);
            } else {
                timer.set(Duration::from_secs(1));
                std::mem::drop(timer);
            }
        }
        assert!(clock.shared.entries.borrow().is_empty());
    }
}
