//! Buffers that a worker lends to exchanges, so that an idle connection owns none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a lent buffer: room for nearly every head, and one TLS record.
pub const BUFFER_SIZE: usize = 16 << 10;

/// How many buffers a worker keeps for the next exchange (16 MiB at most).
const MOST_KEPT: usize = 1024;

/// The buffers of one worker.
#[derive(Debug, Default)]
pub struct Buffers {
    free: RefCell<Vec<BytesMut>>,
}

impl Buffers {
    /// Lends an empty buffer with room for [`BUFFER_SIZE`] bytes.
    pub fn take(&self) -> BytesMut {
        self.free.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_SIZE))
    }

    /// How many wait to be lent again.
    pub fn kept(&self) -> usize {
        self.free.borrow().len()
    }

    /// Takes a buffer back; its content is forgotten.
    ///
    /// A buffer that parts of a message still share, or that grew, is not kept.
    pub fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut free = self.free.borrow_mut();
        if free.len() < MOST_KEPT && buffer.try_reclaim(BUFFER_SIZE) && buffer.capacity() <= 2 * BUFFER_SIZE {
            free.push(buffer);
        }
    }
}
