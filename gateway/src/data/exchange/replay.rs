//! The beginning of a request's body, held while the request might have to be sent again.
//!
//! Holding copies nothing: pieces share the bytes that were received. Not here: whether a request may be sent again
//! (`upstream`).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http1::BodyLength;

use crate::data::wire::{BodyReader, Piece, StreamError};

/// So many bytes are held at most; a request with more was sent for good.
const MAX_REPLAY_BYTES: usize = 64 << 10;

/// What was read of a body so far.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The piece that is sent next; beyond the last one, the body goes on at its source.
    next: usize,
    /// Whether all that was read is held.
    is_replayable: bool,
    /// Whether the source has said its end.
    is_ended: bool,
}

impl ReplayBuffer {
    /// Begins before the first piece; with `is_replayable` false nothing is held.
    pub(super) fn new(is_replayable: bool) -> Self {
        Self { pieces: Vec::new(), bytes: 0, next: 0, is_replayable, is_ended: false }
    }

    /// Whether all that was read is held, so that the body can be sent again.
    pub(super) fn is_replayable(&self) -> bool {
        self.is_replayable
    }

    /// Whether all of a body of this length will be held. Of a chunked one nothing is known: it may be too long, or
    /// end with trailers.
    pub(super) fn will_be_replayable(&self, length: BodyLength) -> bool {
        let fits = match length {
            BodyLength::Empty => true,
            BodyLength::Exact(length) => length <= MAX_REPLAY_BYTES as u64,
            BodyLength::Chunked | BodyLength::UntilClose => false,
        };
        self.is_replayable && fits
    }

    /// Sends from the first piece again.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// Holds nothing more: the request will not be sent again. What is still to be sent once stays.
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
            // Trailers are rare enough with such requests that they are not worth holding.
            Piece::Data(_) | Piece::Trailers(_) => {
                self.is_replayable = false;
                self.pieces.clear();
            }
        }
    }
}

/// A side whose body is read through what is held of it.
pub(super) struct ReplayReader<'a, R> {
    /// Where the body goes on.
    pub(super) source: &'a mut R,
    /// What comes before.
    pub(super) buffer: &'a mut ReplayBuffer,
}

impl<R: BodyReader> BodyReader for ReplayReader<'_, R> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
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
    use std::task::Waker;

    use super::*;

    /// Gives these bytes piece by piece, and its end once.
    struct Source(Vec<&'static [u8]>);

    impl BodyReader for Source {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
            assert_ne!(self.0, [b"over"], "not asked again after the end");
            Poll::Ready(Ok(match self.0.remove(0) {
                b"" => {
                    self.0 = vec![b"over"];
                    Piece::End
                }
                data => Piece::Data(data.into()),
            }))
        }
    }

    fn read(source: &mut Source, buffer: &mut ReplayBuffer) -> Option<Vec<u8>> {
        match (ReplayReader { source: source, buffer }).poll_piece(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Piece::Data(data))) => Some(data.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn what_was_read_comes_again_and_then_what_was_not() {
        let mut source = Source(vec![b"one", b"two", b""]);
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
    fn more_than_64_kib_is_not_held() {
        static LARGE: [u8; MAX_REPLAY_BYTES] = [b'x'; MAX_REPLAY_BYTES];
        let mut source = Source(vec![&LARGE, b"y", b"z", b""]);
        let mut buffer = ReplayBuffer::new(true);
        read(&mut source, &mut buffer);
        assert!(buffer.is_replayable());
        assert_eq!(read(&mut source, &mut buffer), Some(b"y".to_vec()));
        assert!(!buffer.is_replayable() && buffer.pieces.is_empty());
        assert_eq!(read(&mut source, &mut buffer), Some(b"z".to_vec()));
    }
}
