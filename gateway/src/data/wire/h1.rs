//! One HTTP/1.1 connection, either side: heads and bodies over a byte stream.
//!
//! Not here: what heads mean, deadlines, and whether the connection is used again.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http1::{BodyDecoder, BodyEncoder, BodyLength, Decoded, Head, HeadError, HeadLimits, HeadScanner};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::buffers::{BUFFER_BYTES, BufferPool};
use super::output::Output;
use super::{BodyReader, BodyWriter, Piece, StreamError};

/// So many bytes of a head that is not whole are moved when the buffers are given back; whoever sends more before it
/// pauses keeps them. Moved often, more of them would cost more than they hold.
const MAX_COPIED_INPUT_BYTES: usize = 1 << 10;

/// The most that is read at once, bytes: a piece of a large body. Half of it costs a third more CPU time per GB, twice of it
/// as much as this.
const MAX_READ_BYTES: usize = 128 << 10;

/// Takes a head off the front of a buffer: [`http1::parse::request`] or [`http1::parse::response`].
pub type ParseHead = fn(&mut BytesMut, &mut HeadScanner, &HeadLimits) -> Result<Option<Head>, HeadError>;

/// An HTTP/1.1 connection over `T`. While idle it owns no buffer.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    input: BytesMut,
    output: Output,
    scanner: HeadScanner,
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    /// Whether any byte arrived since [`Connection::acquire_buffers`].
    has_received: bool,
    /// Room for the next read, bytes.
    read_size: usize,
    limits: HeadLimits,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Wraps a connected stream.
    pub fn new(io: T, limits: HeadLimits) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            output: Output::default(),
            scanner: HeadScanner::default(),
            decoder: BodyDecoder::new(BodyLength::Empty),
            encoder: BodyEncoder::new(BodyLength::Empty),
            has_received: false,
            read_size: BUFFER_BYTES,
            limits,
        }
    }

    /// The stream below.
    pub fn io(&mut self) -> &mut T {
        &mut self.io
    }

    /// Gives the stream back, with what was received but not used.
    pub fn into_parts(self) -> (T, Bytes) {
        (self.io, self.input.freeze())
    }

    /// Takes the buffers that an exchange needs from the worker.
    pub fn acquire_buffers(&mut self, buffers: &BufferPool) {
        self.has_received = false;
        self.read_size = BUFFER_BYTES;
        if self.input.capacity() <= MAX_COPIED_INPUT_BYTES {
            let mut buffer = buffers.acquire();
            buffer.extend_from_slice(&self.input);
            self.input = buffer;
        }
        if self.output.tail.capacity() == 0 {
            self.output.tail = buffers.acquire();
        }
    }

    /// Gives the buffers back, unless they hold bytes that are still to be sent or many that are still to be used; a few
    /// of those move.
    pub fn release_buffers(&mut self, buffers: &BufferPool) {
        if self.input.len() <= MAX_COPIED_INPUT_BYTES {
            let unread = BytesMut::from(&self.input[..]);
            buffers.release(std::mem::replace(&mut self.input, unread));
        }
        if self.output.is_empty() {
            buffers.release(std::mem::take(&mut self.output.tail));
        }
    }

    /// Whether bytes of a next message have already arrived.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// The bytes that have arrived and were not used.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Whether any byte arrived since the buffers were lent.
    pub fn has_received(&self) -> bool {
        self.has_received
    }

    /// Whether the incoming message's body has been read to its end.
    pub fn is_body_read(&self) -> bool {
        self.decoder.is_ended()
    }

    /// Whether all that was written has been sent.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Where a head is written; it is sent with the body's first piece, or by [`BodyWriter::poll_flush`].
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output.tail
    }

    /// Says how the body that goes out is framed.
    pub fn start_sending_body(&mut self, length: BodyLength) {
        self.encoder = BodyEncoder::new(length);
    }

    /// Says how the body that comes in is framed.
    pub fn start_receiving_body(&mut self, length: BodyLength) {
        self.decoder = BodyDecoder::new(length);
    }

    /// Reads the next head; nothing if the peer closed instead of sending one.
    ///
    /// # Errors
    /// The connection was lost, or the head was refused.
    pub fn poll_head(
        &mut self,
        parse: ParseHead,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Head>, StreamError>> {
        loop {
            if !self.input.is_empty()
                && let Some(head) = parse(&mut self.input, &mut self.scanner, &self.limits)?
            {
                return Poll::Ready(Ok(Some(head)));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(if self.input.is_empty() {
                    Ok(None)
                } else {
                    Err(StreamError::Disconnected(io::ErrorKind::UnexpectedEof.into()))
                });
            }
        }
    }

    /// Reads what is there, waiting for at least one byte; 0 at the end.
    ///
    /// # Errors
    /// The connection was lost.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Less than half of it left: move to the front, or take a new buffer if pieces still share this one.
        if self.input.capacity() - self.input.len() < self.read_size / 2 {
            self.input.reserve(self.read_size);
        }
        let spare = self.input.capacity() - self.input.len();
        let read = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?;
        self.has_received |= read > 0;
        // Whoever fills the room has more to say: fewer and larger reads, until the exchange is over.
        if read == spare {
            self.read_size = MAX_READ_BYTES.min(self.read_size * 2);
        }
        Poll::Ready(Ok(read))
    }

    /// Whether an idle connection can still be used: it is open and silent. Costs no system call as long as
    /// the runtime has seen nothing of it.
    pub fn is_reusable(&mut self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let mut byte = [0u8; 1];
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Ends the outgoing direction, so that the peer sees an orderly close.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Forgets what was received, for a connection that is about to be closed.
    pub fn discard_input(&mut self) {
        self.input.clear();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> BodyReader for Connection<T> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        loop {
            match self.decoder.decode(&mut self.input, &self.limits)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Piece::Data(data))),
                Decoded::Trailers(trailers) => return Poll::Ready(Ok(Piece::Trailers(trailers))),
                Decoded::End => return Poll::Ready(Ok(Piece::End)),
                Decoded::Incomplete => {}
            }
            if ready!(self.poll_fill(cx))? == 0 {
                self.decoder.finish()?;
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> BodyWriter for Connection<T> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.output.has_capacity() { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
        let tail = &mut self.output.tail;
        let framed = match piece {
            Piece::Data(data) => self.encoder.begin_data(data.len(), tail).map(|()| {
                self.output.push(data);
                self.encoder.end_data(&mut self.output.tail);
            }),
            Piece::Trailers(trailers) => self.encoder.finish(Some(&trailers), tail),
            Piece::End => self.encoder.finish(None, tail),
        };
        framed.map_err(|_| StreamError::LengthMismatch)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.output.poll_send(&mut self.io, cx))?;
        // TLS keeps records back until it is flushed; for TCP this is nothing.
        Pin::new(&mut self.io).poll_flush(cx).map_err(StreamError::Disconnected)
    }
}
