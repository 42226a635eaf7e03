//! Read and write buffers that a worker lends to its connections, so that an idle connection owns none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Capacity of a buffer. 16 KiB holds nearly every head, and one TLS record.
pub const BUFFER_BYTES: usize = 16 << 10;

/// Maximum buffers that a worker keeps for reuse, in all 16 MiB. A buffer beyond that is freed.
const MAX_FREE_BUFFERS: usize = 1024;

/// The unused buffers of one worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: RefCell<Vec<BytesMut>>,
}

impl BufferPool {
    /// Returns an empty buffer with a capacity of at least [`BUFFER_BYTES`].
    pub fn acquire(&self) -> BytesMut {
        self.free.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    /// Returns the number of buffers that are free.
    pub fn free_count(&self) -> usize {
        self.free.borrow().len()
    }

    /// Frees all buffers that are free.
    pub fn clear(&self) {
        self.free.borrow_mut().clear();
    }

    /// Clears a buffer and keeps it for reuse.
    ///
    /// A buffer is freed instead if parts of a message still share it, or if it has more than twice the capacity.
    pub fn release(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut free = self.free.borrow_mut();
        if free.len() < MAX_FREE_BUFFERS
            && buffer.try_reclaim(BUFFER_BYTES)
            && buffer.capacity() <= 2 * BUFFER_BYTES
        {
            free.push(buffer);
        }
    }
}
