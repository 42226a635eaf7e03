//! Buffered output: small pieces are copied into one buffer, large ones are queued and sent without a copy.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::pending::MAX_COPIED_BYTES;

/// Unsent bytes from which the writer accepts no further piece.
const HIGH_WATER_BYTES: usize = 64 << 10;

/// Maximum slices of one vectored write.
const MAX_SLICES: usize = 8;

/// The unsent bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Is sent before `tail`.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Heads and small pieces.
    pub(super) tail: BytesMut,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tail.is_empty()
    }

    pub(super) fn has_capacity(&self) -> bool {
        self.queued_bytes + self.tail.len() < HIGH_WATER_BYTES
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if data.len() <= MAX_COPIED_BYTES {
            self.tail.extend_from_slice(&data);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.queued_bytes += tail.len();
            self.queue.push_back(tail);
        }
        self.queued_bytes += data.len();
        self.queue.push_back(data);
    }

    /// Writes until all bytes are sent or the socket is not writable.
    pub(super) fn poll_send<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut sent = if self.queue.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.tail))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let unsent = self.queue.iter().map(|part| &part[..]).chain([&self.tail[..]]);
                let mut count = 0;
                for (slot, part) in slices.iter_mut().zip(unsent) {
                    *slot = IoSlice::new(part);
                    count += 1;
                }
                let slices = slices.get(..count).unwrap_or_default();
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))?
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(front) = self.queue.front_mut() {
                let part = sent.min(front.len());
                front.advance(part);
                sent -= part;
                self.queued_bytes -= part;
                if !front.is_empty() {
                    break;
                }
                self.queue.pop_front();
            }
            if sent == self.tail.len() {
                self.tail.clear();
            } else {
                self.tail.advance(sent);
            }
        }
        Poll::Ready(Ok(()))
    }
}
