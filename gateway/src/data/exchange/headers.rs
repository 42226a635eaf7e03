//! Which fields travel: hop-by-hop ones do not, what only the gateway may say is said by the gateway.
//!
//! Filtering happens while a head is written, so that nothing is copied for it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http1::name::is_forwarding_field;
use http1::{BodyLength, Head, KnownName, Version, write};

use super::client::RequestSource;
use super::{date, upgrade};
use crate::settings::UnderscoreNames;

/// Takes out of a client's head or trailers what nobody behind the gateway is to see, filters included.
pub(crate) fn sanitize(head: &mut Head, underscores: UnderscoreNames) {
    if underscores == UnderscoreNames::Dropped {
        head.retain(|name| memchr::memchr(b'_', name).is_none());
    }
}

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

/// Writes the request head that goes to the endpoint at this address, its empty line included.
pub(super) fn write_request(
    out: &mut BytesMut,
    endpoint: SocketAddr,
    (request, path): (&Head, &str),
    source: &RequestSource<'_>,
    length: BodyLength,
) {
    let (target, query) = target(request, path);
    if query.is_empty() {
        write::request_line(out, request.method(), target);
    } else {
        let whole = [target, query].concat();
        write::request_line(out, request.method(), &whole);
    }
    if request.get(KnownName::Host).is_none() {
        // An HTTP/1.0 client may leave it out, and we as an HTTP/1.1 client may not (RFC 9112 §3.2). Empty, as for a URI
        // without authority, is refused by nginx among others; the endpoint's own address is what nobody can mistake
        // for a name.
        let _ = write!(out, "host: {endpoint}\r\n");
    }
    let options = ConnectionOptions::parse(request);
    // What we do not write ourselves, such as `X-Forwarded-Prefix`, only a trusted proxy may say.
    let keeps_hops = source.client.is_trusted();
    for (known, name, value) in request.fields() {
        let travels = match known {
            Some(KnownName::Host) => true,
            Some(known) => !known.is_hop_by_hop() && !is_set_by_gateway(known) && !options.contains(name),
            None if is_forwarding_field(name) => keeps_hops && !name.contains(&b'_'),
            None => !options.contains(name),
        };
        if travels {
            write::field(out, name, value);
        }
    }
    source.write(out, request);
    if upgrade::is_requested(request) {
        upgrade::write_request_fields(out, request);
    } else if wants_trailers(request) {
        // RFC 9110 §10.1.4: who sends it names it in Connection, since it is for this connection only.
        write::field(out, b"connection", b"te");
        write::field(out, b"te", b"trailers");
    }
    write::framing(out, length);
    write::end(out);
}

/// Whether the client takes trailers, and says so: gRPC servers insist on being told. Of what else `TE` may list,
/// nothing holds for the connection to the endpoint.
fn wants_trailers(request: &Head) -> bool {
    request.version() == Version::Http11 && request.has_token(KnownName::Te, b"trailers")
}

/// Fields that only the gateway may write: it frames anew, answers `Expect` itself, and says where a request
/// came from. What the client says of that is forged or meant for us.
fn is_set_by_gateway(known: KnownName) -> bool {
    matches!(
        known,
        KnownName::ContentLength
            | KnownName::Expect
            | KnownName::Forwarded
            | KnownName::XForwardedFor
            | KnownName::XForwardedHost
            | KnownName::XForwardedPort
            | KnownName::XForwardedProto
            | KnownName::XRealIp
            | KnownName::XRequestId
    )
}

/// More field names than this in `Connection` make a message doubtful: looking for each field among them is work
/// for us that costs the sender nothing. Pingora refuses from 10 on.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// The field names that `Connection` declares to be for this connection only (RFC 9110 §7.6.1).
struct ConnectionOptions<'a>(Vec<&'a [u8]>);

impl<'a> ConnectionOptions<'a> {
    /// Collects the names; nothing is allocated in the usual case of none.
    fn parse(head: &'a Head) -> Self {
        let tokens = head.get_all(KnownName::Connection).flat_map(|value| value.split(|byte| *byte == b','));
        let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| {
            let is_option = [&b"close"[..], b"keep-alive", b""];
            !is_option.iter().any(|option| token.eq_ignore_ascii_case(option))
        });
        Self(tokens.take(MAX_CONNECTION_OPTIONS + 1).collect())
    }

    fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|token| token.eq_ignore_ascii_case(name))
    }
}

/// Whether `Connection` names more fields than anybody needs; such a message is refused.
pub(crate) fn has_too_many_connection_options(head: &Head) -> bool {
    head.get(KnownName::Connection).is_some()
        && ConnectionOptions::parse(head).0.len() > MAX_CONNECTION_OPTIONS
}

/// A response on its way to the client, before a codec writes it.
#[derive(Debug)]
pub struct Response<'a> {
    /// 101 to 599.
    pub status: u16,
    /// The reason phrase; HTTP/2 has none.
    pub reason: &'a [u8],
    /// What `Date` says if the endpoint did not say it.
    pub date: date::Text,
    /// The endpoint's head, if an endpoint answered.
    pub head: Option<&'a Head>,
    /// Fields that the gateway adds.
    pub extra: &'a [(&'static str, &'a [u8])],
    /// How the body is framed.
    pub length: BodyLength,
    /// Whether the request was HEAD: a Content-Length then speaks of the body that is not sent.
    pub is_head_request: bool,
    /// Whether nothing more can be understood on an HTTP/1.1 connection after this.
    pub closes_connection: bool,
}

impl<'a> Response<'a> {
    /// What an endpoint answered, or said before it answers.
    pub(super) fn from_endpoint(head: &'a Head, length: BodyLength) -> Self {
        Self {
            status: head.status(),
            reason: head.reason(),
            date: date::Text::default(),
            head: Some(head),
            extra: &[],
            length,
            is_head_request: false,
            closes_connection: false,
        }
    }

    /// Calls `field` with each field that the client gets, except those that frame the body.
    pub fn for_each_field(&self, mut field: impl FnMut(&[u8], &[u8])) {
        // What is added belongs to the answer proper.
        let (mut has_date, mut has_server) = (self.status < 200, self.status < 200);
        if let Some(head) = self.head {
            let options = ConnectionOptions::parse(head);
            for (known, name, value) in head.fields() {
                let travels = match known {
                    // The length of a body that is not sent (HEAD, 304) is worth telling; otherwise the codec frames.
                    // A 204 has none to tell of, whatever was asked (RFC 9110 §8.6).
                    Some(KnownName::ContentLength) => {
                        self.length == BodyLength::Empty
                            && match self.status {
                                304 => true,
                                204 => false,
                                _ => self.is_head_request,
                            }
                    }
                    // The one protocol field that a client has to see: which protocol it is to be.
                    Some(KnownName::Upgrade) => self.status == 101,
                    // Two names for one request would be none.
                    Some(KnownName::XRequestId) => !self.has_extra(name) && !options.contains(name),
                    Some(known) => !known.is_hop_by_hop() && !options.contains(name),
                    None => !options.contains(name),
                };
                if travels {
                    has_date |= known == Some(KnownName::Date);
                    has_server |= known == Some(KnownName::Server);
                    field(name, value);
                }
            }
        }
        if !has_date {
            field(b"date", &self.date);
        }
        if !has_server {
            field(b"server", b"wasm-gateway");
        }
        for (name, value) in self.extra {
            field(name.as_bytes(), value);
        }
    }

    fn has_extra(&self, name: &[u8]) -> bool {
        self.extra.iter().any(|(added, _)| name.eq_ignore_ascii_case(added.as_bytes()))
    }
}

/// Whether the peer that sent `head` keeps the connection open after the message (RFC 9112 §9.3).
pub(crate) fn is_keep_alive(head: &Head) -> bool {
    match (head.version(), head.get(KnownName::Connection)) {
        (Version::Http11, None) => true,
        (Version::Http11, Some(_)) => !head.has_token(KnownName::Connection, b"close"),
        (Version::Http10, _) => {
            head.has_token(KnownName::Connection, b"keep-alive")
                && !head.has_token(KnownName::Connection, b"close")
        }
    }
}

/// How long the peer says that it keeps an idle connection: `Keep-Alive: timeout=5` (RFC 2068 §19.7.1.1). What
/// cannot be read says nothing.
pub(crate) fn keep_alive_timeout(head: &Head) -> Option<Duration> {
    let value = std::str::from_utf8(head.get(KnownName::KeepAlive)?).ok()?;
    let (_, seconds) = value
        .split(',')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use http1::HeadBuilder;

    use super::*;

    #[test]
    fn keep_alive_says_how_long_in_seconds_and_what_cannot_be_read_says_nothing() {
        for (value, seconds) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100,  TimeOut = 7 ", Some(7)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=1.5", None),
            ("timeout=99999999999999999999", None),
            ("xtimeout=5", None),
            ("", None),
        ] {
            let mut head = HeadBuilder::response(200, 1);
            head.field(b"keep-alive", value.as_bytes());
            assert_eq!(keep_alive_timeout(&head.build()), seconds.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(keep_alive_timeout(&HeadBuilder::response(200, 0).build()), None);
    }
}
