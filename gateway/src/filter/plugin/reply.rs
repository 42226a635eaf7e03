//! Replies of guests as local replies.

use api::message_edit::reply_status;
use bytes::Bytes;
use plugin_host::Reply;

use super::reply_reason::PluginReply;
use crate::message::{FieldName, FieldValue, LocalReply};

/// Makes a local reply of a guest's. A gRPC client gets its status in fields, as gRPC demands of a response without
/// messages. `content_type` is that of the request.
pub(super) fn from_guest(reply: Reply, content_type: Option<&[u8]>) -> Box<LocalReply> {
    let is_grpc = content_type.is_some_and(is_grpc);
    let Reply { status, body, fields, grpc_status, .. } = reply;
    let status = reply_status(status);
    let mut local = LocalReply::new(if is_grpc { 200 } else { status }, PluginReply::Guest.as_str());
    for (name, value) in fields {
        let name = str::from_utf8(&name).ok().and_then(|name| FieldName::parse(name).ok());
        if let (Some(name), Ok(value)) = (name, FieldValue::parse(value)) {
            local = local.with(name, value);
        }
    }
    if !is_grpc {
        // Without a type, browsers would guess one from the body.
        let has_type = local.fields().any(|(name, _)| name == b"content-type");
        if !body.is_empty() && !has_type {
            let text = FieldValue::from_static("text/plain");
            local = local.with(FieldName::from_static("content-type"), text);
        }
        return Box::new(local.with_body(body));
    }
    let code = grpc_status.unwrap_or_else(|| grpc_code(status));
    Box::new(
        local
            .with(FieldName::from_static("content-type"), FieldValue::from_static("application/grpc"))
            .with(FieldName::from_static("grpc-status"), number(code))
            .with(FieldName::from_static("grpc-message"), grpc_message(&body)),
    )
}

fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Maps a status as gRPC's "HTTP to gRPC Status Code Mapping" does.
fn grpc_code(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

fn number(code: u32) -> FieldValue {
    FieldValue::parse(code.to_string()).unwrap_or(FieldValue::from_static("2"))
}

/// Encodes a message as "gRPC over HTTP2" says: all but printable ASCII, and `%`, as `%XX`.
fn grpc_message(body: &Bytes) -> FieldValue {
    let mut text = String::new();
    for byte in body {
        match byte {
            b'%' => text.push_str("%25"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    FieldValue::parse(text.trim().to_owned()).unwrap_or(FieldValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_encoded() {
        for (body, expected) in
            [("ok", "ok"), ("no key", "no key"), ("50%\n", "50%25%0A"), ("é", "%C3%A9"), ("", "")]
        {
            let value = grpc_message(&Bytes::from(body.to_owned()));
            assert_eq!(str::from_utf8(value.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn content_types_of_grpc_are_known() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(value.as_bytes()), expected, "{value}");
        }
    }
}
