//! The data that `h2` holds for the client of one connection, and its limits.
//!
//! `h2` counts the payload of a stream. It does not count what a frame costs, and a stream's limit does not limit a
//! connection with many streams. So each frame is charged here until `h2` drops it: sent, or cleared by a reset.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::data::wire::pending::MAX_COPIED_BYTES;
use crate::data::wire::send_budget::SendBudget;

/// Charge of a frame in addition to its payload. `h2` 0.4 holds a queued frame in about 430 bytes.
const FRAME_COST_BYTES: usize = 512;

/// Bytes from which a connection queues no further frame. 256 KiB are four full streams. The socket has a buffer of its
/// own, so a larger queue does not make a client that reads faster.
const MAX_CONNECTION_BYTES: usize = 256 << 10;

/// Maximum payload of a frame while the queues of the worker are full.
const MAX_PRESSED_FRAME_BYTES: usize = 16 << 10;

/// Bytes in the queue from which small pieces are copied. Fewer pieces cannot share much more memory than their own.
const MIN_COPYING_BYTES: usize = 16 << 10;

/// The frames that `h2` holds for one connection.
#[derive(Debug)]
pub(super) struct SendQueue {
    bytes: Cell<usize>,
    budget: Rc<SendBudget>,
    /// Streams that wait for space.
    waiters: RefCell<Vec<Waker>>,
}

/// The payload of a frame. Its drop ends its charge.
#[derive(Debug)]
pub(super) struct QueuedData {
    data: Bytes,
    charge: usize,
    queue: Rc<SendQueue>,
}

impl SendQueue {
    /// Creates an empty queue. `budget` is that of the worker.
    pub(super) fn new(budget: Rc<SendBudget>) -> Rc<Self> {
        Rc::new(Self { bytes: Cell::new(0), budget, waiters: RefCell::default() })
    }

    /// Returns the maximum payload of the next frame, 0 while the queue is full. An empty queue always accepts a frame.
    pub(super) fn space(&self) -> usize {
        match (self.bytes.get(), self.budget.has_space()) {
            (bytes, true) if bytes < MAX_CONNECTION_BYTES => usize::MAX,
            (0, _) => MAX_PRESSED_FRAME_BYTES,
            _ => 0,
        }
    }

    /// Waits until [`SendQueue::space`] is not 0.
    pub(super) fn poll_space(&self, cx: &Context<'_>) -> Poll<()> {
        if self.space() > 0 {
            return Poll::Ready(());
        }
        let mut waiters = self.waiters.borrow_mut();
        if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Charges the payload of a frame.
    pub(super) fn charge(self: &Rc<Self>, data: Bytes) -> QueuedData {
        let is_copied = data.len() <= MAX_COPIED_BYTES && self.bytes.get() >= MIN_COPYING_BYTES;
        let data = if is_copied { Bytes::copy_from_slice(&data) } else { data };
        let charge = data.len() + FRAME_COST_BYTES;
        self.bytes.set(self.bytes.get() + charge);
        self.budget.add(charge);
        QueuedData { data, charge, queue: Rc::clone(self) }
    }

    fn release(&self, charge: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(charge));
        self.budget.remove(charge);
        if self.space() > 0 && !self.waiters.borrow().is_empty() {
            // `h2` holds a lock meanwhile. A wake only schedules the stream's future.
            self.waiters.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Buf for QueuedData {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

impl Drop for QueuedData {
    fn drop(&mut self) {
        self.queue.release(self.charge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_accepts_frames_again_when_some_are_dropped() {
        let queue = SendQueue::new(Rc::default());
        let mut frames = Vec::new();
        while queue.space() > 0 {
            frames.push(queue.charge(Bytes::from_static(b"x")));
        }
        assert_eq!(frames.len(), MAX_CONNECTION_BYTES.div_ceil(FRAME_COST_BYTES + 1), "1-byte frames");
        assert!(queue.poll_space(&Context::from_waker(Waker::noop())).is_pending());
        frames.pop();
        assert!(queue.space() > 0 && queue.waiters.borrow().is_empty());
        drop(frames);
        assert_eq!(queue.bytes.get(), 0);
    }

    #[test]
    fn full_worker_leaves_each_connection_one_frame() {
        let budget = Rc::<SendBudget>::default();
        let mut held = Vec::new();
        while budget.has_space() {
            let queue = SendQueue::new(Rc::clone(&budget));
            while queue.space() > 0 {
                held.push(queue.charge(Bytes::from_static(&[0; 8 << 10])));
            }
        }
        let queue = SendQueue::new(Rc::clone(&budget));
        assert_eq!(queue.space(), MAX_PRESSED_FRAME_BYTES);
        let frame = queue.charge(Bytes::from_static(b"x"));
        assert_eq!(queue.space(), 0);
        drop(frame);
        assert_eq!(queue.space(), MAX_PRESSED_FRAME_BYTES);
        drop(held);
        assert_eq!(queue.space(), usize::MAX);
    }

    #[test]
    fn queued_small_pieces_do_not_share_received_memory() {
        let queue = SendQueue::new(Rc::default());
        let _full = queue.charge(Bytes::from(vec![0; MIN_COPYING_BYTES]));
        let received = Bytes::from(vec![0; 64 << 10]);
        let _small = queue.charge(received.slice(..100));
        assert!(received.is_unique());
    }
}
