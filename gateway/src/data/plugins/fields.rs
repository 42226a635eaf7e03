//! Header maps of callouts.

use api::policy;
use http1::Head;
use plugin_host::Fields;

use crate::message::FieldValue;

/// Returns the first value of a field or pseudo-header field.
pub(super) fn find<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
}

/// Calls `on_field` with the fields that a plugin may send. Framing is the gateway's. Fields about hops are not: the
/// plugin describes the request that it asks about, as `X-Forwarded-Uri` does.
pub(super) fn for_each_sendable(fields: &Fields, mut on_field: impl FnMut(&[u8], &[u8])) {
    for (name, value) in fields {
        let name = str::from_utf8(name).ok();
        let name = name.filter(|name| policy::is_field_name(name) && !policy::is_framing_field(name));
        if let (Some(name), Ok(value)) = (name, FieldValue::parse(value.clone())) {
            on_field(name.to_ascii_lowercase().as_bytes(), value.as_bytes());
        }
    }
}

/// Returns the fields of a head, names in lower case.
pub(super) fn of_head(head: &Head) -> impl Iterator<Item = (bytes::Bytes, bytes::Bytes)> {
    head.fields()
        .map(|(_, name, value)| (name.to_ascii_lowercase().into(), bytes::Bytes::copy_from_slice(value)))
}
