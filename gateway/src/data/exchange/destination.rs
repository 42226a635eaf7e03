//! Host, path and route of a request.
//!
//! `serve` uses these functions for each request, and `gateway explain` for the requests that it is asked about.

use std::borrow::Cow;
use std::sync::Arc;

use http1::{Head, KnownName};
use routing::table::{PathMatch, RequestParts, Route, RoutingTable};
use routing::{host, path};

use super::connection_options::ConnectionOptions;
use super::reply_reason::ReplyReason;
use crate::settings::TraceRequests;

/// Host and path by which a request is matched, and what else is parsed of its head once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// Normalised host without its port. Empty if an HTTP/1.0 request has no Host: only host-less rules match it.
    pub host: Cow<'a, str>,
    /// Canonical path.
    pub path: Cow<'a, str>,
    /// Connection options: fields that concern the client's connection only.
    pub(super) options: ConnectionOptions<'a>,
}

/// The parts of a request head that conditions of routes read.
#[derive(Clone, Copy, Debug)]
pub struct HeadParts<'a>(pub &'a Head);

impl RequestParts for HeadParts<'_> {
    fn method(&self) -> &[u8] {
        self.0.method()
    }

    fn has_field(&self, name: &str, is_met: &dyn Fn(&[u8]) -> bool) -> bool {
        let mut fields = self.0.fields();
        fields.any(|(_, field, value)| field.eq_ignore_ascii_case(name.as_bytes()) && is_met(value))
    }

    fn query(&self) -> &[u8] {
        let target = self.0.target();
        let start = target.iter().position(|byte| *byte == b'?');
        start.and_then(|start| target.get(start + 1..)).unwrap_or_default()
    }
}

/// Parses the host and the path of a request.
///
/// # Errors
/// [`ReplyReason::MalformedHost`], [`ReplyReason::MalformedPath`], [`ReplyReason::TooManyConnectionOptions`], or
/// [`ReplyReason::ServerOptions`] for `OPTIONS *`. No route can serve such a request.
pub fn parse_destination(head: &Head) -> Result<Destination<'_>, ReplyReason> {
    let host = match head.get(KnownName::Host) {
        Some(host) => host::normalise(host).ok_or(ReplyReason::MalformedHost)?,
        None => Cow::Borrowed(""),
    };
    let options = ConnectionOptions::parse(head);
    if options.is_too_long() {
        return Err(ReplyReason::TooManyConnectionOptions);
    }
    if head.target() == b"*" {
        return Err(ReplyReason::ServerOptions);
    }
    let path = path::canonical(head.path()).map_err(|_| ReplyReason::MalformedPath)?;
    Ok(Destination { host, path, options })
}

/// Checks methods that a gateway answers itself.
///
/// # Errors
/// - [`ReplyReason::TraceRefused`] for TRACE, unless the setting forwards it. Its response repeats the request's fields,
///   those of proxies included.
/// - [`ReplyReason::ServerOptions`] for OPTIONS with `Max-Forwards: 0`, which no proxy forwards (RFC 9110 §7.6.2).
/// - [`ReplyReason::LastForward`] for such a TRACE.
pub fn check_method(head: &Head, trace: TraceRequests) -> Result<(), ReplyReason> {
    let is_last = || forwards_left(head) == Some(0);
    match head.method() {
        b"TRACE" if trace == TraceRequests::Refused => Err(ReplyReason::TraceRefused),
        b"TRACE" if is_last() => Err(ReplyReason::LastForward),
        b"OPTIONS" if is_last() => Err(ReplyReason::ServerOptions),
        _ => Ok(()),
    }
}

/// Returns the value of `Max-Forwards`, if the method gives it a meaning (RFC 9110 §7.6.2).
pub(super) fn forwards_left(head: &Head) -> Option<u64> {
    let value =
        head.get(KnownName::MaxForwards).filter(|_| matches!(head.method(), b"OPTIONS" | b"TRACE"))?;
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    // More digits than fit are more proxies than there are.
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Finds the route of a request.
///
/// # Errors
/// - [`ReplyReason::NoRule`] if no rule matches.
/// - [`ReplyReason::EncodedSlash`] if the endpoint might read `%2F` or `%5C` as a slash, and that path has another
///   route or none. An Exact rule that names just this path is exempt.
pub fn find_route<'t>(
    table: &'t RoutingTable,
    host: &str,
    path: &str,
    request: &dyn RequestParts,
) -> Result<&'t Arc<Route>, ReplyReason> {
    let route = table.find_request(host, path, request).ok_or(ReplyReason::NoRule)?;
    let is_elsewhere = |read: String| {
        table.find_request(host, &read, request).is_none_or(|other| !Arc::ptr_eq(other, route))
    };
    if path::alternative_readings(path).any(is_elsewhere) && !matches!(route.path, PathMatch::Exact(_)) {
        return Err(ReplyReason::EncodedSlash);
    }
    Ok(route)
}
