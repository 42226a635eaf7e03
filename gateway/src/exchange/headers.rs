//! Which fields travel: hop-by-hop ones do not, what only the gateway may say is said by the gateway.
//!
//! Filtering happens while a head is written, so that nothing is copied for it.

use bytes::BytesMut;
use http1::{BodyLength, Head, Known, Version, write};

use super::Client;

/// The request's target as the endpoint gets it: as the client sent it, unless dot segments were resolved.
///
/// `canonical` is the path that was matched. Were dot segments passed on, the endpoint would resolve them to a
/// path that another rule may have claimed.
fn target<'a>(request: &'a Head, canonical: &'a str) -> (&'a [u8], &'a [u8]) {
    let (target, path) = (request.target(), request.path());
    if path == canonical.as_bytes() || !has_dot_segment(path) {
        return (target, b"");
    }
    (canonical.as_bytes(), target.get(path.len()..).unwrap_or_default())
}

/// Whether a segment of the path begins with a dot, plain or encoded. More than dot segments, never less.
fn has_dot_segment(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"/.")
        || path.windows(4).any(|four| four.eq_ignore_ascii_case(b"/%2e"))
}

/// Writes the request head that goes to the endpoint, its empty line included.
pub(super) fn write_request(
    out: &mut BytesMut,
    (request, path): (&Head, &str),
    client: &Client,
    length: BodyLength,
) {
    let (target, query) = target(request, path);
    if query.is_empty() {
        write::request_line(out, request.method(), target);
    } else {
        let whole = [target, query].concat();
        write::request_line(out, request.method(), &whole);
    }
    let nominated = nominates(request);
    for (known, name, value) in request.fields() {
        let travels = match known {
            Some(Known::Host) => true,
            Some(known) => !known.is_hop_by_hop() && !is_gateways(known),
            None => !is_forwarded(name) && !(nominated && request.lists(Known::Connection, name)),
        };
        if travels {
            write::field(out, name, value);
        }
    }
    write::field(out, b"x-forwarded-for", client.address.as_bytes());
    write::field(out, b"x-forwarded-proto", client.scheme.as_str().as_bytes());
    if let Some(host) = request.get(Known::Host) {
        write::field(out, b"x-forwarded-host", host);
    }
    write::field(out, b"x-forwarded-port", client.port.as_bytes());
    write::field(out, b"x-real-ip", client.address.as_bytes());
    write::framing(out, length);
    write::end(out);
}

/// Fields that only the gateway may write: it frames anew, answers `Expect` itself, and says where a request
/// came from. What the client says of that is forged or meant for us.
fn is_gateways(known: Known) -> bool {
    matches!(
        known,
        Known::ContentLength
            | Known::Expect
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XForwardedProto
            | Known::XRealIp
    )
}

/// `X-Forwarded-*` beyond the known four, such as `-Prefix` and `-Server`: applications trust them as well.
fn is_forwarded(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether `Connection` names fields, not just `close` or `keep-alive`.
fn nominates(head: &Head) -> bool {
    head.all(Known::Connection)
        .any(|value| !value.eq_ignore_ascii_case(b"close") && !value.eq_ignore_ascii_case(b"keep-alive"))
}

/// A response on its way to the client, before a codec writes it.
#[derive(Debug)]
pub struct Response<'a> {
    /// 200 to 599.
    pub status: u16,
    /// The reason phrase; HTTP/2 has none.
    pub reason: &'a [u8],
    /// The endpoint's head, if an endpoint answered.
    pub head: Option<&'a Head>,
    /// Fields that the gateway adds.
    pub added: &'a [(&'static str, &'a [u8])],
    /// How the body is framed.
    pub length: BodyLength,
    /// Whether the request was HEAD: a Content-Length then speaks of the body that is not sent.
    pub answers_head: bool,
}

impl Response<'_> {
    /// Calls `field` with each field that the client gets, except those that frame the body.
    pub fn each(&self, mut field: impl FnMut(&[u8], &[u8])) {
        let mut has_server = false;
        if let Some(head) = self.head {
            let nominated = nominates(head);
            for (known, name, value) in head.fields() {
                let travels = match known {
                    // The length of a body that is not sent (HEAD, 304) is worth telling; otherwise the codec frames.
                    Some(Known::ContentLength) => {
                        self.length == BodyLength::Empty && (self.answers_head || self.status == 304)
                    }
                    Some(known) => !known.is_hop_by_hop(),
                    None => !(nominated && head.lists(Known::Connection, name)),
                };
                if travels {
                    has_server |= known == Some(Known::Server);
                    field(name, value);
                }
            }
        }
        if !has_server {
            field(b"server", b"wasm-gateway");
        }
        for (name, value) in self.added {
            field(name.as_bytes(), value);
        }
    }
}

/// Whether the peer that sent `head` keeps the connection open after the message (RFC 9112 §9.3).
pub(crate) fn keeps_alive(head: &Head) -> bool {
    match (head.version(), head.get(Known::Connection)) {
        (Version::Http11, None) => true,
        (Version::Http11, Some(_)) => !head.lists(Known::Connection, b"close"),
        (Version::Http10, _) => {
            head.lists(Known::Connection, b"keep-alive") && !head.lists(Known::Connection, b"close")
        }
    }
}
