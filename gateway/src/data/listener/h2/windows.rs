//! Windows for request bodies: how much a client may send before its endpoints have read it.
//!
//! 64 KiB for each stream limit an upload to 64 KiB a round trip. While endpoints keep up with the uploads of a
//! connection, its windows are larger. All connections of a worker share what the larger windows may hold.

use std::cell::Cell;
use std::rc::Rc;

use crate::data::wire::window_budget::WindowBudget;

/// Maximum concurrent streams of a connection.
pub(super) const MAX_CONCURRENT_STREAMS: u32 = 100;

/// Bytes that a client may send before the gateway has read them, per stream.
const STREAM_BYTES: u32 = 64 << 10;

/// The same for uploads whose endpoints keep up. 3 MiB for each round trip of 50 ms are 60 MiB/s.
const LARGE_STREAM_BYTES: u32 = 3 << 20;

/// Bytes that a client may send before the gateway has read them, per connection. As many as all streams may send, so that
/// uploads which an endpoint does not read leave window for the other streams. What a client makes the gateway hold in
/// this way, it has sent.
const CONNECTION_BYTES: u32 = MAX_CONCURRENT_STREAMS * STREAM_BYTES;

/// Bytes that a stream must have carried before the windows grow. Smaller bodies gain little.
const MIN_UPLOAD_BYTES: u64 = STREAM_BYTES as u64;

/// Maximum extra bytes of all connections of one worker: 42 uploads with a large window at a time.
const MAX_WORKER_BYTES: u32 = 128 << 20;

/// Uploads for which a connection gets extra bytes when its windows grow, at least.
const MIN_UPLOADS: u32 = 3;

/// The windows of a connection and its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowSizes {
    pub(super) stream: u32,
    pub(super) connection: u32,
}

impl WindowSizes {
    /// Of a new connection.
    pub(super) const INITIAL: Self = Self { stream: STREAM_BYTES, connection: CONNECTION_BYTES };
}

/// The windows of one connection, and what its streams report of their uploads.
///
/// The window of the connection is as large as the windows of all uploads, so that those which an endpoint does not read
/// leave window for the others.
#[derive(Debug)]
pub(super) struct UploadWindows {
    budget: Rc<WindowBudget>,
    /// What the client knows, or is about to learn.
    announced: Cell<WindowSizes>,
    /// Request bodies that are not complete.
    uploads: Cell<u32>,
    /// Extra bytes of the connection; 0 while its windows are not large.
    extra: Cell<u32>,
}

impl UploadWindows {
    pub(super) fn new(budget: Rc<WindowBudget>) -> Rc<Self> {
        let announced = Cell::new(WindowSizes::INITIAL);
        Rc::new(Self { budget, announced, uploads: Cell::new(0), extra: Cell::new(0) })
    }

    /// Counts a request body that begins.
    pub(super) fn on_start(&self) {
        self.uploads.set(self.uploads.get() + 1);
        let needed = self.uploads.get() * LARGE_STREAM_BYTES;
        if self.extra.get() > 0 && self.extra.get() < needed {
            // Without it, uploads that no endpoint reads may stall the others of their client.
            let _ = self.acquire(LARGE_STREAM_BYTES);
        }
    }

    /// Removes a request body that was counted.
    pub(super) fn on_end(&self) {
        self.uploads.set(self.uploads.get().saturating_sub(1));
    }

    /// Reports that an endpoint has taken all unread bytes of a stream, which has carried `total` so far.
    pub(super) fn on_read(&self, total: u64) {
        if total >= MIN_UPLOAD_BYTES && self.extra.get() == 0 {
            let _ = self.acquire(self.uploads.get().max(MIN_UPLOADS) * LARGE_STREAM_BYTES);
        }
    }

    /// Takes extra bytes from the worker's. One connection leaves at least as many to the others.
    fn acquire(&self, bytes: u32) -> bool {
        let extra = self.extra.get() + bytes;
        let is_acquired = self.budget.acquire(bytes, MAX_WORKER_BYTES.saturating_sub(extra));
        if is_acquired {
            self.extra.set(extra);
        }
        is_acquired
    }

    /// Makes the windows those of a new connection. Called when it has no stream: with one, its client would have to accept
    /// a negative window (RFC 9113 §6.9.2), and some stall then.
    pub(super) fn reset(&self) {
        self.budget.release(self.extra.take());
    }

    /// Announces a change from one state to another by `announce`, which returns false if the client has not acknowledged
    /// the last one.
    pub(super) fn update(&self, announce: impl FnOnce(WindowSizes, WindowSizes) -> bool) {
        let wanted = match self.extra.get() {
            0 => WindowSizes::INITIAL,
            extra => WindowSizes { stream: LARGE_STREAM_BYTES, connection: CONNECTION_BYTES + extra },
        };
        let announced = self.announced.get();
        if wanted != announced && announce(announced, wanted) {
            self.announced.set(wanted);
        }
    }
}

impl Drop for UploadWindows {
    fn drop(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is announced, in MiB for a stream and extra MiB for the connection; `None` without a change.
    fn announced(windows: &UploadWindows) -> Option<(u32, u32)> {
        let announced = Cell::new(None);
        windows.update(|_, sizes| {
            announced.set(Some((sizes.stream >> 20, (sizes.connection - CONNECTION_BYTES) >> 20)));
            true
        });
        announced.get()
    }

    #[test]
    fn windows_grow_with_read_uploads_until_the_connection_is_idle() {
        let windows = UploadWindows::new(Rc::default());
        windows.on_start();
        windows.on_read(MIN_UPLOAD_BYTES - 1);
        assert_eq!(announced(&windows), None, "a short body");
        windows.on_read(MIN_UPLOAD_BYTES);
        assert_eq!(announced(&windows), Some((3, 9)));
        windows.on_read(u64::MAX);
        assert_eq!(announced(&windows), None, "once");
        windows.on_end();
        windows.reset();
        windows.update(|_, _| false);
        assert_eq!(announced(&windows), Some((0, 0)), "the change is announced later");
    }

    #[test]
    fn connection_window_covers_all_uploads_up_to_half_of_the_budget() {
        let budget = Rc::<WindowBudget>::default();
        let windows = UploadWindows::new(Rc::clone(&budget));
        for _ in 0..6 {
            windows.on_start();
        }
        windows.on_read(u64::MAX);
        assert_eq!(announced(&windows), Some((3, 18)));
        windows.on_start();
        assert_eq!(announced(&windows), Some((3, 21)));
        for _ in 0..93 {
            windows.on_start();
        }
        assert_eq!(announced(&windows), Some((3, 63)));
        let other = UploadWindows::new(budget);
        other.on_read(u64::MAX);
        assert_eq!(announced(&other), Some((3, 9)), "others have the rest");
    }

    #[test]
    fn extra_bytes_of_a_worker_are_bounded_and_returned() {
        let budget = Rc::<WindowBudget>::default();
        let connections: Vec<_> = (0..20).map(|_| UploadWindows::new(Rc::clone(&budget))).collect();
        connections.iter().for_each(|windows| windows.on_read(u64::MAX));
        let grown = connections.iter().filter(|windows| announced(windows).is_some()).count();
        assert_eq!(grown, 13, "9 MiB each of 128 MiB, less what the last one leaves");
        drop(connections);
        assert!(budget.acquire(MAX_WORKER_BYTES, MAX_WORKER_BYTES));
    }
}
