//! Wakers: they note the context whose futures can go on.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Wake;
use std::task::Waker;

thread_local! {
    /// Contexts whose futures were woken, each once.
    static READY: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

struct ContextWaker(u32);

impl Wake for ContextWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        READY.with_borrow_mut(|ready| {
            if !ready.contains(&self.0) {
                ready.push(self.0);
            }
        });
    }
}

/// Creates the waker of a context. Of a plugin that never waits it does nothing, and needs no code in the module.
#[inline]
pub(crate) fn waker(context: u32, waits: bool) -> Waker {
    if waits { Arc::new(ContextWaker(context)).into() } else { Waker::noop().clone() }
}

/// Returns a context that was woken, and forgets it.
pub(crate) fn next_ready() -> Option<u32> {
    READY.with_borrow_mut(Vec::pop)
}

/// Forgets that a context was woken.
#[inline]
pub(crate) fn clear_ready(context: u32, waits: bool) {
    if waits {
        READY.with_borrow_mut(|ready| ready.retain(|other| *other != context));
    }
}
