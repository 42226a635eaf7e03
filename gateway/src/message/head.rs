//! Heads as filters see them: the original fields with the edits so far.

use http1::Head;

use super::field::{FieldName, FieldValue};
use super::local_reply::LocalReply;
use super::patch::Patch;

/// How a client connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme as URLs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A request head on its way to an endpoint.
#[derive(Debug)]
pub struct RequestHead<'a> {
    head: &'a Head,
    patch: &'a mut Patch,
}

impl<'a> RequestHead<'a> {
    /// Puts a patch over a head.
    pub fn new(head: &'a Head, patch: &'a mut Patch) -> Self {
        Self { head, patch }
    }

    /// Returns the method as sent.
    pub fn method(&self) -> &'a [u8] {
        self.head.method()
    }

    /// Returns the target as sent: path and query.
    pub fn target(&self) -> &'a [u8] {
        self.head.target()
    }

    /// Returns the values of all fields of this name, edits included.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        values(self.head.fields().map(|(_, name, value)| (name, value)), self.patch, name)
    }

    /// Returns the edits, to make more.
    pub fn patch(&mut self) -> &mut Patch {
        self.patch
    }
}

/// A response head on its way to the client.
#[derive(Debug)]
pub struct ResponseHead<'a> {
    original: Original<'a>,
    is_end: bool,
    patch: &'a mut Patch,
}

/// Where a response comes from.
#[derive(Clone, Copy, Debug)]
pub enum Original<'a> {
    /// From an endpoint.
    Upstream(&'a Head),
    /// From the gateway.
    Local(&'a LocalReply),
}

impl<'a> ResponseHead<'a> {
    /// Puts a patch over an endpoint's head. `is_end`: neither a body nor trailers follow.
    pub fn upstream(head: &'a Head, is_end: bool, patch: &'a mut Patch) -> Self {
        Self { original: Original::Upstream(head), is_end, patch }
    }

    /// Puts a patch over a local reply.
    pub fn local(reply: &'a LocalReply, patch: &'a mut Patch) -> Self {
        Self { original: Original::Local(reply), is_end: reply.body().is_empty(), patch }
    }

    /// Returns the status, 200 to 599 or 101.
    pub fn status(&self) -> u16 {
        match self.original {
            Original::Upstream(head) => head.status(),
            Original::Local(reply) => reply.status(),
        }
    }

    /// Returns true if the gateway made this response.
    pub fn is_local(&self) -> bool {
        matches!(self.original, Original::Local(_))
    }

    /// Does neither a body nor a trailer section follow?
    pub fn is_end(&self) -> bool {
        self.is_end
    }

    /// Does a comma-separated list in fields of this name hold a token, in any case?
    pub fn has_token(&self, name: &str, token: &[u8]) -> bool {
        let is_token = |item: &[u8]| item.trim_ascii().eq_ignore_ascii_case(token);
        let lists = |value: &[u8]| value.split(|byte| *byte == b',').any(is_token);
        match self.original {
            Original::Upstream(head) => {
                values(head.fields().map(|(_, name, value)| (name, value)), self.patch, name).any(lists)
            }
            Original::Local(reply) => values(reply.fields(), self.patch, name).any(lists),
        }
    }

    /// Returns the response without edits.
    pub fn original(&self) -> Original<'a> {
        self.original
    }

    /// Replaces all fields of this name.
    pub fn set(&mut self, name: FieldName, value: FieldValue) {
        self.patch.set(name, value);
    }

    /// Returns the edits, to make more.
    pub fn patch(&mut self) -> &mut Patch {
        self.patch
    }
}

fn values<'a>(
    original: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    patch: &'a Patch,
    name: &str,
) -> impl Iterator<Item = &'a [u8]> {
    let kept = original.filter(move |(name, _)| !patch.drops(name));
    let is_named = move |(found, _): &(&[u8], &[u8])| found.eq_ignore_ascii_case(name.as_bytes());
    kept.chain(patch.added()).filter(is_named).map(|(_, value)| value)
}
