//! Bytes on their way out: small pieces are gathered for one write, large ones are sent from where they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// A piece up to this size is copied behind what is already gathered: cheaper than another slice to send.
const MAX_COPIED_BYTES: usize = 4 << 10;

/// With this much waiting, no more is taken before some of it is sent.
const HIGH_WATER_BYTES: usize = 64 << 10;

/// The most slices given to one write.
const MAX_SLICES: usize = 8;

/// What one side still has to send.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Sent before `tail`.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Where heads and small pieces are gathered.
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

    /// Writes until all is sent or the socket has to be waited for.
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
                let waiting = self.queue.iter().map(|part| &part[..]).chain([&self.tail[..]]);
                let mut count = 0;
                for (slot, part) in slices.iter_mut().zip(waiting) {
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
