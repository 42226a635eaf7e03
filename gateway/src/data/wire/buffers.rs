//! Buffers that a worker lends to exchanges, so that an idle connection owns none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a lent buffer: room for nearly every head, and one TLS record.
pub const BUFFER_BYTES: usize = 16 << 10;

/// How many buffers a worker keeps for the next exchange (16 MiB at most).
const MAX_FREE_BUFFERS: usize = 1024;

/// The buffers of one worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: RefCell<Vec<BytesMut>>,
}

impl BufferPool {
    /// Lends an empty buffer with room for [`BUFFER_BYTES`] bytes.
    pub fn acquire(&self) -> BytesMut {
        self.free.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    /// How many wait to be lent again.
    pub fn free_count(&self) -> usize {
        self.free.borrow().len()
    }

    /// Takes a buffer back; its content is forgotten.
    ///
    /// A buffer that parts of a message still share, or that grew, is not kept.
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
