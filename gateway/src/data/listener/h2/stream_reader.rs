//! The request body of one HTTP/2 stream.
//!
//! Frames are read from `h2` as they arrive, since it holds about 400 bytes for each, and are collected while the endpoint
//! does not take them. The client's window grows only with what the endpoint takes.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::windows::UploadWindows;
use crate::data::wire::pending::PendingData;

/// The receiving half of a stream.
pub(super) struct StreamReader {
    stream: RecvStream,
    /// Bytes that arrived and are not read. At most the window of a stream, 3 MiB.
    unread: PendingData,
    /// Whether `h2` has no further data. Trailers may follow.
    is_data_complete: bool,
    /// Bytes that were read.
    total: u64,
    windows: Rc<UploadWindows>,
}

/// A part of a request body.
pub(super) enum BodyPart {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl StreamReader {
    pub(super) fn new(stream: RecvStream, windows: Rc<UploadWindows>) -> Self {
        let is_data_complete = stream.is_end_stream();
        windows.on_start();
        Self { stream, unread: PendingData::default(), is_data_complete, total: 0, windows }
    }

    /// Returns the next part. Not called after the end.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPart, h2::Error>> {
        while self.unread.is_empty() && !self.is_data_complete {
            ready!(self.poll_data(cx))?;
        }
        let data = self.unread.take(usize::MAX);
        if !data.is_empty() {
            self.stream.flow_control().release_capacity(data.len())?;
            self.total += data.len() as u64;
            if self.unread.is_empty() && !self.is_data_complete {
                self.windows.on_read(self.total);
            }
            return Poll::Ready(Ok(BodyPart::Data(data)));
        }
        if self.stream.is_end_stream() {
            return Poll::Ready(Ok(BodyPart::End));
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(Ok(trailers.map_or(BodyPart::End, BodyPart::Trailers)))
    }

    /// Takes the frames that have arrived from `h2`. A failure is returned by the next [`StreamReader::poll_part`].
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while !self.is_data_complete && matches!(self.poll_data(cx), Poll::Ready(Ok(()))) {}
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match ready!(self.stream.poll_data(cx)).transpose()? {
            Some(data) => self.unread.push(data),
            None => self.is_data_complete = true,
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.windows.on_end();
    }
}
