//! Connection options (RFC 9110 §7.6.1): the fields of a message that concern one connection only.

use http1::{Head, KnownName};

/// Maximum connection options in a message; more are rejected. Each field is compared with each option, which costs
/// the sender nothing. Pingora rejects 10.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// The connection options of a message that may be field names (RFC 9110 §7.6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionOptions<'a>(Vec<&'a [u8]>);

impl<'a> ConnectionOptions<'a> {
    /// Collects the options. Allocates nothing if there are none.
    pub(super) fn parse(head: &'a Head) -> Self {
        let tokens = head.get_all(KnownName::Connection).flat_map(|value| value.split(|byte| *byte == b','));
        let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| {
            let is_no_field = [&b"close"[..], b"keep-alive", b""];
            !is_no_field.iter().any(|option| token.eq_ignore_ascii_case(option))
        });
        Self(tokens.take(MAX_CONNECTION_OPTIONS + 1).collect())
    }

    /// Are there more options than [`MAX_CONNECTION_OPTIONS`]?
    pub(super) fn is_too_long(&self) -> bool {
        self.0.len() > MAX_CONNECTION_OPTIONS
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|token| token.eq_ignore_ascii_case(name))
    }
}

/// Returns true if `Connection` lists more than 32 options.
pub(super) fn has_too_many_connection_options(head: &Head) -> bool {
    head.get(KnownName::Connection).is_some() && ConnectionOptions::parse(head).is_too_long()
}
