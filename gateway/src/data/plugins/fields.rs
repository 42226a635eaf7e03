//! Header maps of callouts.

use http1::{Head, KnownName};
use plugin_host::Fields;

/// Returns the first value of a field or pseudo-header field.
pub(super) fn find<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
}

/// Calls `on_field` with the fields that a plugin may send: all but framing and hop-by-hop fields, which are the
/// gateway's, and malformed ones.
pub(super) fn for_each_sendable(fields: &Fields, mut on_field: impl FnMut(&[u8], &[u8])) {
    for (name, value) in fields {
        let is_framing = match KnownName::from_bytes(name) {
            Some(KnownName::ContentLength | KnownName::Expect | KnownName::Host) => true,
            Some(known) => known.is_hop_by_hop(),
            None => false,
        };
        let is_name = str::from_utf8(name).is_ok_and(api::policy::is_field_name);
        if is_name && !is_framing && api::policy::is_field_value(value) {
            on_field(name, value);
        }
    }
}

/// Returns the fields of a head, names in lower case.
pub(super) fn of_head(head: &Head) -> impl Iterator<Item = (bytes::Bytes, bytes::Bytes)> {
    head.fields()
        .map(|(_, name, value)| (name.to_ascii_lowercase().into(), bytes::Bytes::copy_from_slice(value)))
}
