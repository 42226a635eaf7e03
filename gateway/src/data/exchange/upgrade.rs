//! Which protocols a client asks to switch to, and whether an endpoint's 101 answers that (RFC 9110 §7.8).
//!
//! Not here: the bytes after the switch (`tunnel`).

use bytes::BytesMut;
use http1::{Head, KnownName, Version, write};

/// More protocols than this in one request are no question but an attempt.
const MAX_PROTOCOLS: usize = 8;

/// Whether a request asks for a protocol that may be passed on: in HTTP/1.1, named by `Upgrade`, and with
/// `Connection: upgrade` beside it. What is malformed does not count as asked: the field is dropped then, as a
/// server may always do.
pub(super) fn is_requested(request: &Head) -> bool {
    request.get(KnownName::Upgrade).is_some()
        && request.version() == Version::Http11
        && request.has_token(KnownName::Connection, b"upgrade")
        && listed_protocols(request).all(is_protocol)
        && (1..=MAX_PROTOCOLS).contains(&forwardable_protocols(request).count())
}

/// Whether a 101 switches to something that the request asked for, and to nothing else.
pub(super) fn is_accepted_by(response: &Head, request: &Head) -> bool {
    let is_requested = |chosen: &[u8]| {
        forwardable_protocols(request).any(|requested| requested.eq_ignore_ascii_case(chosen))
    };
    is_upgrade_response(request, response) && listed_protocols(response).all(is_requested)
}

fn is_upgrade_response(request: &Head, response: &Head) -> bool {
    is_requested(request)
        && response.version() == Version::Http11
        && response.has_token(KnownName::Connection, b"upgrade")
        && listed_protocols(response).next().is_some()
}

/// Writes the fields by which the gateway itself asks.
pub(super) fn write_request_fields(out: &mut BytesMut, request: &Head) {
    write::field(out, b"connection", b"upgrade");
    let mut protocols = forwardable_protocols(request);
    // One protocol is what everybody asks for; nothing is allocated then.
    match (protocols.next(), protocols.next()) {
        (Some(only), None) => write::field(out, b"upgrade", only),
        _ => write::field(
            out,
            b"upgrade",
            &forwardable_protocols(request).collect::<Vec<_>>().join(&b", "[..]),
        ),
    }
}

/// What is asked for, without HTTP/2: a switch to it would carry requests past all that the gateway checks.
fn forwardable_protocols(request: &Head) -> impl Iterator<Item = &[u8]> {
    let is_http2 = |protocol: &[u8]| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"h2c")
            || name.eq_ignore_ascii_case(b"h2")
            || name.eq_ignore_ascii_case(b"http")
    };
    listed_protocols(request).filter(move |protocol| !is_http2(protocol))
}

fn listed_protocols(head: &Head) -> impl Iterator<Item = &[u8]> {
    let items = head.get_all(KnownName::Upgrade).flat_map(|value| value.split(|byte| *byte == b','));
    items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// `token [ "/" token ]`
fn is_protocol(text: &[u8]) -> bool {
    let is_token = |part: &[u8]| {
        !part.is_empty()
            && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let mut parts = text.split(|byte| *byte == b'/');
    parts.by_ref().take(2).all(is_token) && parts.next().is_none()
}
