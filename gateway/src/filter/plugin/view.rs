//! One request and its response, as a guest sees and edits them.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::io::Write as _;
use std::sync::Arc;

use http1::Head;
use plugin_host::{
    Callback, Callbacks, Direction, EditError, EditOutcome, HttpView, MapEdit, MapKind, PropertyValue,
};

use super::body::HeldBody;
use super::facts::Facts;
use super::maps::{self, ResponseSource};
use crate::message::Patch;

mod properties;

/// One request and its response. The instance owns it while the stream is open.
#[derive(Debug)]
pub(super) struct StreamView {
    pub(super) facts: Arc<Facts>,
    pub(super) request_patch: Patch,
    pub(super) response: Option<Arc<ResponseSource>>,
    pub(super) response_patch: Patch,
    pub(super) request_body: HeldBody,
    pub(super) response_body: HeldBody,
    /// Boxed, since they are rare and large.
    request_trailers: Option<Box<Trailers>>,
    response_trailers: Option<Box<Trailers>>,
    /// The route as logs name it, once one did.
    label: OnceCell<String>,
}

/// A trailer section with its edits.
#[derive(Debug)]
pub(super) struct Trailers {
    pub(super) head: Head,
    pub(super) patch: Patch,
}

impl StreamView {
    /// Returns the ID of the request.
    pub(super) fn request_id(&self) -> &str {
        std::str::from_utf8(self.facts.request_id.as_bytes()).unwrap_or_default()
    }

    pub(super) fn new(facts: Arc<Facts>, request_patch: Patch) -> Self {
        Self {
            facts,
            request_patch,
            response: None,
            response_patch: Patch::default(),
            request_body: HeldBody::default(),
            response_body: HeldBody::default(),
            request_trailers: None,
            response_trailers: None,
            label: OnceCell::new(),
        }
    }

    /// Does the guest get no more callbacks about this stream but those of its end?
    pub(super) fn is_passive(&self, callbacks: Callbacks) -> bool {
        let sees_bodies =
            callbacks.takes_body(Direction::Request) || callbacks.takes_body(Direction::Response);
        // The bytes of a tunnel are not a body.
        let is_tunnel = self.status() == Some(101) || self.facts.request.method() == b"CONNECT";
        (is_tunnel || !sees_bodies) && (self.response.is_some() || !callbacks.has(Callback::ResponseHeaders))
    }

    /// Returns the held body of a direction.
    pub(super) fn held(&mut self, direction: Direction) -> &mut HeldBody {
        match direction {
            Direction::Request => &mut self.request_body,
            Direction::Response => &mut self.response_body,
        }
    }

    /// Returns the trailer section of a direction.
    pub(super) fn trailers(&mut self, direction: Direction) -> &mut Option<Box<Trailers>> {
        match direction {
            Direction::Request => &mut self.request_trailers,
            Direction::Response => &mut self.response_trailers,
        }
    }

    /// Returns the edits of a head of this direction, and keeps them for later reads.
    pub(super) fn share_patch(&mut self, direction: Direction) -> Patch {
        match direction {
            Direction::Request => self.request_patch.share(),
            Direction::Response => self.response_patch.share(),
        }
    }

    /// Returns the request's method, target and authority, edits included.
    pub(super) fn request_line(&self) -> RequestLine<'_> {
        let line = self.request_patch.line();
        let edited = line.and_then(|line| line.authority.as_ref());
        let host = self.facts.request.get(http1::KnownName::Host).unwrap_or_default();
        RequestLine {
            method: line
                .and_then(|line| line.method.as_ref())
                .map_or(self.facts.request.method(), |method| method.as_bytes()),
            target: line
                .and_then(|line| line.target.as_ref())
                .map_or(self.facts.target(), |target| target.as_bytes()),
            authority: edited.map_or(host, |authority| authority.as_bytes()),
        }
    }

    /// Returns the response's status, edits included.
    pub(super) fn status(&self) -> Option<u16> {
        let edited = self.response_patch.line().and_then(|line| line.status);
        edited.or(self.response.as_ref().map(|response| response.status()))
    }

    /// Returns the number of fields of a map, pseudo-header fields included.
    pub(super) fn field_count(&self, map: MapKind) -> usize {
        let mut count = 0;
        match map {
            // With four pseudo-header fields, and three of the gateway.
            MapKind::RequestHeaders => {
                maps::for_each_request_field(&self.facts.request, &self.request_patch, |_, _| count += 1);
                count + 7
            }
            MapKind::ResponseHeaders => match &self.response {
                Some(response) => {
                    maps::for_each_response_field(response, &self.response_patch, |_, _| count += 1);
                    count + 1
                }
                None => 0,
            },
            MapKind::RequestTrailers | MapKind::ResponseTrailers => {
                self.for_each_field(map, &mut |_, _| count += 1);
                count
            }
        }
    }

    fn for_each_request_header(&self, on_field: &mut dyn FnMut(&[u8], &[u8])) {
        let RequestLine { method, target, authority } = self.request_line();
        on_field(b":authority", authority);
        on_field(b":path", target);
        on_field(b":method", method);
        on_field(b":scheme", self.facts.scheme.as_str().as_bytes());
        maps::for_each_request_field(&self.facts.request, &self.request_patch, |name, value| {
            on_field(&maps::lower(name), value);
        });
        let mut client = [0; 48];
        on_field(b"x-forwarded-for", self.write_client(&mut client));
        on_field(b"x-forwarded-proto", self.facts.scheme.as_str().as_bytes());
        on_field(b"x-request-id", self.facts.request_id.as_bytes());
    }

    /// Writes the client's address into a buffer, and returns the text.
    fn write_client<'b>(&self, buffer: &'b mut [u8; 48]) -> &'b [u8] {
        let size = buffer.len();
        let mut rest = &mut buffer[..];
        let _ = write!(rest, "{}", self.facts.client);
        let written = size - rest.len();
        buffer.get(..written).unwrap_or_default()
    }

    fn first_of(
        &self,
        name: &[u8],
        for_each: impl FnOnce(&mut dyn FnMut(&[u8], &[u8])),
    ) -> Option<Cow<'_, [u8]>> {
        let mut found = None;
        for_each(&mut |field, value| {
            if found.is_none() && field.eq_ignore_ascii_case(name) {
                found = Some(Cow::Owned(value.to_vec()));
            }
        });
        found
    }
}

/// Parts of a request's first line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) authority: &'a [u8],
}

fn for_each_trailer(trailers: Option<&Trailers>, on_field: &mut dyn FnMut(&[u8], &[u8])) -> bool {
    let Some(trailers) = trailers else { return false };
    for (_, name, value) in trailers.head.fields().filter(|(_, name, _)| !trailers.patch.drops(name)) {
        on_field(&maps::lower(name), value);
    }
    trailers.patch.added().for_each(|(name, value)| on_field(name, value));
    true
}

impl HttpView for StreamView {
    fn for_each_field(&self, map: MapKind, on_field: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        match map {
            MapKind::RequestHeaders => self.for_each_request_header(on_field),
            MapKind::RequestTrailers => return for_each_trailer(self.request_trailers.as_deref(), on_field),
            MapKind::ResponseTrailers => {
                return for_each_trailer(self.response_trailers.as_deref(), on_field);
            }
            MapKind::ResponseHeaders => {
                let (Some(response), Some(status)) = (&self.response, self.status()) else { return false };
                let mut buffer = itoa::Buffer::new();
                on_field(b":status", buffer.format(status).as_bytes());
                maps::for_each_response_field(response, &self.response_patch, |name, value| {
                    on_field(&maps::lower(name), value);
                });
            }
        }
        true
    }

    fn field(&self, map: MapKind, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let line = self.request_line();
        match (map, name) {
            (MapKind::RequestHeaders, b":path") => Some(Cow::Borrowed(line.target)),
            (MapKind::RequestHeaders, b":method") => Some(Cow::Borrowed(line.method)),
            (MapKind::RequestHeaders, b":authority") => Some(Cow::Borrowed(line.authority)),
            (MapKind::RequestHeaders | MapKind::ResponseHeaders, _) if self.is_unedited(map, name) => {
                let head = match (map, self.response.as_deref()) {
                    (MapKind::ResponseHeaders, Some(ResponseSource::Upstream(head))) => head,
                    _ => &self.facts.request,
                };
                let mut fields = head.fields();
                fields
                    .find(|(_, field, _)| field.eq_ignore_ascii_case(name))
                    .map(|(_, _, value)| Cow::Borrowed(value))
            }
            _ => self.first_of(name, |on_field| {
                self.for_each_field(map, on_field);
            }),
        }
    }

    fn edit(&mut self, map: MapKind, edit: MapEdit<'_>) -> Result<EditOutcome, EditError> {
        match (map, &self.response) {
            (MapKind::RequestHeaders, None) => {
                maps::edit_request(&mut self.request_patch, &self.facts.request, edit)
            }
            (MapKind::ResponseHeaders, Some(response)) => {
                maps::edit_response(&mut self.response_patch, response, edit)
            }
            (MapKind::RequestTrailers, _) => edit_trailers(&mut self.request_trailers, edit),
            (MapKind::ResponseTrailers, _) => edit_trailers(&mut self.response_trailers, edit),
            // The request has left, or there is no response yet.
            (MapKind::RequestHeaders, Some(_)) | (MapKind::ResponseHeaders, None) => Ok(EditOutcome::Ignored),
        }
    }

    fn body(&self, direction: Direction) -> Option<&[u8]> {
        Some(match direction {
            Direction::Request => self.request_body.as_bytes(),
            Direction::Response => self.response_body.as_bytes(),
        })
    }

    fn body_len(&self, direction: Direction) -> Option<usize> {
        Some(match direction {
            Direction::Request => self.request_body.len(),
            Direction::Response => self.response_body.len(),
        })
    }

    fn copy_body(&self, direction: Direction, start: usize, target: &mut [u8]) -> bool {
        match direction {
            Direction::Request => self.request_body.copy(start, target),
            Direction::Response => self.response_body.copy(start, target),
        }
    }

    fn edit_body(
        &mut self,
        direction: Direction,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), EditError> {
        if self.held(direction).edit(start, size, data) { Ok(()) } else { Err(EditError::TooLarge) }
    }

    fn property(&self, path: &[u8]) -> Option<PropertyValue<'_>> {
        properties::get(self, path)
    }

    fn set_property(&mut self, path: &[u8], value: &[u8]) -> bool {
        self.facts.stored.set(path, value)
    }

    fn route(&self) -> &str {
        self.label.get_or_init(|| match &self.facts.route {
            Some(route) => format!("{} {}", route.origin.ingress.name, route.path),
            None => String::new(),
        })
    }
}

impl StreamView {
    /// Is a field of a head as it came, and one that plugins see as such?
    fn is_unedited(&self, map: MapKind, name: &[u8]) -> bool {
        let patch = match (map, self.response.as_deref()) {
            (MapKind::RequestHeaders, _) => &self.request_patch,
            (_, Some(ResponseSource::Upstream(_))) => &self.response_patch,
            (_, Some(ResponseSource::Local(_)) | None) => return false,
        };
        let is_plain = match http1::KnownName::from_bytes(name) {
            Some(http1::KnownName::Host) => false,
            Some(known) => !known.is_hop_by_hop(),
            None => name.first() != Some(&b':'),
        };
        is_plain && !http1::name::is_forwarding_field(name) && patch.is_empty()
    }
}

fn edit_trailers(trailers: &mut Option<Box<Trailers>>, edit: MapEdit<'_>) -> Result<EditOutcome, EditError> {
    let Trailers { head, mut patch } = *trailers.take().ok_or(EditError::Unavailable)?;
    let section = ResponseSource::Upstream(head);
    let outcome = maps::edit_response(&mut patch, &section, edit);
    if let ResponseSource::Upstream(head) = section {
        *trailers = Some(Box::new(Trailers { head, patch }));
    }
    outcome
}
