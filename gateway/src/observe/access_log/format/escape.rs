//! Truncates untrusted text, and escapes it for JSON or for text templates.
//!
//! In text, bytes other than printable ASCII become `\xNN`, and quotes and backslashes get a backslash, so that a quoted
//! value can be parsed. In JSON, control characters that terminals or line readers interpret are escaped, and invalid
//! UTF-8 becomes U+FFFD.

/// Maximum bytes of one value. A longer value is truncated and ends in `...`.
pub(super) const MAX_VALUE_BYTES: usize = 1024;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The format to escape for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    Json,
    Text,
}

impl Escape {
    /// Writes a value, truncated and escaped.
    pub(super) fn write(self, out: &mut Vec<u8>, value: &[u8]) {
        let kept = value.get(..MAX_VALUE_BYTES).unwrap_or(value);
        // Nearly every value needs no escape. Without an early exit the compiler checks many bytes at a time.
        if kept.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
            out.extend_from_slice(kept);
        } else {
            match self {
                Self::Json => json(out, kept),
                Self::Text => text(out, kept),
            }
        }
        if kept.len() < value.len() {
            out.extend_from_slice(b"...");
        }
    }
}

/// Returns true if neither format escapes the byte.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        match byte {
            byte if is_plain(*byte) => out.push(*byte),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            byte => {
                out.extend_from_slice(b"\\x");
                digits(out, u16::from(*byte), 2);
            }
        }
    }
}

fn json(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if must_escape(c) => {
                    out.extend_from_slice(b"\\u");
                    digits(out, c as u16, 4);
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Returns true for control characters (including C1, which terminals interpret), Unicode line ends and bidirectional
/// controls. All are below U+10000.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn digits(out: &mut Vec<u8>, number: u16, count: u32) {
    let digit = |place: u32| HEX.get(usize::from(number >> (4 * place) & 15)).copied().unwrap_or(b'0');
    out.extend((0..count).rev().map(digit));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: Escape, value: &[u8]) -> String {
        let mut out = Vec::new();
        escape.write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn control_characters_quotes_and_bidi_marks_are_escaped() {
        for (value, json, text) in [
            (&b"/plain~path"[..], "/plain~path", "/plain~path"),
            (b"a\"b\\c", "a\\\"b\\\\c", "a\\\"b\\\\c"),
            (
                b"a\r\nb\0c\x1b[2J\x7f",
                "a\\u000d\\u000ab\\u0000c\\u001b[2J\\u007f",
                "a\\x0d\\x0ab\\x00c\\x1b[2J\\x7f",
            ),
            (b"\t", "\\t", "\\x09"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n", "gr\\xc3\\xbcn"),
            ("\u{9b}31m".as_bytes(), "\\u009b31m", "\\xc2\\x9b31m"),
            ("a\u{2028}b".as_bytes(), "a\\u2028b", "a\\xe2\\x80\\xa8b"),
            ("a\u{202e}b".as_bytes(), "a\\u202eb", "a\\xe2\\x80\\xaeb"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}", "\\xff\\xfe"),
            ("\u{1f600}".as_bytes(), "\u{1f600}", "\\xf0\\x9f\\x98\\x80"),
            (b"", "", ""),
        ] {
            assert_eq!(escaped(Escape::Json, value), json, "{value:?}");
            assert_eq!(escaped(Escape::Text, value), text, "{value:?}");
        }
    }

    #[test]
    fn every_byte_yields_valid_json_and_printable_text() {
        for byte in 0..=u8::MAX {
            let value = [b'a', byte, b'z'];
            let json: String =
                serde_json::from_str(&format!("\"{}\"", escaped(Escape::Json, &value))).unwrap();
            assert_eq!(json, String::from_utf8_lossy(&value), "{byte}");
            assert!(
                escaped(Escape::Text, &value).bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{byte}"
            );
        }
    }

    #[test]
    fn long_value_is_truncated_before_escaping() {
        let quotes = vec![b'"'; MAX_VALUE_BYTES];
        assert_eq!(escaped(Escape::Json, &quotes), "\\\"".repeat(MAX_VALUE_BYTES));
        assert_eq!(
            escaped(Escape::Json, &[b'"'; MAX_VALUE_BYTES + 1]),
            "\\\"".repeat(MAX_VALUE_BYTES) + "..."
        );
        assert_eq!(escaped(Escape::Text, &[b'x'; 5000]), "x".repeat(MAX_VALUE_BYTES) + "...");
        // A truncated character becomes U+FFFD.
        let long = "x".repeat(MAX_VALUE_BYTES - 1) + "\u{fc}";
        assert_eq!(escaped(Escape::Json, long.as_bytes()), "x".repeat(MAX_VALUE_BYTES - 1) + "\u{fffd}...");
    }
}
