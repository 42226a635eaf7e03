//! Protocol upgrades (RFC 9110 §7.8): which ones a client may request, and which 101 accepts them.
//!
//! Not here: the bytes after the 101 (`tunnel`).

use bytes::BytesMut;
use http1::{Head, KnownName, Version, write};

/// Maximum protocols in one request. A longer list is no upgrade: each 101 is compared with every item.
const MAX_PROTOCOLS: usize = 8;

/// Returns true if an HTTP/1.1 request has `Connection: upgrade` and an `Upgrade` field that can be forwarded. The
/// gateway drops a malformed `Upgrade` field, which RFC 9110 allows to every server.
pub(super) fn is_requested(request: &Head) -> bool {
    request.get(KnownName::Upgrade).is_some()
        && request.version() == Version::Http11
        && request.has_token(KnownName::Connection, b"upgrade")
        && listed_protocols(request).all(is_protocol)
        && (1..=MAX_PROTOCOLS).contains(&forwardable_protocols(request).count())
}

/// Returns true if a 101 switches only to protocols that the request asked for.
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

/// Writes the fields by which the gateway requests the upgrade from the endpoint.
pub(super) fn write_request_fields(out: &mut BytesMut, request: &Head) {
    write::field(out, b"connection", b"upgrade");
    let mut protocols = forwardable_protocols(request);
    // Nearly all requests list one protocol. Nothing is allocated for them.
    match (protocols.next(), protocols.next()) {
        (Some(only), None) => write::field(out, b"upgrade", only),
        _ => write::field(
            out,
            b"upgrade",
            &forwardable_protocols(request).collect::<Vec<_>>().join(&b", "[..]),
        ),
    }
}

/// Returns the requested protocols except HTTP/2. An upgrade to HTTP/2 would carry requests past all checks.
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

/// Returns true for `token [ "/" token ]`.
fn is_protocol(text: &[u8]) -> bool {
    let is_token = |part: &[u8]| {
        !part.is_empty()
            && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let mut parts = text.split(|byte| *byte == b'/');
    parts.by_ref().take(2).all(is_token) && parts.next().is_none()
}
