//! The clock of deadlines: a thread that advances an engine's epoch each millisecond while guests run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::Thread;
use std::time::Duration;
use std::time::Instant;

use wasmtime::EngineWeak;

/// Period of the epoch. Deadlines are exact to one period.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks after which the thread looks whether a guest was called. Fewer would make the workers write a shared cache
/// line more often.
const ROUND_TICKS: u32 = 256;

/// Most periods that one late wake-up counts. It bounds the work after a pause, as parked time is none.
const MAX_CAUGHT_UP: u128 = 100;

/// Rounds without a call after which the thread parks, about 2 s. A deadline longer than [`MAX_UNHELD`] needs a
/// [`TickerHold`].
const IDLE_ROUNDS: u32 = 8;

/// Longest deadline that is enforced without a [`TickerHold`].
pub(crate) const MAX_UNHELD: Duration = Duration::from_secs(1);

/// Period in which a parked thread looks whether its engine still exists. It also bounds the delay if the wake-up of a
/// call were lost.
const PARKED_PERIOD: Duration = Duration::from_secs(1);

/// A handle of the thread. The thread ends with its engine.
pub(crate) struct Ticker {
    state: Arc<TickerState>,
    thread: Thread,
}

#[derive(Default)]
struct TickerState {
    /// A guest was called in this round.
    is_active: AtomicBool,
    is_parked: AtomicBool,
    holds: AtomicUsize,
}

/// Keeps the thread from parking, for calls that may last longer than a round without calls.
pub(crate) struct TickerHold(Arc<TickerState>);

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Self> {
        let state = Arc::new(TickerState::default());
        let of_thread = Arc::clone(&state);
        let builder = thread::Builder::new().name("plugin-ticker".to_owned());
        let thread = builder.spawn(move || tick(&engine, &of_thread))?;
        Ok(Self { state, thread: thread.thread().clone() })
    }

    /// Called before each call of a guest. It writes shared memory only in the first call of a round.
    pub(crate) fn note_call(&self) {
        if !self.state.is_active.load(Ordering::Relaxed) {
            self.state.is_active.store(true, Ordering::Relaxed);
        }
        if self.state.is_parked.load(Ordering::Relaxed) {
            self.thread.unpark();
        }
    }

    /// Returns a guard that keeps the thread from parking.
    pub(crate) fn hold(&self) -> TickerHold {
        self.state.holds.fetch_add(1, Ordering::SeqCst);
        self.note_call();
        TickerHold(Arc::clone(&self.state))
    }
}

impl Drop for TickerHold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl TickerState {
    /// Returns whether a guest was called since the last time, or may still run.
    fn take_activity(&self) -> bool {
        self.is_active.swap(false, Ordering::SeqCst) || self.holds.load(Ordering::SeqCst) > 0
    }
}

fn tick(engine: &EngineWeak, state: &TickerState) {
    let mut ticks = 0;
    let mut idle_rounds = 0;
    let mut last_tick = Instant::now();
    loop {
        thread::park_timeout(TICK);
        let Some(engine_of_tick) = engine.upgrade() else { return };
        // A busy system wakes the thread late. The time that guests had counts all the same.
        let periods = last_tick.elapsed().as_micros() / TICK.as_micros();
        last_tick = Instant::now();
        for _ in 0..periods.clamp(1, MAX_CAUGHT_UP) {
            engine_of_tick.increment_epoch();
        }
        drop(engine_of_tick);
        ticks += 1;
        if ticks < ROUND_TICKS {
            continue;
        }
        ticks = 0;
        idle_rounds = if state.take_activity() { 0 } else { idle_rounds + 1 };
        if idle_rounds >= IDLE_ROUNDS {
            park(engine, state);
            last_tick = Instant::now();
            idle_rounds = 0;
        }
    }
}

/// Waits until a guest is called or the engine is gone.
fn park(engine: &EngineWeak, state: &TickerState) {
    state.is_parked.store(true, Ordering::SeqCst);
    // A call that read `is_parked` just before has set `is_active` by the end of this tick.
    thread::park_timeout(TICK);
    while !state.take_activity() && engine.upgrade().is_some() {
        thread::park_timeout(PARKED_PERIOD);
    }
    state.is_parked.store(false, Ordering::SeqCst);
}
