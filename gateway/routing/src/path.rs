//! The canonical form of the paths of requests and rules.
//!
//! Matching, filters and logs use this form, so that two spellings of one path never choose two routes. Characters
//! that a path may hold as they are (unreserved, sub-delims, `:` and `@` of RFC 3986) are decoded, others are encoded. Hex
//! digits are upper case, dot segments are resolved, and slashes are merged. `%2F` and `%5C` stay encoded. Not here: the path sent upstream (the original bytes), and matching (`table`).

use std::borrow::Cow;

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A byte must be encoded: a control character, a space, or one beyond ASCII.
    #[error("it contains a character that must be percent-encoded (byte 0x{0:02x})")]
    ForbiddenByte(u8),
    /// The path has `?` or `#`, which end a path.
    #[error("it contains '?' or '#', which end a path; encode them as %3F and %23")]
    NotOnlyPath,
    /// The path does not start with a slash.
    #[error("it does not start with '/'")]
    NotAbsolute,
    /// The path has `%00`. Many endpoints end the path there.
    #[error("it contains %00")]
    Nul,
    /// A `%` is not followed by two hex digits.
    #[error("a '%' is not followed by two hex digits")]
    PercentEncoding,
}

/// The meaning of a byte in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByteClass {
    /// A backslash. Endpoints read it as a slash or as itself.
    Backslash,
    Dot,
    /// Written as it is by some clients and encoded by others: `"<>[]^{|}` and a backtick.
    Encoded,
    Forbidden,
    Percent,
    /// A character that a path may hold as it is (`pchar`), the dot aside.
    Plain,
    Slash,
    Terminator,
}

/// The class of every byte (RFC 3986 §3.3).
const BYTE_CLASSES: [ByteClass; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "constant evaluation: an index out of bounds does not compile")]
const fn classes() -> [ByteClass; 256] {
    let mut table = [ByteClass::Forbidden; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'.' => ByteClass::Dot,
            b'%' => ByteClass::Percent,
            b'/' => ByteClass::Slash,
            b'?' | b'#' => ByteClass::Terminator,
            b'\\' => ByteClass::Backslash,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => ByteClass::Encoded,
            // Letters, digits, `-_~`, sub-delims, colon and at sign.
            _ => ByteClass::Plain,
        };
        byte += 1;
    }
    table
}

fn byte_class(byte: u8) -> ByteClass {
    // The table has an entry for every byte, so rustc removes the check and the default.
    BYTE_CLASSES.get(usize::from(byte)).copied().unwrap_or(ByteClass::Forbidden)
}

/// Returns the canonical form of a path without query: ASCII that starts with a slash. A canonical path is borrowed, after
/// one pass over its bytes.
///
/// # Errors
///
/// Returns a [`PathError`] if the path has no canonical form. The request should get a 400.
pub fn canonical(raw: &[u8]) -> Result<Cow<'_, str>, PathError> {
    if is_canonical(raw)
        && let Ok(path) = std::str::from_utf8(raw)
    {
        return Ok(Cow::Borrowed(path));
    }
    rewrite(raw).map(Cow::Owned)
}

/// Returns the canonical form of a rule's path. Spaces and characters beyond ASCII are percent-encoded first, because
/// browsers send them encoded.
///
/// # Errors
///
/// As [`canonical`]. `?` and `#` are errors, because no request path contains them.
pub fn rule_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.is_ascii() && !path.contains(' ') {
        return canonical(path.as_bytes());
    }
    let mut encoded = Vec::with_capacity(path.len() * 3);
    for byte in path.bytes() {
        if byte.is_ascii() && byte != b' ' {
            encoded.push(byte);
        } else {
            push_encoded(&mut encoded, byte);
        }
    }
    Ok(Cow::Owned(canonical(&encoded)?.into_owned()))
}

/// Returns the paths that an endpoint may read a canonical path as. Endpoints may decode `%2F` and `%5C`, and may treat a
/// backslash as a slash. Each reading is canonical. A path without any of the three has none.
pub fn alternative_readings(path: &str) -> impl Iterator<Item = String> {
    let is_plain = !path.bytes().any(|byte| matches!(byte, b'%' | b'\\'))
        || !["%2F", "%5C", "\\"].iter().any(|ambiguous| path.contains(ambiguous));
    let ways: &[_] = if is_plain { &[] } else { &SLASH_READINGS };
    ways.iter().filter_map(move |[slash, backslash, plain]| {
        let read = path.replace('\\', plain).replace("%2F", slash).replace("%5C", backslash);
        canonical(read.as_bytes()).ok().filter(|read| read != path).map(Cow::into_owned)
    })
}

/// Readings of `%2F`, `%5C` and a backslash, in this order.
const SLASH_READINGS: [[&str; 3]; 5] =
    [["/", "%5C", "\\"], ["/", "\\", "\\"], ["/", "/", "/"], ["%2F", "\\", "\\"], ["%2F", "/", "/"]];

/// Returns true if a path is canonical. Returns false for everything unusual, which [`rewrite`] handles.
fn is_canonical(raw: &[u8]) -> bool {
    let [b'/', rest @ ..] = raw else { return false };
    let mut rest = rest;
    let mut after_slash = true;
    while let [byte, tail @ ..] = rest {
        match byte_class(*byte) {
            ByteClass::Plain | ByteClass::Backslash => after_slash = false,
            ByteClass::Slash if after_slash => return false,
            ByteClass::Slash => after_slash = true,
            ByteClass::Dot => {
                if after_slash && is_dot_segment(rest) {
                    return false;
                }
                after_slash = false;
            }
            ByteClass::Percent => {
                let Some((decoded, after)) = decode_canonical_hex(tail) else { return false };
                if decoded == 0 || is_kept_decoded(decoded) {
                    return false;
                }
                rest = after;
                after_slash = false;
                continue;
            }
            ByteClass::Encoded | ByteClass::Forbidden | ByteClass::Terminator => return false,
        }
        rest = tail;
    }
    true
}

fn is_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// Decodes two upper-case hex digits. Returns their value and the rest.
fn decode_canonical_hex(tail: &[u8]) -> Option<(u8, &[u8])> {
    match tail {
        [b'0'..=b'9' | b'A'..=b'F', b'0'..=b'9' | b'A'..=b'F', ..] => decode_hex(tail),
        _ => None,
    }
}

/// Decodes two hex digits. Returns their value and the rest.
fn decode_hex(tail: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = tail else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some((digit(*high)? * 16 + digit(*low)?, after))
}

fn is_kept_decoded(byte: u8) -> bool {
    matches!(byte_class(byte), ByteClass::Plain | ByteClass::Dot)
}

/// Rewrites a path to canonical form, segment by segment. Empty segments are dropped before dot segments are resolved:
/// `/a//../b` becomes `/b`, as on an endpoint that merges slashes.
fn rewrite(raw: &[u8]) -> Result<String, PathError> {
    let [b'/', rest @ ..] = raw else { return Err(PathError::NotAbsolute) };
    let mut path = Vec::with_capacity(raw.len());
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let start = path.len();
        path.push(b'/');
        decode_segment(segment, &mut path)?;
        let is_last = segments.peek().is_none();
        match path.get(start..).unwrap_or_default() {
            // A path that ends in a dot segment keeps its final slash.
            b"/" | b"/." => path.truncate(if is_last { start + 1 } else { start }),
            b"/.." => {
                path.truncate(start);
                let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                path.truncate(parent);
                if is_last {
                    path.push(b'/');
                }
            }
            _ => {}
        }
    }
    // Only ASCII was pushed.
    String::from_utf8(path).map_err(|_| PathError::PercentEncoding)
}

fn decode_segment(segment: &[u8], path: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte_class(*byte) {
            ByteClass::Forbidden => return Err(PathError::ForbiddenByte(*byte)),
            ByteClass::Terminator => return Err(PathError::NotOnlyPath),
            ByteClass::Percent => {
                let (decoded, after) = decode_hex(tail).ok_or(PathError::PercentEncoding)?;
                rest = after;
                match decoded {
                    0 => return Err(PathError::Nul),
                    _ if is_kept_decoded(decoded) => path.push(decoded),
                    _ => push_encoded(path, decoded),
                }
            }
            ByteClass::Encoded => push_encoded(path, *byte),
            ByteClass::Backslash | ByteClass::Dot | ByteClass::Plain | ByteClass::Slash => path.push(*byte),
        }
    }
    Ok(())
}

fn push_encoded(path: &mut Vec<u8>, byte: u8) {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + (value - 10) };
    path.extend([b'%', digit(byte >> 4), digit(byte & 0x0f)]);
}
