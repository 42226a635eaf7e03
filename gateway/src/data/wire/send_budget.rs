//! Bytes that a worker holds in the send queues of HTTP/2 connections, for clients that do not read.

use std::cell::Cell;

/// Bytes in the send queues of a worker above which each connection queues one piece at a time. 32 MiB are 128
/// connections with full queues. Clients that read have empty queues, and notice nothing but smaller writes.
const MAX_WORKER_BYTES: usize = 32 << 20;

/// The bytes in all send queues of one worker.
#[derive(Debug, Default)]
pub struct SendBudget {
    queued: Cell<usize>,
}

impl SendBudget {
    /// Returns true if the queues hold less than their maximum.
    pub fn has_space(&self) -> bool {
        self.queued.get() < MAX_WORKER_BYTES
    }

    /// Adds bytes.
    pub fn add(&self, bytes: usize) {
        self.queued.set(self.queued.get() + bytes);
    }

    /// Removes bytes that were added.
    pub fn remove(&self, bytes: usize) {
        self.queued.set(self.queued.get().saturating_sub(bytes));
    }
}
