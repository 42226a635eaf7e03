//! Parses bytes into a [`Head`], in one pass over complete lines.
//!
//! The caller reads from the connection and appends to the buffer. [`crate::body`] decodes the body.
//! Whether a route for host and path exists is not checked here.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use bytes::{Buf, BytesMut};

use crate::head::{FieldSpan, Head, Span, StartLine, Version};
use crate::name::KnownName;

/// Limits of a message head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Maximum bytes of the whole head, the final empty line included.
    pub head_bytes: usize,
    /// Maximum number of fields, at most [`HeadLimits::MAX_FIELDS`].
    pub fields: usize,
    /// Maximum bytes of a request target.
    pub target_bytes: usize,
}

impl HeadLimits {
    /// Upper bound of the configurable field limit: the parser keeps its field table of 32 KiB on the stack.
    pub const MAX_FIELDS: usize = 1000;

    /// Maximum number of trailers, also if the field limit is higher.
    pub const MAX_TRAILERS: usize = 128;
}

impl Default for HeadLimits {
    /// Returns 32 KiB, 100 fields, and a target of 16 KiB.
    fn default() -> Self {
        Self { head_bytes: 32 << 10, fields: 100, target_bytes: 16 << 10 }
    }
}

/// Why a head was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line ends in LF without CR.
    #[error("bare LF")]
    BareLf,
    /// A field value continues on a line that begins with a blank (RFC 9112 §5.2).
    #[error("folded field value")]
    FoldedField,
    /// A byte or token that the grammar does not allow.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A response does not begin with `HTTP/`: the peer speaks another protocol.
    #[error("the first line does not begin with HTTP/")]
    NotHttp,
    /// The head exceeds [`HeadLimits::head_bytes`].
    #[error("head too long")]
    TooLong,
    /// The head exceeds [`HeadLimits::fields`].
    #[error("too many fields")]
    TooManyFields,
    /// The request target exceeds [`HeadLimits::target_bytes`].
    #[error("request target too long")]
    TargetTooLong,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("unknown HTTP version")]
    Version,
    /// An HTTP/1.1 request has no Host field.
    #[error("no Host field")]
    NoHost,
    /// The request has more than one Host field.
    #[error("several Host fields")]
    SeveralHosts,
    /// `:authority` of HTTP/2 differs from Host, or HTTP/1.0 has an absolute-form target without Host.
    #[error("target and Host name different authorities")]
    HostMismatch,
    /// The method is CONNECT, which a gateway does not implement.
    #[error("CONNECT is not supported")]
    Connect,
}

impl HeadError {
    /// Returns the status of the local reply: 400, 405, 414, 431 or 505.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong | Self::TooManyFields => 431,
            Self::TargetTooLong => 414,
            Self::Version => 505,
            Self::Connect => 405,
            Self::BareLf
            | Self::FoldedField
            | Self::Malformed(_)
            | Self::NotHttp
            | Self::NoHost
            | Self::SeveralHosts
            | Self::HostMismatch => 400,
        }
    }
}

/// Finds the end of a head across reads. Searches every byte once.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Bytes already searched for LF.
    searched: usize,
    /// Start of the current line.
    line_start: usize,
    /// True once the optional empty line before a request was skipped or is known to be absent.
    is_empty_line_checked: bool,
}

impl HeadScanner {
    /// Returns the length of the head with its final empty line, or `None` if it is incomplete.
    ///
    /// # Errors
    /// [`HeadError::BareLf`] as soon as a line ends in LF without CR, and [`HeadError::TooLong`].
    fn find_end(&mut self, text: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        while let Some(found) = memchr::memchr(b'\n', text.get(self.searched..).unwrap_or_default()) {
            let feed = self.searched + found;
            // Check the limit first, so that the result does not depend on how many bytes arrived at once.
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

    /// Removes one empty line before the request line (RFC 9112 §2.2). Returns false if more bytes are needed.
    ///
    /// A second empty line is left in place and rejected by the parser: HTTP clients never send it.
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

/// Removes a request head from the front of `buffer`. Returns `None` if it is incomplete.
///
/// `scanner` keeps the progress between calls and is reset after each head.
///
/// # Errors
/// Any [`HeadError`]. The rest of the buffer cannot be interpreted then, so the caller closes the connection.
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
        Err(_) if is_folded(&text) => return Err(HeadError::FoldedField),
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
    let mut head = Head::new(text.clone(), start, version, fields);
    check_host(&head, authority.map(|at| slice(&text, at)))?;
    if let Some(authority) = authority {
        // RFC 9112 §3.2.2: the authority of the target counts, whatever Host says.
        head.set_host(authority);
    }
    Ok(Some(head))
}

/// Removes a response head from the front of `buffer`. Returns `None` if it is incomplete.
///
/// `scanner` keeps the progress between calls and is reset after each head.
///
/// # Errors
/// [`HeadError::BareLf`], [`HeadError::FoldedField`], [`HeadError::Malformed`], [`HeadError::NotHttp`],
/// [`HeadError::TooLong`], [`HeadError::TooManyFields`] or [`HeadError::Version`]. The caller closes the connection.
pub fn response(
    buffer: &mut BytesMut,
    scanner: &mut HeadScanner,
    limits: &HeadLimits,
) -> Result<Option<Head>, HeadError> {
    // Before the end is looked for: a TLS alert or the greeting of another protocol has none.
    check_protocol(buffer)?;
    let Some(end) = scanner.find_end(buffer, limits)? else { return Ok(None) };
    *scanner = HeadScanner::default();
    let text = buffer.split_to(end).freeze();
    let mut slots = [const { MaybeUninit::uninit() }; HeadLimits::MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &text, field_slots(&mut slots, limits)) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("head")),
        Err(_) if is_folded(&text) => return Err(HeadError::FoldedField),
        Err(httparse::Error::HeaderName) if has_blank_before_colon(&text) => {
            return Err(HeadError::Malformed("field name: a blank before the colon"));
        }
        Err(error) => return Err(head_error(error)),
    }
    let status =
        parsed.code.filter(|code| (100..=599).contains(code)).ok_or(HeadError::Malformed("status"))?;
    let version = version(parsed.version)?;
    let reason = span(&text, parsed.reason.unwrap_or_default().as_bytes());
    let fields = fields(&text, parsed.headers);
    Ok(Some(Head::new(text, StartLine::Response { status, reason }, version, fields)))
}

/// Removes the trailer section of a chunked body from the front of `buffer`. Returns `None` if it is incomplete.
///
/// The result is a head without a first line. [`Head::fields`] returns the trailers.
///
/// # Errors
/// [`HeadError::BareLf`], [`HeadError::Malformed`], [`HeadError::TooLong`] or [`HeadError::TooManyFields`].
pub(crate) fn trailers(
    buffer: &mut BytesMut,
    scanner: &mut HeadScanner,
    limits: &HeadLimits,
) -> Result<Option<Head>, HeadError> {
    let Some(end) = scanner.find_end(buffer, limits)? else { return Ok(None) };
    *scanner = HeadScanner::default();
    let text = buffer.split_to(end).freeze();
    let mut slots = [httparse::EMPTY_HEADER; HeadLimits::MAX_TRAILERS];
    let parsed = match httparse::parse_headers(&text, field_slots(&mut slots, limits)) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("trailers")),
        Err(error) => return Err(head_error(error)),
    };
    let fields = fields(&text, parsed);
    let start = StartLine::Response { status: 0, reason: Span::default() };
    Ok(Some(Head::new(text, start, Version::Http11, fields)))
}

/// Returns the slots that a head may fill: the configured limit, or the whole table if the limit exceeds it.
fn field_slots<'a, T>(slots: &'a mut [T], limits: &HeadLimits) -> &'a mut [T] {
    let count = limits.fields.min(slots.len());
    slots.get_mut(..count).unwrap_or_default()
}

/// Rejects the first bytes of a response that cannot become `HTTP/`.
fn check_protocol(text: &[u8]) -> Result<(), HeadError> {
    if text.iter().zip(b"HTTP/").all(|(byte, expected)| byte == expected) {
        Ok(())
    } else {
        Err(HeadError::NotHttp)
    }
}

/// Returns [`HeadError::TargetTooLong`] if the target of an oversized head exceeds its own limit.
fn too_long_error(text: &[u8], limits: &HeadLimits) -> HeadError {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if target.len() > limits.target_bytes { HeadError::TargetTooLong } else { HeadError::TooLong }
}

/// Returns [`HeadError::Version`] only for a third word of the form `HTTP/d.d`.
///
/// `httparse` reports a version error for everything after the second word, also for a space in the target.
fn version_error(text: &[u8]) -> HeadError {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut rest = line.split(|byte| *byte == b' ').skip(2);
    match (rest.next(), rest.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']), None) => HeadError::Version,
        _ => HeadError::Malformed("request line"),
    }
}

/// Returns true if a field line begins with a blank.
fn is_folded(text: &[u8]) -> bool {
    text.windows(3).any(|three| matches!(three, b"\r\n " | b"\r\n\t"))
}

/// Returns true if a field name ends with a blank (RFC 9112 §5.1).
fn has_blank_before_colon(text: &[u8]) -> bool {
    let fields = text.split(|byte| *byte == b'\n').skip(1);
    let mut names = fields.filter_map(|line| line.split(|byte| *byte == b':').next());
    names.any(|name| !name.starts_with(b"\r") && matches!(name.last(), Some(b' ' | b'\t')))
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

/// Converts the slices that `httparse` borrowed from `text` into spans.
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

/// Returns the position of `part`, a subslice of `text`.
fn span(text: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    // An empty part may be a constant outside `text`. Heads are far below 4 GiB.
    match (u32::try_from(start), u32::try_from(part.len())) {
        (Ok(start), Ok(len)) if start as usize + len as usize <= text.len() => Span { start, len },
        _ => Span::default(),
    }
}

fn slice(text: &[u8], span: Span) -> &[u8] {
    let start = span.start as usize;
    text.get(start..start + span.len as usize).unwrap_or_default()
}

/// Splits a request target into the authority of its absolute form, if any, and path with query.
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
        // A query without a path is rejected: it is too rare to justify rewriting the target.
        None | Some(b'/') => Ok((Some(authority), path)),
        Some(_) => Err(HeadError::Malformed("request target")),
    }
}

/// Returns true if a request with `method` may have this target (RFC 9112 §3.2, RFC 9113 §8.3.1).
///
/// A target is a path with an optional query, or `*` for OPTIONS. It consists of visible ASCII characters without
/// `#`. HTTP/2's `:path` follows the same rule because the gateway writes it into an HTTP/1.1 request line.
pub fn is_valid_target(method: &[u8], target: &[u8]) -> bool {
    let has_form = target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS");
    has_form && is_plain(target)
}

fn is_plain(target: &[u8]) -> bool {
    target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#')
}

/// Requires exactly one valid Host in HTTP/1.1. An absolute-form target must have a valid authority, and HTTP/1.0 must have
/// Host beside it: a head stores the authority in Host only.
fn check_host(head: &Head, authority: Option<&[u8]>) -> Result<(), HeadError> {
    let mut hosts = head.get_all(KnownName::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::SeveralHosts);
    }
    if host.is_none() && head.version() == Version::Http11 {
        return Err(HeadError::NoHost);
    }
    if [host, authority].into_iter().flatten().any(|host| !is_valid_host(host)) {
        return Err(HeadError::Malformed("host"));
    }
    if authority.is_some() && host.is_none() {
        return Err(HeadError::HostMismatch);
    }
    Ok(())
}

/// Returns true for `uri-host [ ":" port ]` (RFC 9110 §7.2) with an IP address or a name of letters, digits, `-._~`.
///
/// Sub-delimiters and percent-encoding, which RFC 3986 allows in names, are rejected: no DNS name contains them,
/// and a comma reads like two hosts. An empty value is rejected too (RFC 9110 §4.2.1).
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

/// Returns true for an empty string, or a colon with an optional port (RFC 3986 §3.2.3).
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
