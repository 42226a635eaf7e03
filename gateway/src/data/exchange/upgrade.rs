//! Which protocols a client asks to switch to, and whether an endpoint's 101 answers that (RFC 9110 §7.8).
//!
//! Not here: the bytes after the switch (`tunnel`).

use bytes::BytesMut;
use http1::{Head, KnownName, Version, write};

/// More protocols than this in one request are no question but an attempt.
const MOST_PROTOCOLS: usize = 8;

/// Whether a request asks for a protocol that may be passed on: in HTTP/1.1, named by `Upgrade`, and with
/// `Connection: upgrade` beside it. What is malformed does not count as asked: the field is dropped then, as a
/// server may always do.
pub(super) fn is_asked(request: &Head) -> bool {
    request.get(KnownName::Upgrade).is_some()
        && request.version() == Version::Http11
        && request.has_token(KnownName::Connection, b"upgrade")
        && named(request).all(is_protocol)
        && (1..=MOST_PROTOCOLS).contains(&passed_on(request).count())
}

/// Whether a 101 switches to something that the request asked for, and to nothing else.
pub(super) fn is_answer(answer: &Head, request: &Head) -> bool {
    let is_asked = |given: &[u8]| passed_on(request).any(|asked| asked.eq_ignore_ascii_case(given));
    is_asked_at_all(request, answer) && named(answer).all(is_asked)
}

fn is_asked_at_all(request: &Head, answer: &Head) -> bool {
    is_asked(request)
        && answer.version() == Version::Http11
        && answer.has_token(KnownName::Connection, b"upgrade")
        && named(answer).next().is_some()
}

/// Writes the fields by which the gateway itself asks.
pub(super) fn write_question(out: &mut BytesMut, request: &Head) {
    write::field(out, b"connection", b"upgrade");
    let mut protocols = passed_on(request);
    // One protocol is what everybody asks for; nothing is allocated then.
    match (protocols.next(), protocols.next()) {
        (Some(only), None) => write::field(out, b"upgrade", only),
        _ => write::field(out, b"upgrade", &passed_on(request).collect::<Vec<_>>().join(&b", "[..])),
    }
}

/// What is asked for, without HTTP/2: a switch to it would carry requests past all that the gateway checks.
fn passed_on(request: &Head) -> impl Iterator<Item = &[u8]> {
    let is_http2 = |protocol: &[u8]| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"h2c")
            || name.eq_ignore_ascii_case(b"h2")
            || name.eq_ignore_ascii_case(b"http")
    };
    named(request).filter(move |protocol| !is_http2(protocol))
}

fn named(head: &Head) -> impl Iterator<Item = &[u8]> {
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
