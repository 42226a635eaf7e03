//! A response that the gateway makes itself.

use bytes::Bytes;

use super::field::{FieldName, FieldValue};

/// A whole response of the gateway: status, fields and body. The exchange adds `Content-Length`, `Date`,
/// `X-Request-ID` and, unless switched off, `gateway-reason`.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// 200 to 599.
    pub status: u16,
    /// Why, as a word for machines: in the access log, in metrics and in `gateway-reason`.
    pub reason: &'static str,
    /// The body; its type is in the fields.
    pub body: Bytes,
    /// Whether an HTTP/1.1 connection must close after the reply: its next byte has no known meaning.
    pub(crate) closes_connection: bool,
    fields: Vec<(FieldName, FieldValue)>,
}

impl LocalReply {
    /// Makes a reply without fields and body.
    pub fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason, body: Bytes::new(), closes_connection: false, fields: Vec::new() }
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
