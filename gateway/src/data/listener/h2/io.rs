//! The byte stream below the `h2` crate: bytes already read come first, and all writes are observed.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http1::HeadError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Rejection, RejectionScanner};
use crate::data::exchange::abort::Abort;
use crate::data::exchange::reply_reason::ReplyReason;
use crate::data::exchange::{Client, Worker};
use crate::data::listener::transport::Transport;

/// Observes the bytes that `h2` writes.
#[derive(Debug, Default)]
pub(super) struct WriteObserver {
    /// Whether the socket accepted bytes since [`WriteObserver::take_progress`].
    has_progressed: Cell<bool>,
    /// Whether bytes wait because the socket's buffer is full.
    is_blocked: Cell<bool>,
    rejections: RefCell<RejectionScanner>,
}

impl WriteObserver {
    /// Returns true if bytes wait because the socket's buffer is full.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Returns true if the socket accepted bytes since the last call.
    pub(super) fn take_progress(&self) -> bool {
        self.has_progressed.take()
    }

    /// Records that `h2` handed over this stream.
    pub(super) fn on_accept(&self, stream: h2::StreamId) {
        self.rejections.borrow_mut().on_accept(stream.as_u32());
    }

    /// Reports the requests that `h2` rejected itself. Called when `h2` has handed over all other requests.
    pub(super) fn report_rejected(&self, worker: &Worker, client: &Client) {
        self.rejections.borrow_mut().drain_rejected(|rejection| match rejection {
            Rejection::Response => {
                worker.report_local_reply(client, ReplyReason::InvalidHead(HeadError::TooLong))
            }
            Rejection::Reset(reason) => {
                let abort = match reason {
                    Reason::REFUSED_STREAM | Reason::ENHANCE_YOUR_CALM => Abort::StreamRefused,
                    _ => Abort::ClientMalformed,
                };
                worker.report_connection(client.connection_info(), abort);
            }
        });
    }

    fn on_write(
        &self,
        written: Poll<io::Result<usize>>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_blocked.set(written.is_pending());
        self.has_progressed.set(self.has_progressed.get() || written.is_ready());
        if let Poll::Ready(Ok(mut remaining)) = written {
            for slice in slices {
                let (accepted, _) = slice.split_at_checked(remaining).unwrap_or((slice, &[]));
                self.rejections.borrow_mut().on_write(accepted);
                remaining -= accepted.len();
            }
        }
        written
    }
}

/// A transport whose first bytes were already read.
pub(super) struct PrefixedTransport<'a> {
    /// Bytes that were already read.
    pub(super) prefix: Bytes,
    pub(super) transport: &'a mut Transport,
    pub(super) writes: &'a WriteObserver,
}

impl AsyncRead for PrefixedTransport<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut *self.transport).poll_read(cx, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PrefixedTransport<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.transport).poll_write(cx, data);
        self.writes.on_write(written, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.transport).poll_write_vectored(cx, slices);
        self.writes.on_write(written, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.transport).poll_flush(cx);
        self.writes.is_blocked.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_shutdown(cx)
    }
}
