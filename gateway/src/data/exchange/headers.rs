//! Header forwarding: drops hop-by-hop fields and writes the fields that only the gateway may set.
//!
//! Fields are filtered while a head is written, so no head is copied.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http1::name::is_forwarding_field;
use http1::{BodyLength, Head, KnownName, Version, write};

use super::connection_options::ConnectionOptions;
use super::destination::{self, Destination};
use super::forwarded::RequestSource;
use super::reply_reason::reason_phrase;
use super::{date, upgrade};
use crate::message::{LineEdits, Patch, RequestMethod, forwarded_target};
use crate::observe::counters::{Counters, increment};
use crate::settings::UnderscoreNames;

/// Removes the fields of a client's head or trailer section that neither filters nor endpoints may see, and counts them.
pub(crate) fn sanitize(head: &mut Head, underscores: UnderscoreNames, counters: &Counters) {
    let has_underscore = |name: &[u8]| memchr::memchr(b'_', name).is_some();
    // No known name has an underscore.
    let is_dropped =
        |(known, name, _): &(Option<KnownName>, &[u8], &[u8])| known.is_none() && has_underscore(name);
    if underscores == UnderscoreNames::Kept || !head.fields().any(|field| is_dropped(&field)) {
        return;
    }
    for (_, name, _) in head.fields().filter(is_dropped) {
        increment(&counters.request_fields_dropped);
        tracing::debug!(
            name = %String::from_utf8_lossy(name),
            "request field dropped for the underscore in its name; requests.underscoreNames: keep lets it pass"
        );
    }
    head.retain(|name| !has_underscore(name));
}

/// The request that an endpoint receives.
pub(super) struct UpstreamRequest<'a> {
    /// Head from the client.
    pub(super) head: &'a Head,
    /// Path by which the route was found, and the connection options of the head.
    pub(super) destination: &'a Destination<'a>,
    /// Sender and ID.
    pub(super) source: &'a RequestSource<'a>,
    /// Edits by filters.
    pub(super) patch: Option<&'a Patch>,
    /// Framing of the body.
    pub(super) length: BodyLength,
}

/// Writes the head of a request to this endpoint, its empty line included.
pub(super) fn write_request(out: &mut BytesMut, endpoint: SocketAddr, request: &UpstreamRequest<'_>) {
    let UpstreamRequest { head, destination, source, patch, length } = *request;
    let line = patch.and_then(Patch::line);
    let patch = patch.filter(|patch| !patch.is_empty());
    write_request_line(out, request, line);
    let authority = line.and_then(|line| line.authority.as_ref());
    if let Some(authority) = authority {
        write::field(out, b"host", authority.as_bytes());
    } else if head.get(KnownName::Host).is_none() {
        // Only HTTP/1.0 clients may omit Host (RFC 9112 §3.2). nginx among others rejects an empty one, and no server
        // takes the endpoint's own address for a name.
        let _ = write!(out, "host: {endpoint}\r\n");
    }
    let options = &destination.options;
    let forwards_left = destination::forwards_left(head);
    // Forwarding fields that the gateway does not write, such as `X-Forwarded-Prefix`, need a trusted proxy.
    let keeps_forwarding_fields = source.client.is_trusted();
    for (known, name, value) in head.fields() {
        let is_forwarded = match known {
            Some(KnownName::Host) => authority.is_none(),
            Some(KnownName::MaxForwards) => forwards_left.is_none(),
            Some(known) => !known.is_hop_by_hop() && !is_set_by_gateway(known) && !options.contains(name),
            None if is_forwarding_field(name) => keeps_forwarding_fields && !name.contains(&b'_'),
            None => !options.contains(name),
        };
        if is_forwarded && !patch.is_some_and(|patch| patch.drops(name)) {
            write::field(out, name, value);
        }
    }
    for (name, value) in patch.into_iter().flat_map(Patch::added) {
        write::field(out, name, value);
    }
    if let Some(left) = forwards_left {
        let _ = write!(out, "max-forwards: {}\r\n", left.saturating_sub(1));
    }
    source.write(out, head);
    if upgrade::is_requested(head) {
        upgrade::write_request_fields(out, head);
    } else if wants_trailers(head) {
        // RFC 9110 §10.1.4: a sender of TE lists it in Connection.
        write::field(out, b"connection", b"te");
        write::field(out, b"te", b"trailers");
    }
    write::framing(out, length);
    write::end(out);
}

fn write_request_line(out: &mut BytesMut, request: &UpstreamRequest<'_>, edits: Option<&LineEdits>) {
    let UpstreamRequest { head, destination, .. } = *request;
    let method = edits.and_then(|edits| edits.method.as_ref()).map_or(head.method(), RequestMethod::as_bytes);
    if let Some(target) = edits.and_then(|edits| edits.target.as_ref()) {
        return write::request_line(out, method, target.as_bytes());
    }
    let (target, query) = forwarded_target(head, &destination.path);
    if query.is_empty() {
        write::request_line(out, method, target);
    } else {
        let whole = [target, query].concat();
        write::request_line(out, method, &whole);
    }
}

/// Returns true if the client accepts trailers, which gRPC servers require. Other items of `TE` concern only the
/// client's connection.
fn wants_trailers(request: &Head) -> bool {
    request.version() == Version::Http11 && request.has_token(KnownName::Te, b"trailers")
}

/// Returns true for fields that the gateway writes itself: framing, `Expect` and the origin of the request. The
/// client's values are forged, or are for the gateway.
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

/// Head of a response to the client, which a codec writes.
#[derive(Debug)]
pub struct DownstreamResponse<'a> {
    /// 101 to 599.
    pub status: u16,
    /// Reason phrase. HTTP/2 has none.
    pub reason: &'a [u8],
    /// Value of `Date`, unless the endpoint sent one.
    pub date: date::Text,
    /// Head from the endpoint; `None` for a local reply.
    pub head: Option<&'a Head>,
    /// Fields that the gateway adds.
    pub extra: &'a [(&'a [u8], &'a [u8])],
    /// Edits by filters.
    pub patch: Option<&'a Patch>,
    /// Framing of the body.
    pub length: BodyLength,
    /// Whether the request was HEAD. Content-Length is then the length of a body that is not sent.
    pub is_head_request: bool,
    /// Whether an HTTP/1.1 connection must close after the response.
    pub closes_connection: bool,
}

impl<'a> DownstreamResponse<'a> {
    /// Creates the head for an endpoint's response, informational ones included.
    pub(super) fn from_endpoint(head: &'a Head, length: BodyLength) -> Self {
        Self {
            status: head.status(),
            reason: head.reason(),
            date: date::Text::default(),
            head: Some(head),
            extra: &[],
            patch: None,
            length,
            is_head_request: false,
            closes_connection: false,
        }
    }

    /// Puts the edits of filters over the head.
    #[must_use]
    pub(super) fn patched(self, patch: Option<&'a Patch>) -> Self {
        let status = patch.and_then(Patch::line).and_then(|line| line.status);
        match status {
            Some(status) => Self { status, reason: reason_phrase(status).as_bytes(), patch, ..self },
            None => Self { patch, ..self },
        }
    }

    /// Calls `on_field` with each field for the client, except those that frame the body.
    pub fn for_each_field(&self, mut on_field: impl FnMut(&[u8], &[u8])) {
        let patch = self.patch.filter(|patch| !patch.is_empty());
        let is_dropped = |name: &[u8]| patch.is_some_and(|patch| patch.drops(name));
        // Informational responses get neither field.
        let (mut has_date, mut has_server) = (self.status < 200, self.status < 200);
        if let Some(head) = self.head {
            let options = ConnectionOptions::parse(head);
            for (known, name, value) in head.fields() {
                let is_forwarded = match known {
                    Some(KnownName::ContentLength) => self.forwards_content_length(),
                    // The client must learn the protocol that follows a 101.
                    Some(KnownName::Upgrade) => self.status == 101,
                    // A response has one request ID.
                    Some(KnownName::XRequestId) => !self.has_extra(name) && !options.contains(name),
                    Some(known) => !known.is_hop_by_hop() && !options.contains(name),
                    None => !options.contains(name),
                };
                if is_forwarded && !is_dropped(name) {
                    has_date |= known == Some(KnownName::Date);
                    has_server |= known == Some(KnownName::Server);
                    on_field(name, value);
                }
            }
        }
        if !has_date {
            on_field(b"date", &self.date);
        }
        if !has_server && !is_dropped(b"server") {
            on_field(b"server", b"wasm-gateway");
        }
        for (name, value) in self.extra.iter().filter(|(name, _)| !is_dropped(name)) {
            on_field(name, value);
        }
        for (name, value) in patch.into_iter().flat_map(Patch::added) {
            on_field(name, value);
        }
    }

    /// Returns true if Content-Length is the length of a body that is not sent (HEAD, 304). Otherwise the codec writes
    /// the field. A 204 has none for any method (RFC 9110 §8.6).
    fn forwards_content_length(&self) -> bool {
        self.length == BodyLength::Empty
            && match self.status {
                304 => true,
                204 => false,
                _ => self.is_head_request,
            }
    }

    fn has_extra(&self, name: &[u8]) -> bool {
        self.extra.iter().any(|(extra, _)| name.eq_ignore_ascii_case(extra))
    }
}

/// Returns true if the sender of `head` keeps the connection open after the message (RFC 9112 §9.3).
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

/// Parses how long the sender keeps an idle connection: `Keep-Alive: timeout=5` (RFC 2068 §19.7.1.1). Returns `None`
/// for a malformed value.
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
    fn keep_alive_timeout_is_whole_seconds_or_none() {
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
