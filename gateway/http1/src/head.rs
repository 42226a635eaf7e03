//! Message heads: ordered fields over one buffer, with an index of known names.
//!
//! [`crate::parse`] creates heads from bytes, [`HeadBuilder`] from HTTP/2 header blocks.
//! [`crate::framing`] derives the body length.

use bytes::{BufMut, Bytes, BytesMut};

use crate::name::{COUNT, KnownName};

/// The HTTP version. HTTP/2 heads count as [`Version::Http11`] because they share its semantics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1 or HTTP/2.
    Http11,
}

/// A range of bytes in the text of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Option<KnownName>,
}

/// The parsed first line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StartLine {
    Request { method: Span, target: Span },
    Response { status: u16, reason: Span },
}

/// A message head: first line and fields in order, as slices of one [`Bytes`].
///
/// Creating one costs at most two allocations: the field list, and the buffer's reference count on its first use.
/// Looking up a known name costs one array read.
#[derive(Clone, Debug)]
pub struct Head {
    text: Bytes,
    start: StartLine,
    version: Version,
    fields: Vec<FieldSpan>,
    /// Position of the first field of each known name, plus one. 0 means absent, 255 means position 254 or later.
    known: [u8; COUNT],
}

impl Head {
    pub(crate) fn new(text: Bytes, start: StartLine, version: Version, fields: Vec<FieldSpan>) -> Self {
        let known = first_positions(&fields);
        Self { text, start, version, fields, known }
    }

    /// Sets the value of the only Host field to a part of the head's text.
    pub(crate) fn set_host(&mut self, value: Span) {
        let mut fields = self.fields.iter_mut();
        if let Some(field) = fields.find(|field| field.known == Some(KnownName::Host)) {
            field.value = value;
        }
    }

    /// Removes the fields whose name `keep` rejects. Allocates nothing if all fields are kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        if self.fields.iter().all(|field| keep(self.slice(field.name))) {
            return;
        }
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|field| keep(self.slice(field.name)));
        self.known = first_positions(&fields);
        self.fields = fields;
    }

    fn slice(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.text.get(start..start + span.len as usize).unwrap_or_default()
    }

    /// Returns the request method as sent. Empty for a response.
    pub fn method(&self) -> &[u8] {
        match self.start {
            StartLine::Request { method, .. } => self.slice(method),
            StartLine::Response { .. } => b"",
        }
    }

    /// Returns the request target: origin form (path and query) or `*`. Empty for a response.
    pub fn target(&self) -> &[u8] {
        match self.start {
            // An absolute-form target may omit the path. For OPTIONS it then means the whole server (RFC 9112 §3.2.4),
            // otherwise `/` (RFC 9110 §4.2.3).
            StartLine::Request { method, target: Span { len: 0, .. } }
                if self.slice(method) == b"OPTIONS" =>
            {
                b"*"
            }
            StartLine::Request { target: Span { len: 0, .. }, .. } => b"/",
            StartLine::Request { target, .. } => self.slice(target),
            StartLine::Response { .. } => b"",
        }
    }

    /// Returns the target without its query.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        let end = memchr::memchr(b'?', target).unwrap_or(target.len());
        target.get(..end).unwrap_or_default()
    }

    /// Returns the response status, 100 to 599. 0 for a request.
    pub fn status(&self) -> u16 {
        match self.start {
            StartLine::Request { .. } => 0,
            StartLine::Response { status, .. } => status,
        }
    }

    /// Returns the reason phrase of a response, which may be empty. Empty for a request.
    pub fn reason(&self) -> &[u8] {
        match self.start {
            StartLine::Request { .. } => b"",
            StartLine::Response { reason, .. } => self.slice(reason),
        }
    }

    /// Returns the version of the message.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the value of the first field with this name.
    pub fn get(&self, name: KnownName) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// Returns the values of all fields with this name, in order.
    pub fn get_all(&self, name: KnownName) -> impl DoubleEndedIterator<Item = &[u8]> {
        let place = self.known.get(name as usize).copied().unwrap_or(0) as usize;
        let rest = place.checked_sub(1).and_then(|first| self.fields.get(first..)).unwrap_or_default();
        rest.iter().filter(move |field| field.known == Some(name)).map(|field| self.slice(field.value))
    }

    /// Returns all fields in order: known name, name as sent, value without surrounding white space.
    pub fn fields(&self) -> impl Iterator<Item = (Option<KnownName>, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.known, self.slice(field.name), self.slice(field.value)))
    }

    /// Returns true if a comma-separated list in fields of this name contains `token`, ignoring case.
    pub fn has_token(&self, name: KnownName, token: &[u8]) -> bool {
        self.get_all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
    }
}

fn first_positions(fields: &[FieldSpan]) -> [u8; COUNT] {
    let mut known = [0; COUNT];
    for (place, field) in fields.iter().enumerate() {
        if let Some(slot @ 0) = field.known.and_then(|name| known.get_mut(name as usize)) {
            *slot = u8::try_from(place + 1).unwrap_or(u8::MAX);
        }
    }
    known
}

/// Builds a [`Head`] from separate parts, such as an HTTP/2 header block.
///
/// The parts must not contain CR, LF or NUL. The types of the `http` crate guarantee that.
#[derive(Debug)]
pub struct HeadBuilder {
    text: BytesMut,
    start: StartLine,
    fields: Vec<FieldSpan>,
}

impl HeadBuilder {
    /// Creates a builder for a request.
    pub fn request(method: &[u8], target: &[u8], expected_fields: usize) -> Self {
        let mut text = BytesMut::with_capacity(64 + target.len() + expected_fields * 40);
        let method = push(&mut text, method);
        let target = push(&mut text, target);
        Self {
            text,
            start: StartLine::Request { method, target },
            fields: Vec::with_capacity(expected_fields),
        }
    }

    /// Creates a builder for a response.
    pub fn response(status: u16, expected_fields: usize) -> Self {
        let text = BytesMut::with_capacity(expected_fields * 40);
        let start = StartLine::Response { status, reason: Span::default() };
        Self { text, start, fields: Vec::with_capacity(expected_fields) }
    }

    /// Appends a field.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let known = KnownName::from_bytes(name);
        let name = push(&mut self.text, name);
        let value = push(&mut self.text, value);
        self.fields.push(FieldSpan { name, value, known });
    }

    /// Returns the finished head.
    pub fn build(self) -> Head {
        Head::new(self.text.freeze(), self.start, Version::Http11, self.fields)
    }
}

/// Appends a part and returns its span. Head limits are far below 4 GiB, so spans fit `u32`.
fn push(text: &mut BytesMut, part: &[u8]) -> Span {
    let span = Span {
        start: u32::try_from(text.len()).unwrap_or(u32::MAX),
        len: u32::try_from(part.len()).unwrap_or(u32::MAX),
    };
    text.put_slice(part);
    span
}
