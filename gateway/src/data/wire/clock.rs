//! The coarse clock of one worker, and the timers of its tasks.
//!
//! A request passes six deadlines and hardly ever reaches one. Setting a deadline is therefore a store into a cell.
//! A tick every [`TICK`] compares all deadlines with the time and wakes the tasks whose deadline has passed. Without a
//! deadline there are no ticks: an idle worker does not wake.
//! ARCHITECTURE.md has the figures against `pingora_timeout` and tokio's timer wheel.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Interval between two checks of all deadlines. A task wakes at most one tick late, never early.
pub const TICK: Duration = Duration::from_millis(50);

/// The deadline of a timer that is not set.
const NEVER_MS: u64 = u64::MAX;

/// Why a wait ended before its future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The deadline passed.
    Elapsed,
    /// The condition of [`Timer::limit_unless`] became true.
    Aborted,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Milliseconds from the creation of the clock to the last tick.
    now_ms: Cell<u64>,
    /// Whether a deadline is set, so that [`Clock::run`] updates the time.
    is_ticking: Cell<bool>,
    /// Wakes [`Clock::run`] when the first deadline is set.
    start: Notify,
    entries: RefCell<Vec<Rc<Entry>>>,
}

/// The part of a timer that the clock reads.
#[derive(Debug)]
struct Entry {
    deadline_ms: Cell<u64>,
    /// Position in [`Shared::entries`].
    index: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// The clock of one worker. Clones share the time and the timers.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Rc<Shared>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            shared: Rc::new(Shared {
                started: Instant::now(),
                now_ms: Cell::new(0),
                is_ticking: Cell::new(false),
                start: Notify::new(),
                entries: RefCell::default(),
            }),
        }
    }
}

impl Shared {
    /// Returns the time of the last tick, or the present time if there are no ticks.
    fn now_ms(&self) -> u64 {
        if !self.is_ticking.get() {
            self.update();
        }
        self.now_ms.get()
    }

    fn update(&self) {
        self.now_ms.set(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    /// Starts the ticks, since a deadline is set.
    fn start_ticking(&self) {
        if !self.is_ticking.get() {
            self.update();
            self.is_ticking.set(true);
            self.start.notify_one();
        }
    }
}

impl Clock {
    /// Returns the time at which the clock was created.
    pub fn started_at(&self) -> std::time::Instant {
        self.shared.started.into_std()
    }

    /// Returns the milliseconds since the clock was created, at most one [`TICK`] late.
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    /// Creates a timer without a deadline. Two tasks must not share one: it holds one waker.
    pub fn timer(&self) -> Timer {
        let mut entries = self.shared.entries.borrow_mut();
        let entry = Rc::new(Entry {
            deadline_ms: Cell::new(NEVER_MS),
            index: Cell::new(entries.len()),
            waker: RefCell::new(None),
        });
        entries.push(Rc::clone(&entry));
        Timer { entry, shared: Rc::clone(&self.shared), total_deadline_ms: Cell::new(NEVER_MS) }
    }

    /// Updates the time every [`TICK`] while a deadline is set, and wakes the tasks whose deadline has passed. Each worker
    /// runs it once.
    ///
    /// # Cancellation
    /// The time stops; no deadline passes any more.
    pub async fn run(&self) {
        loop {
            self.shared.start.notified().await;
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while self.shared.is_ticking.get() {
                ticks.tick().await;
                self.tick();
            }
        }
    }

    fn tick(&self) {
        self.shared.update();
        let (now_ms, mut has_deadline) = (self.shared.now_ms.get(), false);
        for entry in self.shared.entries.borrow().iter() {
            let deadline_ms = entry.deadline_ms.get();
            has_deadline |= deadline_ms != NEVER_MS;
            if deadline_ms <= now_ms {
                entry.wake();
            }
        }
        self.shared.is_ticking.set(has_deadline);
    }

    /// Polls every wait again, so that it checks the condition of [`Timer::limit_unless`].
    pub fn wake_all(&self) {
        for entry in self.shared.entries.borrow().iter() {
            entry.wake();
        }
    }
}

impl Entry {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// The deadline of one task. Dropping it removes it from the clock.
#[derive(Debug)]
pub struct Timer {
    entry: Rc<Entry>,
    shared: Rc<Shared>,
    /// The upper bound of `entry.deadline_ms`.
    total_deadline_ms: Cell<u64>,
}

/// Ends a timer from another task.
#[derive(Debug)]
pub struct TimerHandle {
    entry: Rc<Entry>,
}

impl TimerHandle {
    /// Lets the deadline of the timer pass, and wakes its task.
    pub fn expire(&self) {
        self.entry.deadline_ms.set(0);
        self.entry.wake();
    }
}

impl Timer {
    /// Returns a handle that can end the timer.
    pub fn handle(&self) -> TimerHandle {
        TimerHandle { entry: Rc::clone(&self.entry) }
    }

    /// Replaces the deadline by `after` from now, or by the total deadline if that is sooner.
    pub fn set(&self, after: Duration) {
        self.entry.deadline_ms.set(self.deadline_in(after).min(self.total_deadline_ms.get()));
    }

    /// Sets the deadline to `after` from now, unless it is sooner already.
    pub fn shorten(&self, after: Duration) {
        let deadline_ms = &self.entry.deadline_ms;
        deadline_ms.set(self.deadline_in(after).min(self.total_deadline_ms.get()).min(deadline_ms.get()));
    }

    /// Limits all later deadlines to `after` from now, until [`Timer::clear`].
    pub fn set_total_deadline(&self, after: Duration) {
        self.total_deadline_ms.set(self.deadline_in(after));
    }

    /// Returns true if the total deadline has passed.
    pub fn is_total_elapsed(&self) -> bool {
        self.total_deadline_ms.get() <= self.shared.now_ms.get()
    }

    /// Removes the deadline and the total deadline.
    pub fn clear(&self) {
        self.entry.deadline_ms.set(NEVER_MS);
        self.total_deadline_ms.set(NEVER_MS);
    }

    fn deadline_in(&self, after: Duration) -> u64 {
        self.shared.start_ticking();
        // The clock is up to one tick late. One tick more keeps the deadline from passing early.
        let after = u64::try_from((after + TICK).as_millis()).unwrap_or(u64::MAX);
        self.shared.now_ms.get().saturating_add(after)
    }

    /// Returns true if the deadline has passed.
    pub fn is_elapsed(&self) -> bool {
        self.entry.deadline_ms.get() <= self.shared.now_ms.get()
    }

    /// Waits for `future` until the deadline passes. The future may move the deadline while it runs.
    ///
    /// # Errors
    /// [`WaitError::Elapsed`], which drops the future.
    pub fn limit<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, WaitError>> {
        self.limit_unless(|| false, future)
    }

    /// Waits for `future` until the deadline passes or `is_aborted` returns true.
    ///
    /// Each poll calls `is_aborted` if the future is pending; [`Clock::wake_all`] causes a poll. A ready future is
    /// never aborted.
    ///
    /// # Errors
    /// [`WaitError::Elapsed`] or [`WaitError::Aborted`]; both drop the future.
    ///
    /// # Cancellation
    /// Drops `future`. The deadline stays set.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn stores its arguments twice, in every idle connection"
    )]
    pub fn limit_unless<F: Future>(
        &self,
        mut is_aborted: impl FnMut() -> bool,
        future: F,
    ) -> impl Future<Output = Result<F::Output, WaitError>> {
        async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| {
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                if is_aborted() {
                    return Poll::Ready(Err(WaitError::Aborted));
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
    async fn deadline_passes_at_most_two_ticks_late_and_never_early() {
        let clock = Clock::default();
        let local = tokio::task::LocalSet::new();
        let ticking = clock.clone();
        local.spawn_local(async move { ticking.run().await });
        local
            .run_until(async {
                let timer = clock.timer();
                for millis in [1, 49, 50, 51, 1000, 10_000] {
                    let deadline = Duration::from_millis(millis);
                    let before = Instant::now();
                    timer.set(deadline);
                    let outcome = timer.limit(std::future::pending::<()>()).await;
                    assert_eq!(outcome, Err(WaitError::Elapsed));
                    let took = before.elapsed();
                    assert!(took >= deadline && took <= deadline + 2 * TICK, "{deadline:?} took {took:?}");
                }
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn total_deadline_limits_later_deadlines_until_cleared() {
        let clock = Clock::default();
        let timer = clock.timer();
        timer.set_total_deadline(Duration::from_secs(1));
        timer.set(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!timer.is_elapsed(), "time passes by ticks");
        clock.tick();
        assert!(timer.is_elapsed() && timer.is_total_elapsed());
        timer.set(Duration::from_secs(60));
        assert!(timer.is_elapsed());
        timer.clear();
        timer.set(Duration::from_secs(60));
        assert!(!timer.is_elapsed() && !timer.is_total_elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn clock_ticks_only_while_a_deadline_is_set() {
        let clock = Clock::default();
        let local = tokio::task::LocalSet::new();
        let ticking = clock.clone();
        local.spawn_local(async move { ticking.run().await });
        local
            .run_until(async {
                let (timer, other) = (clock.timer(), clock.timer());
                for _ in 0..3 {
                    let before = Instant::now();
                    // Without ticks, the time is still the present one.
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    timer.set(TICK);
                    assert!(clock.shared.is_ticking.get());
                    assert!(timer.limit(std::future::pending::<()>()).await.is_err());
                    assert!(before.elapsed() < Duration::from_secs(60) + 4 * TICK);
                    other.set(Duration::from_secs(3600));
                    timer.clear();
                    tokio::time::sleep(2 * TICK).await;
                    assert!(clock.shared.is_ticking.get(), "another deadline is set");
                    other.clear();
                    tokio::time::sleep(2 * TICK).await;
                    assert!(!clock.shared.is_ticking.get());
                }
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
