//! An HTTP/1.1 connection of a client or an endpoint: heads and bodies over a byte stream.
//!
//! Not here: the meaning of heads, deadlines, and whether the connection is reused.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http1::{BodyDecoder, BodyEncoder, BodyLength, Decoded, Head, HeadError, HeadLimits, HeadScanner};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::buffers::{BUFFER_BYTES, BufferPool};
use super::output::Output;
use super::pending::MAX_COPIED_BYTES;
use super::{BodyReader, BodyWriter, Piece, StreamError};

/// Maximum unread bytes that are copied when the buffers return to the pool. A connection with more keeps its
/// buffer: copying more than 1 KiB at each pause costs more than the buffer that it saves.
const MAX_COPIED_INPUT_BYTES: usize = 1 << 10;

/// Maximum bytes of one read. 64 KiB cost a third more CPU time per GB of a large body; 256 KiB save nothing.
const MAX_READ_BYTES: usize = 128 << 10;

/// Parses a head at the front of a buffer: [`http1::parse::request`] or [`http1::parse::response`].
pub type ParseHead = fn(&mut BytesMut, &mut HeadScanner, &HeadLimits) -> Result<Option<Head>, HeadError>;

/// An HTTP/1.1 connection over `T`. It owns no buffer while it is idle.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    input: BytesMut,
    output: Output,
    scanner: HeadScanner,
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    /// Whether a byte has arrived since [`Connection::acquire_buffers`].
    has_received: bool,
    /// Free bytes of `input` before the next read.
    read_size: usize,
    /// Whether the incoming body has come in a large piece. Larger reads make no small pieces cheaper.
    has_large_piece: bool,
    limits: HeadLimits,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Creates a connection over a connected stream. `limits` applies to the heads that are received.
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
            has_large_piece: false,
            limits,
        }
    }

    /// Returns the underlying stream.
    pub fn io(&mut self) -> &mut T {
        &mut self.io
    }

    /// Returns the stream and the received bytes that are unread.
    pub fn into_parts(self) -> (T, Bytes) {
        (self.io, self.input.freeze())
    }

    /// Takes the buffers that an exchange needs from the pool of the worker.
    pub fn acquire_buffers(&mut self, buffers: &BufferPool) {
        self.has_received = false;
        self.has_large_piece = false;
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

    /// Returns the buffers to the pool. Up to 1 KiB of unread input is copied out first. A buffer with more input or
    /// with unsent output stays.
    pub fn release_buffers(&mut self, buffers: &BufferPool) {
        if self.input.len() <= MAX_COPIED_INPUT_BYTES {
            let unread = BytesMut::from(&self.input[..]);
            buffers.release(std::mem::replace(&mut self.input, unread));
        }
        if self.output.is_empty() {
            buffers.release(std::mem::take(&mut self.output.tail));
        }
    }

    /// Returns true if bytes have been received that are unread.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Returns the received bytes that are unread.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Returns true if a byte has arrived since [`Connection::acquire_buffers`].
    pub fn has_received(&self) -> bool {
        self.has_received
    }

    /// Returns true if the body of the incoming message has been read to its end.
    pub fn is_body_read(&self) -> bool {
        self.decoder.is_ended()
    }

    /// Returns true if all written bytes have been sent.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Returns the buffer for a head. The head is sent with the first piece of the body or by
    /// [`BodyWriter::poll_flush`].
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output.tail
    }

    /// Sets the framing of the outgoing body.
    pub fn start_sending_body(&mut self, length: BodyLength) {
        self.encoder = BodyEncoder::new(length);
    }

    /// Sets the framing of the incoming body.
    pub fn start_receiving_body(&mut self, length: BodyLength) {
        self.decoder = BodyDecoder::new(length);
    }

    /// Reads the next head. Returns `None` if the peer closed the connection before the first byte of one.
    ///
    /// # Errors
    /// [`StreamError::Disconnected`] or [`StreamError::Head`].
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

    /// Reads the available bytes, and waits for at least one. Returns 0 at the end of the stream.
    ///
    /// # Errors
    /// The connection was lost.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Below half of the capacity: moves the input to the front, or allocates if pieces still share the buffer.
        if self.input.capacity() - self.input.len() < self.read_size / 2 {
            self.input.reserve(self.read_size);
        }
        let spare = self.input.capacity() - self.input.len();
        let read = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?;
        self.has_received |= read > 0;
        // A peer that fills the buffer has more to send: larger reads, until the exchange ends.
        if read == spare && self.has_large_piece {
            self.read_size = MAX_READ_BYTES.min(self.read_size * 2);
        }
        Poll::Ready(Ok(read))
    }

    /// Reads the available bytes into the rest of the buffer, without a larger one. Pending while the buffer is full.
    ///
    /// # Errors
    /// The connection was lost.
    pub fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() == self.input.len() {
            return Poll::Pending;
        }
        let read = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?;
        self.has_received |= read > 0;
        Poll::Ready(Ok(read))
    }

    /// Returns true if an idle connection is open and silent. Costs no system call unless the runtime has seen an
    /// event on the stream.
    pub fn is_reusable(&mut self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let mut byte = [0u8; 1];
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Closes the outgoing direction, so that the peer sees an orderly end.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Discards the unread input of a connection that is about to be closed.
    pub fn discard_input(&mut self) {
        self.input.clear();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> BodyReader for Connection<T> {
    type Error = StreamError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        loop {
            match self.decoder.decode(&mut self.input, &self.limits)? {
                Decoded::Data(data) => {
                    self.has_large_piece |= data.len() > MAX_COPIED_BYTES;
                    return Poll::Ready(Ok(Piece::Data(data)));
                }
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
        // A TLS stream sends its buffered records when it is flushed. A TCP stream does nothing.
        Pin::new(&mut self.io).poll_flush(cx).map_err(StreamError::Disconnected)
    }
}
