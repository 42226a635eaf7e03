//! Buffers the start of a request's body while a retry may have to send it again.
//!
//! Buffering copies no bytes: pieces share the memory into which they were received. Not here: deciding on a retry
//! (`upstream`).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http1::BodyLength;

use crate::data::wire::{BodyReader, Piece};

/// Maximum request body bytes kept for a retry. A larger body is sent once only.
const MAX_REPLAY_BYTES: usize = 64 << 10;

/// The part of a body that was read so far.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// Index of the piece that is read next. From `pieces.len()` on, pieces come from the source.
    next: usize,
    /// Whether the buffer has all that was read.
    is_replayable: bool,
    /// Whether the source returned [`Piece::End`].
    is_ended: bool,
}

impl ReplayBuffer {
    /// Creates an empty buffer. It stays empty if `is_replayable` is false.
    pub(super) fn new(is_replayable: bool) -> Self {
        Self { pieces: Vec::new(), bytes: 0, next: 0, is_replayable, is_ended: false }
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

    /// Continues with the first piece.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// Stops buffering, since no retry follows. Pieces that are not sent yet stay.
    pub(super) fn release(&mut self) {
        self.is_replayable = false;
    }

    fn push(&mut self, piece: &Piece) {
        match piece {
            Piece::End => self.is_ended = true,
            Piece::Data(data) if self.bytes + data.len() <= MAX_REPLAY_BYTES => {
                self.bytes += data.len();
                self.pieces.push(data.clone());
                self.next = self.pieces.len();
            }
            // Retryable requests with trailers are rare, so trailers are not buffered.
            Piece::Data(_) | Piece::Trailers(_) => {
                self.is_replayable = false;
                self.pieces.clear();
            }
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
        if let Some(piece) = self.buffer.pieces.get(self.buffer.next) {
            self.buffer.next += 1;
            return Poll::Ready(Ok(Piece::Data(piece.clone())));
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
    fn rewound_body_repeats_read_pieces_then_continues() {
        let mut source = Pieces(vec![b"one", b"two", b""]);
        let mut buffer = ReplayBuffer::new(true);
        assert_eq!(read(&mut source, &mut buffer), Some(b"one".to_vec()));
        for _ in 0..2 {
            buffer.rewind();
            assert!(buffer.is_replayable());
            assert_eq!(read(&mut source, &mut buffer), Some(b"one".to_vec()));
            assert_eq!(read(&mut source, &mut buffer), Some(b"two".to_vec()));
            assert_eq!(read(&mut source, &mut buffer), None);
        }
    }

    #[test]
    fn body_above_64_kib_is_not_buffered() {
        static LARGE: [u8; MAX_REPLAY_BYTES] = [b'x'; MAX_REPLAY_BYTES];
        let mut source = Pieces(vec![&LARGE, b"y", b"z", b""]);
        let mut buffer = ReplayBuffer::new(true);
        read(&mut source, &mut buffer);
        assert!(buffer.is_replayable());
        assert_eq!(read(&mut source, &mut buffer), Some(b"y".to_vec()));
        assert!(!buffer.is_replayable() && buffer.pieces.is_empty());
        assert_eq!(read(&mut source, &mut buffer), Some(b"z".to_vec()));
    }
}
