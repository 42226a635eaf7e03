//! One load for all streams that need its result at the same time.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::task::Waker;

/// Lets one stream load a value, while others wait for the same value.
///
/// It keeps nothing: a call after the end of a load begins another one. If the stream that loads is dropped, one of those that wait
/// loads instead.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use plugin_sdk::SingleFlight;
/// use plugin_sdk::prelude::*;
///
/// struct Keys {
///     present: RefCell<Option<Rc<Vec<u8>>>>,
///     loading: SingleFlight<Option<Rc<Vec<u8>>>>,
/// }
///
/// impl Keys {
///     async fn get(&self) -> Option<Rc<Vec<u8>>> {
///         if let Some(keys) = self.present.borrow().clone() {
///             return Some(keys);
///         }
///         self.loading.run(async || self.load().await).await
///     }
///
///     async fn load(&self) -> Option<Rc<Vec<u8>>> {
///         let answer = callout::http("keys:80").path("/jwks.json").send().await.ok()?;
///         let keys = Rc::new(answer.body().to_vec());
///         self.present.replace(Some(Rc::clone(&keys)));
///         Some(keys)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct SingleFlight<T> {
    /// The load that runs.
    load: RefCell<Option<Rc<Load<T>>>>,
}

#[derive(Debug)]
struct Load<T> {
    outcome: RefCell<Outcome<T>>,
    waiting: RefCell<Vec<Waker>>,
}

#[derive(Debug)]
enum Outcome<T> {
    Pending,
    Loaded(T),
    /// The stream that loaded was dropped.
    Abandoned,
}

/// Ends the load when it is dropped.
struct Guard<'a, T> {
    flight: &'a SingleFlight<T>,
    load: Rc<Load<T>>,
    is_loaded: Cell<bool>,
}

impl<T: Clone> SingleFlight<T> {
    /// Creates one without a load.
    pub fn new() -> Self {
        Self { load: RefCell::new(None) }
    }

    /// Returns the value of the load that runs, or runs the function.
    ///
    /// # Cancellation
    /// If this call loads, another one that waits runs its function.
    pub async fn run(&self, load: impl AsyncFnOnce() -> T) -> T {
        loop {
            let running = self.load.borrow().clone();
            let Some(running) = running else { break };
            if let Some(value) = running.wait().await {
                return value;
            }
        }
        let guard = Guard::new(self);
        let value = load().await;
        guard.finish(value.clone());
        value
    }
}

impl<T: Clone> Default for SingleFlight<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Load<T> {
    /// Waits for the value. Returns `None` if the load was abandoned.
    async fn wait(&self) -> Option<T> {
        poll_fn(|context| match &*self.outcome.borrow() {
            Outcome::Pending => {
                self.waiting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
            Outcome::Loaded(value) => Poll::Ready(Some(value.clone())),
            Outcome::Abandoned => Poll::Ready(None),
        })
        .await
    }
}

impl<'a, T> Guard<'a, T> {
    fn new(flight: &'a SingleFlight<T>) -> Self {
        let load = Load { outcome: RefCell::new(Outcome::Pending), waiting: RefCell::default() };
        let load = Rc::new(load);
        flight.load.replace(Some(Rc::clone(&load)));
        Self { flight, load, is_loaded: Cell::new(false) }
    }

    fn finish(self, value: T) {
        self.load.outcome.replace(Outcome::Loaded(value));
        self.is_loaded.set(true);
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if !self.is_loaded.get() {
            self.load.outcome.replace(Outcome::Abandoned);
        }
        self.flight.load.take();
        for waker in self.load.waiting.take() {
            waker.wake();
        }
    }
}
