//! Bytes to a [`Head`], in one pass over complete lines.
//!
//! Not here: reading (the caller appends to the buffer), the body ([`crate::body`]), and whether the host or
//! path is one that anybody serves.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use bytes::{Buf, BytesMut};

use crate::head::{FieldSpan, Head, Span, StartLine, Version};
use crate::name::KnownName;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, its empty line included.
    pub head_bytes: usize,
    /// Number of fields; at most [`HeadLimits::MAX_FIELDS`].
    pub fields: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
}

impl HeadLimits {
    /// No head has more fields than this, whatever is configured: the parser keeps its table on the stack.
    pub const MAX_FIELDS: usize = 128;
}

impl Default for HeadLimits {
    /// 32 KiB, 100 fields, a target of 16 KiB.
    fn default() -> Self {
        Self { head_bytes: 32 << 10, fields: 100, target_bytes: 16 << 10 }
    }
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line ends in LF without CR.
    #[error("bare LF")]
    BareLf,
    /// A byte or token that the grammar does not allow.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The head is longer than allowed.
    #[error("head too long")]
    TooLong,
    /// More fields than allowed.
    #[error("too many fields")]
    TooManyFields,
    /// The request target is longer than allowed.
    #[error("request target too long")]
    TargetTooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("unknown HTTP version")]
    Version,
    /// An HTTP/1.1 request without Host.
    #[error("no Host field")]
    NoHost,
    /// More than one Host field.
    #[error("several Host fields")]
    SeveralHosts,
    /// An absolute-form target whose authority is not Host's.
    #[error("target and Host name different authorities")]
    HostMismatch,
    /// The method is CONNECT, which a gateway does not do.
    #[error("CONNECT is not supported")]
    Connect,
}

impl HeadError {
    /// The status that tells the client: 400, 405, 414, 431 or 505.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong | Self::TooManyFields => 431,
            Self::TargetTooLong => 414,
            Self::Version => 505,
            Self::Connect => 405,
            _ => 400,
        }
    }
}

/// Finds the end of a head while its bytes trickle in; every byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Bytes already searched for LF.
    searched: usize,
    /// Where the current line begins.
    line_start: usize,
    /// Whether the empty line that may stand before a request has been looked for.
    is_empty_line_checked: bool,
}

impl HeadScanner {
    /// Says where the head ends (after its empty line), or that more bytes are needed.
    ///
    /// # Errors
    /// A line that ends in LF alone, as soon as it is seen, and a head beyond the limit.
    fn find_end(&mut self, text: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        while let Some(found) = memchr::memchr(b'\n', text.get(self.searched..).unwrap_or_default()) {
            let feed = self.searched + found;
            // Before anything else, so that the answer does not depend on how much arrived at once.
            if feed >= limits.head_bytes {
                return Err(HeadError::TooLong);
            }
            let line = text.get(self.line_start..feed).unwrap_or_default();
            if line.last() != Some(&b'\r') {
                return Err(HeadError::BareLf);
            }
            self.searched = feed + 1;
            self.line_start = feed + 1;
            if line.len() == 1 {
                return Ok(Some(feed + 1));
            }
        }
        self.searched = text.len();
        if text.len() >= limits.head_bytes { Err(HeadError::TooLong) } else { Ok(None) }
    }

    /// Drops the empty line before a request, if there is one; false: more bytes must tell.
    ///
    /// Only one for each head, however it trickles in: who sends more of them is no HTTP client.
    fn skip_empty_line(&mut self, buffer: &mut BytesMut) -> bool {
        if self.is_empty_line_checked {
            return true;
        }
        match buffer.get(..2) {
            Some(b"\r\n") => buffer.advance(2),
            None if matches!(buffer.first(), None | Some(b'\r')) => return false,
            _ => {}
        }
        self.is_empty_line_checked = true;
        true
    }
}

/// Takes a request head off the front of `buffer` if it is complete; `scanner` begins anew with each head.
///
/// One empty line before the request line is skipped (RFC 9112 §2.2).
///
/// # Errors
/// A head that is malformed, doubtful or too large; nothing behind it can be trusted then.
pub fn request(
    buffer: &mut BytesMut,
    scanner: &mut HeadScanner,
    limits: &HeadLimits,
) -> Result<Option<Head>, HeadError> {
    if !scanner.skip_empty_line(buffer) {
        return Ok(None);
    }
    let end = match scanner.find_end(buffer, limits) {
        Ok(Some(end)) => end,
        Ok(None) => return Ok(None),
        Err(HeadError::TooLong) => return Err(too_long_error(buffer, limits)),
        Err(error) => return Err(error),
    };
    *scanner = HeadScanner::default();
    let text = buffer.split_to(end).freeze();
    let mut slots = [const { MaybeUninit::uninit() }; HeadLimits::MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&text, field_slots(&mut slots, limits)) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("head")),
        Err(httparse::Error::Version) => return Err(version_error(&text)),
        Err(error) => return Err(head_error(error)),
    }
    let method = parsed.method.unwrap_or_default();
    let target = parsed.path.unwrap_or_default();
    if target.len() > limits.target_bytes {
        return Err(HeadError::TargetTooLong);
    }
    let version = version(parsed.version)?;
    let fields = fields(&text, parsed.headers);
    let (authority, target) = split_target(method, target)?;
    let start = StartLine::Request { method: span(&text, method.as_bytes()), target: span(&text, target) };
    let authority = authority.map(|authority| span(&text, authority));
    let head = Head::new(text.clone(), start, version, fields);
    check_host(&head, authority.map(|at| slice(&text, at)))?;
    Ok(Some(head))
}

/// Takes a response head off the front of `buffer` if it is complete; `scanner` begins anew with each head.
///
/// # Errors
/// A head that is malformed or too large; the connection is of no more use then.
pub fn response(
    buffer: &mut BytesMut,
    scanner: &mut HeadScanner,
    limits: &HeadLimits,
) -> Result<Option<Head>, HeadError> {
    let Some(end) = scanner.find_end(buffer, limits)? else { return Ok(None) };
    *scanner = HeadScanner::default();
    let text = buffer.split_to(end).freeze();
    let mut slots = [const { MaybeUninit::uninit() }; HeadLimits::MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &text, field_slots(&mut slots, limits)) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("head")),
        Err(error) => return Err(head_error(error)),
    }
    let status =
        parsed.code.filter(|code| (100..=599).contains(code)).ok_or(HeadError::Malformed("status"))?;
    let version = version(parsed.version)?;
    let reason = span(&text, parsed.reason.unwrap_or_default().as_bytes());
    let fields = fields(&text, parsed.headers);
    Ok(Some(Head::new(text, StartLine::Response { status, reason }, version, fields)))
}

/// Takes the trailer section of a chunked body off the front of `buffer` if it is complete.
///
/// The result is a head without a first line, to be read with [`Head::fields`].
///
/// # Errors
/// As for any head.
pub(crate) fn trailers(
    buffer: &mut BytesMut,
    scanner: &mut HeadScanner,
    limits: &HeadLimits,
) -> Result<Option<Head>, HeadError> {
    let Some(end) = scanner.find_end(buffer, limits)? else { return Ok(None) };
    *scanner = HeadScanner::default();
    let text = buffer.split_to(end).freeze();
    let mut slots = [httparse::EMPTY_HEADER; HeadLimits::MAX_FIELDS];
    let parsed = match httparse::parse_headers(&text, field_slots(&mut slots, limits)) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("trailers")),
        Err(error) => return Err(head_error(error)),
    };
    let fields = fields(&text, parsed);
    let start = StartLine::Response { status: 0, reason: Span::default() };
    Ok(Some(Head::new(text, start, Version::Http11, fields)))
}

/// The part of the table that a head may fill. A limit beyond the table means all of it.
fn field_slots<'a, T>(slots: &'a mut [T; HeadLimits::MAX_FIELDS], limits: &HeadLimits) -> &'a mut [T] {
    slots.get_mut(..limits.fields.min(HeadLimits::MAX_FIELDS)).unwrap_or_default()
}

/// A head beyond the limit whose target alone is beyond the target's limit is a matter of the target.
fn too_long_error(text: &[u8], limits: &HeadLimits) -> HeadError {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if target.len() > limits.target_bytes { HeadError::TargetTooLong } else { HeadError::TooLong }
}

/// `httparse` takes whatever stands behind the first two words for a version. Only what has the form of one
/// deserves 505; a space in the target does not.
fn version_error(text: &[u8]) -> HeadError {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut rest = line.split(|byte| *byte == b' ').skip(2);
    match (rest.next(), rest.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']), None) => HeadError::Version,
        _ => HeadError::Malformed("request line"),
    }
}

fn head_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Malformed("field name"),
        httparse::Error::HeaderValue => HeadError::Malformed("field value"),
        httparse::Error::NewLine => HeadError::Malformed("line end"),
        httparse::Error::Status => HeadError::Malformed("status"),
        httparse::Error::Token => HeadError::Malformed("request line"),
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::Version,
    }
}

fn version(minor: Option<u8>) -> Result<Version, HeadError> {
    match minor {
        Some(0) => Ok(Version::Http10),
        Some(1) => Ok(Version::Http11),
        _ => Err(HeadError::Version),
    }
}

/// Turns what `httparse` borrowed from `text` into places in it.
fn fields(text: &[u8], parsed: &[httparse::Header<'_>]) -> Vec<FieldSpan> {
    parsed
        .iter()
        .map(|field| FieldSpan {
            name: span(text, field.name.as_bytes()),
            value: span(text, field.value),
            known: KnownName::from_bytes(field.name.as_bytes()),
        })
        .collect()
}

/// Where `part`, which was borrowed from `text`, stands in it.
fn span(text: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    // An empty part may be a constant from elsewhere; heads are far below 4 GiB.
    match (u32::try_from(start), u32::try_from(part.len())) {
        (Ok(start), Ok(len)) if start as usize + len as usize <= text.len() => Span { start, len },
        _ => Span::default(),
    }
}

fn slice(text: &[u8], span: Span) -> &[u8] {
    let start = span.start as usize;
    text.get(start..start + span.len as usize).unwrap_or_default()
}

/// Splits a request target into the authority of its absolute form, if it has one, and path with query.
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a [u8]>, &'a [u8]), HeadError> {
    if method == "CONNECT" {
        return Err(HeadError::Connect);
    }
    let bytes = target.as_bytes();
    if is_valid_target(method.as_bytes(), bytes) {
        return Ok((None, bytes));
    }
    if !is_plain(bytes) {
        return Err(HeadError::Malformed("request target"));
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (head, rest) = bytes.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })
        .ok_or(HeadError::Malformed("request target"))?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, b""));
    match path.first() {
        // A query without a path is too rare to be worth a rewrite.
        None | Some(b'/') => Ok((Some(authority), path)),
        Some(_) => Err(HeadError::Malformed("request target")),
    }
}

/// Whether a request with `method` may have this target: a path, perhaps with a query, or for OPTIONS `*` (RFC 9112
/// §3.2, RFC 9113 §8.3.1), of visible ASCII characters and without a fragment. The same for HTTP/2's `:path`, since the
/// endpoint gets either in a request line.
pub fn is_valid_target(method: &[u8], target: &[u8]) -> bool {
    let has_form = target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS");
    has_form && is_plain(target)
}

fn is_plain(target: &[u8]) -> bool {
    target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#')
}

/// RFC 9112 §3.2: exactly one valid Host in HTTP/1.1, and no disagreement with an absolute-form target.
fn check_host(head: &Head, authority: Option<&[u8]>) -> Result<(), HeadError> {
    let mut hosts = head.get_all(KnownName::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::SeveralHosts);
    }
    if host.is_none() && head.version() == Version::Http11 {
        return Err(HeadError::NoHost);
    }
    if host.is_some_and(|host| !is_valid_host(host)) {
        return Err(HeadError::Malformed("host"));
    }
    match authority {
        Some(authority) if !host.unwrap_or_default().eq_ignore_ascii_case(authority) => {
            Err(HeadError::HostMismatch)
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2) with a name of letters, digits and `-._~`, or an IP address.
///
/// The sub-delimiters and percent-encoding that RFC 3986 allows in a name are refused: no DNS name has them,
/// and a comma reads like two hosts. So is the empty value, which an http URI cannot have (RFC 9110 §4.2.1).
pub fn is_valid_host(value: &[u8]) -> bool {
    let end = if value.first() == Some(&b'[') {
        memchr::memchr(b']', value).map_or(0, |bracket| bracket + 1)
    } else {
        memchr::memchr(b':', value).unwrap_or(value.len())
    };
    let (name, port) = value.split_at_checked(end).unwrap_or_default();
    let is_name = match name {
        [] => false,
        [b'[', address @ .., b']'] => {
            str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        name => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)),
    };
    is_name && is_port(port)
}

/// Nothing, or a colon and perhaps a port; the colon alone is allowed by RFC 3986 §3.2.3.
fn is_port(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(b":") else { return text.is_empty() };
    let number = digits.iter().try_fold(0u32, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
    });
    number.is_some_and(|port| port <= u32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanner_searches_each_byte_once() {
        let (mut buffer, mut scanner) = (BytesMut::new(), HeadScanner::default());
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nA: b" {
            buffer.extend_from_slice(&[*byte]);
            assert!(matches!(request(&mut buffer, &mut scanner, &HeadLimits::default()), Ok(None)));
            assert_eq!(scanner.searched, buffer.len());
        }
        assert_eq!(buffer.get(scanner.line_start..), Some(&b"A: b"[..]));
    }

    #[test]
    fn scanner_is_reset_after_each_head() {
        let (mut buffer, mut scanner) =
            (BytesMut::from(&b"GET / HTTP/1.0\r\n\r\n"[..]), HeadScanner::default());
        assert!(matches!(request(&mut buffer, &mut scanner, &HeadLimits::default()), Ok(Some(_))));
        assert_eq!((scanner.searched, scanner.line_start, scanner.is_empty_line_checked), (0, 0, false));
    }
}
