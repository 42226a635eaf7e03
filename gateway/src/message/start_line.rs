//! Parts of a first line that a filter may write.

use api::message_edit;
use bytes::Bytes;

/// A request target in origin form: path and query, ASCII without white space and `#` (RFC 9112 §3.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget(Bytes);

/// A method that a filter may set: a token (RFC 9110 §9.1) other than HEAD and CONNECT, which frame responses
/// differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMethod(Bytes);

/// A host with an optional port, without user information (RFC 3986 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAuthority(Bytes);

impl RequestTarget {
    /// Parses a target. Returns `None` if it is malformed.
    pub fn parse(target: &[u8]) -> Option<Self> {
        message_edit::is_request_target(target).then(|| Self(Bytes::copy_from_slice(target)))
    }

    /// Returns the target.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl RequestMethod {
    /// Parses a method. Returns `None` if a filter may not set it.
    pub fn parse(method: &[u8]) -> Option<Self> {
        message_edit::is_request_method(method).then(|| Self(Bytes::copy_from_slice(method)))
    }

    /// Returns the method.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl RequestAuthority {
    /// Parses an authority. Returns `None` if it is malformed.
    pub fn parse(authority: &[u8]) -> Option<Self> {
        message_edit::is_request_authority(authority).then(|| Self(Bytes::copy_from_slice(authority)))
    }

    /// Returns the authority.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
