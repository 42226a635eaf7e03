//! Bytes that the clients of a worker may send beyond the usual windows of HTTP/2.

use std::cell::Cell;

/// The extra bytes that connections of one worker hold.
#[derive(Debug, Default)]
pub struct WindowBudget {
    granted: Cell<u32>,
}

impl WindowBudget {
    /// Adds extra bytes of a connection, unless all of them would be more than `max`.
    pub fn acquire(&self, bytes: u32, max: u32) -> bool {
        let granted = self.granted.get().saturating_add(bytes);
        if granted > max {
            return false;
        }
        self.granted.set(granted);
        true
    }

    /// Removes bytes that were acquired.
    pub fn release(&self, bytes: u32) {
        self.granted.set(self.granted.get().saturating_sub(bytes));
    }
}
