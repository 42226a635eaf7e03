//! A stream in the mock host.

use api::RecordedMessage;

use super::message::FieldList;
use crate::host::Direction;
use crate::host::MapKind;

/// A stream.
#[derive(Default)]
pub(super) struct MockStream {
    pub(super) request: MockHalf,
    pub(super) response: MockHalf,
    pub(super) has_replied: bool,
    /// Reason and gRPC status of the plugin's reply.
    pub(super) reply_details: Option<(String, Option<u32>)>,
    /// Whether the plugin reported a failure, and the host goes on alone.
    pub(super) has_failed: bool,
}

/// One direction of a stream.
#[derive(Default)]
pub(super) struct MockHalf {
    /// The head, once it is there.
    pub(super) headers: Option<FieldList>,
    pub(super) trailers: Option<FieldList>,
    /// What the host keeps of the body.
    pub(super) buffer: Vec<u8>,
    pub(super) is_paused: bool,
    /// Whether the host waits with the head, and so with all behind it.
    pub(super) is_head_paused: bool,
    /// Whether the head, and what is behind it, went on.
    pub(super) is_head_sent: bool,
    /// The body that went on.
    pub(super) sent_body: Vec<u8>,
}

impl MockStream {
    pub(super) fn half(&self, direction: Direction) -> &MockHalf {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(super) fn half_mut(&mut self, direction: Direction) -> &mut MockHalf {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Returns a map, if it is there.
    pub(super) fn fields(&self, map: MapKind) -> Option<&FieldList> {
        match map {
            MapKind::RequestHeaders => self.request.headers.as_ref(),
            MapKind::RequestTrailers => self.request.trailers.as_ref(),
            MapKind::ResponseHeaders => self.response.headers.as_ref(),
            MapKind::ResponseTrailers => self.response.trailers.as_ref(),
            _ => None,
        }
    }

    /// Returns a map for an edit, if it has not been sent.
    pub(super) fn fields_mut(&mut self, map: MapKind) -> Option<&mut FieldList> {
        match map {
            MapKind::RequestHeaders if !self.request.is_head_sent => self.request.headers.as_mut(),
            MapKind::RequestTrailers => self.request.trailers.as_mut(),
            MapKind::ResponseHeaders if !self.response.is_head_sent => self.response.headers.as_mut(),
            MapKind::ResponseTrailers => self.response.trailers.as_mut(),
            _ => None,
        }
    }
}

impl MockHalf {
    /// Sends on what the host keeps.
    pub(super) fn flush(&mut self) {
        self.is_paused = false;
        self.is_head_paused = false;
        self.is_head_sent = true;
        self.sent_body.append(&mut self.buffer);
    }

    /// Returns what went on.
    pub(super) fn sent(&self) -> Option<RecordedMessage> {
        let headers = self.headers.clone().filter(|_| self.is_head_sent)?;
        Some(RecordedMessage {
            headers,
            body: self.sent_body.clone(),
            trailers: self.trailers.clone().unwrap_or_default(),
        })
    }
}
