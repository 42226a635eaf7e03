//! Buffers the start of a request's body while a retry may have to send it again.
//!
//! The bytes are copied: a piece shares the memory into which it was received, which can be 250 times as large as the
//! piece (chunk extensions). Not here: deciding on a retry (`upstream`).

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http1::BodyLength;

use crate::data::wire::{BodyReader, Piece};

/// Maximum request body bytes kept for a retry. A larger body is sent once only.
const MAX_REPLAY_BYTES: usize = 64 << 10;

/// The part of a body that was read so far.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    data: BytesMut,
    /// Bytes of `data` that are read. Behind them, pieces come from the source.
    read: usize,
    /// Whether the buffer has all that was read.
    is_replayable: bool,
    /// Whether the source returned [`Piece::End`].
    is_ended: bool,
}

impl ReplayBuffer {
    /// Creates an empty buffer. It stays empty if `is_replayable` is false.
    pub(super) fn new(is_replayable: bool) -> Self {
        Self { data: BytesMut::new(), read: 0, is_replayable, is_ended: false }
    }

    /// Returns true if all that was read can be read again.
    pub(super) fn is_replayable(&self) -> bool {
        self.is_replayable
    }

    /// Returns true if a body of this length is sure to stay replayable. A chunked body is not: it may be too long, or
    /// have trailers.
    pub(super) fn will_be_replayable(&self, length: BodyLength) -> bool {
        let fits = match length {
            BodyLength::Empty => true,
            BodyLength::Exact(length) => length <= MAX_REPLAY_BYTES as u64,
            BodyLength::Chunked | BodyLength::UntilClose => false,
        };
        self.is_replayable && fits
    }

    /// Continues with the first byte.
    pub(super) fn rewind(&mut self) {
        self.read = 0;
    }

    /// Stops buffering, since no retry follows. Bytes that must be read again stay until they are.
    pub(super) fn release(&mut self) {
        self.is_replayable = false;
        self.drop_read();
    }

    /// Frees the bytes that are read, unless they may be read again.
    fn drop_read(&mut self) {
        if !self.is_replayable && self.read == self.data.len() {
            (self.data, self.read) = (BytesMut::new(), 0);
        }
    }

    fn push(&mut self, piece: &Piece) {
        match piece {
            Piece::End => self.is_ended = true,
            Piece::Data(data) if self.data.len() + data.len() <= MAX_REPLAY_BYTES => {
                self.data.extend_from_slice(data);
                self.read = self.data.len();
            }
            // Retryable requests with trailers are rare, so trailers are not buffered.
            Piece::Data(_) | Piece::Trailers(_) => self.release(),
        }
    }
}

/// Reads a body through its [`ReplayBuffer`].
pub(super) struct ReplayReader<'a, R> {
    /// Source of the pieces that follow the buffered ones.
    pub(super) source: &'a mut R,
    /// Pieces that were read before.
    pub(super) buffer: &'a mut ReplayBuffer,
}

impl<R: BodyReader> BodyReader for ReplayReader<'_, R> {
    type Error = R::Error;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, R::Error>> {
        let buffer = &mut *self.buffer;
        if let Some(unread @ [_, ..]) = buffer.data.get(buffer.read..) {
            let data = Bytes::copy_from_slice(unread);
            buffer.read = buffer.data.len();
            buffer.drop_read();
            return Poll::Ready(Ok(Piece::Data(data)));
        }
        if self.buffer.is_ended {
            return Poll::Ready(Ok(Piece::End));
        }
        let piece = ready!(self.source.poll_piece(cx))?;
        if self.buffer.is_replayable {
            self.buffer.push(&piece);
        }
        Poll::Ready(Ok(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use super::*;

    /// Returns these pieces, and for an empty one the end. Panics if it is polled after the end.
    struct Pieces(Vec<&'static [u8]>);

    impl BodyReader for Pieces {
        type Error = Infallible;

        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, Infallible>> {
            assert_ne!(self.0, [b"over"], "polled after the end");
            Poll::Ready(Ok(match self.0.remove(0) {
                b"" => {
                    self.0 = vec![b"over"];
                    Piece::End
                }
                data => Piece::Data(data.into()),
            }))
        }
    }

    fn read(source: &mut Pieces, buffer: &mut ReplayBuffer) -> Option<Vec<u8>> {
        match (ReplayReader { source, buffer }).poll_piece(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Piece::Data(data))) => Some(data.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn rewound_body_repeats_read_bytes_then_continues() {
        let mut source = Pieces(vec![b"one", b"two", b""]);
        let mut buffer = ReplayBuffer::new(true);
        assert_eq!(read(&mut source, &mut buffer), Some(b"one".to_vec()));
        buffer.rewind();
        assert!(buffer.is_replayable());
        assert_eq!(read(&mut source, &mut buffer), Some(b"one".to_vec()));
        assert_eq!(read(&mut source, &mut buffer), Some(b"two".to_vec()));
        assert_eq!(read(&mut source, &mut buffer), None);
        buffer.rewind();
        assert_eq!(read(&mut source, &mut buffer), Some(b"onetwo".to_vec()));
        assert_eq!(read(&mut source, &mut buffer), None);
    }

    #[test]
    fn released_buffer_keeps_only_bytes_to_repeat() {
        let mut source = Pieces(vec![b"one", b"two", b"three", b""]);
        let mut buffer = ReplayBuffer::new(true);
        read(&mut source, &mut buffer);
        read(&mut source, &mut buffer);
        buffer.rewind();
        buffer.release();
        assert_eq!(read(&mut source, &mut buffer), Some(b"onetwo".to_vec()));
        assert_eq!(buffer.data.capacity(), 0, "no retry follows");
        assert_eq!(read(&mut source, &mut buffer), Some(b"three".to_vec()));
        assert_eq!((buffer.data.capacity(), read(&mut source, &mut buffer)), (0, None));
    }

    #[test]
    fn buffered_bytes_share_no_received_memory() {
        let received = Bytes::from(vec![b'x'; 1 << 20]);
        let mut buffer = ReplayBuffer::new(true);
        for at in 0..100 {
            buffer.push(&Piece::Data(received.slice(at * 1000..at * 1000 + 1)));
        }
        assert!(received.is_unique());
        assert_eq!((buffer.data.len(), buffer.is_replayable()), (100, true));
    }

    #[test]
    fn body_above_64_kib_is_not_buffered() {
        static LARGE: [u8; MAX_REPLAY_BYTES] = [b'x'; MAX_REPLAY_BYTES];
        let mut source = Pieces(vec![&LARGE, b"y", b"z", b""]);
        let mut buffer = ReplayBuffer::new(true);
        read(&mut source, &mut buffer);
        assert!(buffer.is_replayable());
        assert_eq!(read(&mut source, &mut buffer), Some(b"y".to_vec()));
        assert!(!buffer.is_replayable() && buffer.data.capacity() == 0);
        assert_eq!(read(&mut source, &mut buffer), Some(b"z".to_vec()));
    }
}
