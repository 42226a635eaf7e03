//! A response that the gateway makes itself.

use bytes::Bytes;

use super::field::{FieldName, FieldValue};

/// A whole response of the gateway: status, fields and body. The exchange adds `Content-Length`, `Date`,
/// `X-Request-ID` and, unless switched off, `gateway-reason`.
#[derive(Clone, Debug)]
pub struct LocalReply {
    status: u16,
    /// Why, as a word for machines: in the access log, in metrics and in `gateway-reason`.
    pub reason: &'static str,
    body: Bytes,
    /// Whether an HTTP/1.1 connection must close after the reply: its next byte has no known meaning.
    pub(crate) closes_connection: bool,
    fields: Vec<(FieldName, FieldValue)>,
}

impl LocalReply {
    /// Creates a reply without fields and body. `status` is 200 to 599; any other becomes 500.
    pub fn new(status: u16, reason: &'static str) -> Self {
        let status = if (200..=599).contains(&status) { status } else { 500 };
        Self { status, reason, body: Bytes::new(), closes_connection: false, fields: Vec::new() }
    }

    /// Sets the body; its type is in the fields. A 204 or 304 has none (RFC 9110 §6.4.1), so it stays empty.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        if !matches!(self.status, 204 | 304) {
            self.body = body.into();
        }
        self
    }

    /// Returns the status, 200 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: FieldName, value: FieldValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Returns the fields in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }
}
