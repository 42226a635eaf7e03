//! Converts the header block of an HTTP/2 request to a [`Head`], the form that all exchanges use.

use h2::RecvStream;
use http::HeaderMap;
use http::request::Parts;
use http1::parse::{is_valid_host, is_valid_target};
use http1::{BodyLength, Head, HeadBuilder, HeadError, HeadLimits};

use crate::data::exchange::reply_reason::ReplyReason;
use crate::observe::access_log::RequestFields;

/// Returns the framing of a request body in terms of HTTP/1.1. `h2` checks that the body has the declared length.
pub(super) fn body_length(parts: &Parts, body: &RecvStream) -> BodyLength {
    let declared = parts.headers.get(http::header::CONTENT_LENGTH);
    // `h2` has rejected a malformed value.
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    match declared {
        Some(length) => BodyLength::Exact(length),
        None if body.is_end_stream() => BodyLength::Empty,
        None => BodyLength::Chunked,
    }
}

/// Returns the readable part of a header block that is no valid head, for the access log.
pub(super) fn request_info(parts: &Parts) -> RequestFields<'_> {
    let host = || Some(parts.headers.get(http::header::HOST)?.as_bytes());
    let user_agent = parts.headers.get(http::header::USER_AGENT);
    RequestFields {
        protocol: "HTTP/2",
        method: parts.method.as_str().as_bytes(),
        host: parts.uri.authority().map(|host| host.as_str().as_bytes()).or_else(host).unwrap_or_default(),
        path: parts.uri.path().as_bytes(),
        has_query: parts.uri.query().is_some(),
        user_agent: user_agent.map(|value| value.as_bytes()),
    }
}

/// Converts a header block to a head.
///
/// # Errors
/// [`ReplyReason::TooManyFields`], [`ReplyReason::MalformedHost`], or [`ReplyReason::InvalidHead`] with the fault of the
/// method, target, host or a field.
pub(super) fn request_head(parts: &Parts, limits: HeadLimits) -> Result<Head, ReplyReason> {
    if parts.headers.len() > limits.fields {
        return Err(ReplyReason::TooManyFields);
    }
    if parts.method == http::Method::CONNECT {
        return Err(ReplyReason::InvalidHead(HeadError::Connect));
    }
    if !has_valid_values(&parts.headers) {
        return Err(ReplyReason::InvalidHead(HeadError::Malformed("field value")));
    }
    let method = parts.method.as_str().as_bytes();
    // The target has no fragment: the `http` crate removes it.
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
    if target.len() > limits.target_bytes {
        return Err(ReplyReason::InvalidHead(HeadError::TargetTooLong));
    }
    if !is_valid_target(method, target) {
        return Err(ReplyReason::InvalidHead(HeadError::Malformed("request target")));
    }
    let mut builder = HeadBuilder::request(method, target, parts.headers.len() + 1);
    builder.field(b"host", host(parts)?);
    // RFC 9113 §8.2.3: HTTP/2 may split a cookie into several fields, HTTP/1.1 may not.
    let crumbs: Vec<_> =
        parts.headers.get_all(http::header::COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
    if !crumbs.is_empty() {
        builder.field(b"cookie", &crumbs.join(&b"; "[..]));
    }
    for (name, value) in &parts.headers {
        if *name != http::header::HOST && *name != http::header::COOKIE {
            builder.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    Ok(builder.build())
}

/// Returns true if no field value begins or ends with a blank (RFC 9113 §8.2.1). `h2` has checked the rest.
pub(super) fn has_valid_values(fields: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    fields.values().all(|value| !is_blank(value.as_bytes().first()) && !is_blank(value.as_bytes().last()))
}

/// Returns the host of a request, from `:authority` or Host. They must not differ (RFC 9113 §8.3.1).
fn host(parts: &Parts) -> Result<&[u8], ReplyReason> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() {
        return Err(ReplyReason::InvalidHead(HeadError::SeveralHosts));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(ReplyReason::InvalidHead(HeadError::HostMismatch))
        }
        (Some(host), _) | (None, Some(host)) if !is_valid_host(host) => Err(ReplyReason::MalformedHost),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(ReplyReason::InvalidHead(HeadError::NoHost)),
    }
}
