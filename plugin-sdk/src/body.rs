//! The body of a message, piece by piece or as a whole.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::task::Waker;

use crate::current_host::host;
use crate::host::BufferKind;
use crate::host::Direction;
use crate::host::HostResult;
use crate::host::optional;

/// Position behind the end of any body.
const END: usize = u32::MAX as usize;

/// A piece of a body, or all of it.
///
/// The handler runs for each piece that arrives. With [`Body::buffered`] it runs once, and the message waits until its body
/// is complete.
///
/// A body that is replaced usually has another length. Remove the header `content-length` in `on_request` or `on_response`
/// then: the gateway corrects the framing, Envoy does not.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// async fn redact(body: &mut Body) -> Result<Flow, Error> {
///     let Some(bytes) = body.buffered(64 << 10).await? else {
///         return Ok(Reply::new(413).into());
///     };
///     let text = String::from_utf8_lossy(&bytes).replace("secret", "******");
///     body.replace(text)?;
///     Ok(Flow::Continue)
/// }
/// ```
#[derive(Debug)]
pub struct Body {
    direction: Direction,
    progress: Rc<Progress>,
    /// Where the piece begins in the buffer of the host.
    start: usize,
}

/// What has arrived of a body, shared by its handler and the runtime.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes in the buffer of the host.
    size: Cell<usize>,
    /// Bytes of these that a handler has received.
    passed: Cell<usize>,
    is_end: Cell<bool>,
    /// Whether a handler knows the end.
    is_end_passed: Cell<bool>,
    /// The handler that waits for more.
    waiter: RefCell<Option<Waker>>,
}

impl Body {
    /// Creates the body for a handler. What has arrived counts as passed to it.
    pub(crate) fn new(direction: Direction, progress: Rc<Progress>) -> Self {
        let start = progress.passed.get();
        progress.pass();
        Self { direction, progress, start }
    }

    /// Returns the bytes of this piece.
    pub fn len(&self) -> usize {
        self.progress.passed.get().saturating_sub(self.start)
    }

    /// Returns whether this piece is empty. The last one can be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the body ends with this piece.
    pub fn is_end(&self) -> bool {
        self.progress.is_end_passed.get()
    }

    /// Returns a copy of this piece.
    ///
    /// # Errors
    /// The host failed.
    pub fn bytes(&self) -> HostResult<Vec<u8>> {
        self.read(self.start, self.len())
    }

    /// Replaces this piece.
    ///
    /// # Errors
    /// The host failed.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> HostResult<()> {
        self.edit(self.start, bytes.as_ref())
    }

    /// Adds bytes behind this piece.
    ///
    /// # Errors
    /// The host failed.
    pub fn append(&mut self, bytes: impl AsRef<[u8]>) -> HostResult<()> {
        self.edit(self.progress.passed.get(), bytes.as_ref())
    }

    /// Waits for the end of the body and returns all of it, from this piece on. Returns `None` as soon as it has more bytes
    /// than the limit.
    ///
    /// # Errors
    /// The host failed.
    ///
    /// # Cancellation
    /// The bytes stay in the host.
    pub async fn buffered(&mut self, limit: usize) -> HostResult<Option<Vec<u8>>> {
        let is_complete = poll_fn(|context| {
            self.progress.pass();
            if self.len() > limit {
                Poll::Ready(false)
            } else if self.is_end() {
                Poll::Ready(true)
            } else {
                *self.progress.waiter.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        });
        if is_complete.await { self.bytes().map(Some) } else { Ok(None) }
    }

    fn read(&self, start: usize, len: usize) -> HostResult<Vec<u8>> {
        let bytes = host().buffer_bytes(BufferKind::body(self.direction), start, len);
        Ok(optional(bytes)?.unwrap_or_default())
    }

    /// Replaces the bytes from a position to the end of this piece.
    fn edit(&self, start: usize, bytes: &[u8]) -> HostResult<()> {
        let Progress { size, passed, .. } = &*self.progress;
        let buffer = BufferKind::body(self.direction);
        let behind = size.get().saturating_sub(passed.get());
        if behind == 0 && start == 0 {
            host().set_buffer_bytes(buffer, 0, END, bytes)?;
        } else if behind == 0 && start == size.get() {
            host().set_buffer_bytes(buffer, END, 0, bytes)?;
        } else {
            // Envoy replaces whole buffers only.
            let parts = [&self.read(0, start)?, bytes, &self.read(passed.get(), behind)?];
            host().set_buffer_bytes(buffer, 0, END, &parts.concat())?;
        }
        passed.set(start + bytes.len());
        size.set(start + bytes.len() + behind);
        Ok(())
    }
}

impl Progress {
    /// Notes what the host has now, and wakes the handler that waits for it.
    pub(crate) fn update(&self, size: usize, is_end: bool) {
        self.size.set(size);
        self.end(is_end);
    }

    /// Notes the end, if it is reached.
    pub(crate) fn end(&self, is_end: bool) {
        if is_end {
            self.is_end.set(true);
        }
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Notes that the host has sent all bytes on: the next ones begin a new buffer.
    pub(crate) fn flush(&self) {
        self.size.set(0);
        self.passed.set(0);
    }

    /// Returns whether there is something that no handler has received.
    pub(crate) fn has_news(&self) -> bool {
        self.size.get() > self.passed.get() || self.is_end.get() && !self.is_end_passed.get()
    }

    /// Returns whether a handler waits for more.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiter.borrow().is_some()
    }

    /// Notes that the handler receives all.
    fn pass(&self) {
        self.passed.set(self.size.get());
        self.is_end_passed.set(self.is_end.get());
    }
}
