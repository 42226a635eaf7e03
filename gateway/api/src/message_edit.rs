//! What a plugin may write into a message, beside its fields: parts of the first line, and how much in all.
//!
//! The gateway and the mock host of `plugin-sdk` share these rules, so that a test sees what the gateway does.

use crate::policy::is_field_name;

/// Maximum bytes of all edits of one map of fields. Further edits fail. A plugin that loops would otherwise fill the memory
/// of the gateway.
pub const MAX_EDIT_BYTES: usize = 64 * 1024;

/// Bytes that an edit counts beside its name and value.
pub const EDIT_OVERHEAD_BYTES: usize = 64;

/// Is it a request target in origin form: path and query, ASCII without white space and `#` (RFC 9112 §3.2.1)?
pub fn is_request_target(target: &[u8]) -> bool {
    let is_valid = |byte: &u8| matches!(byte, 0x21..=0x7e) && *byte != b'#';
    target.first() == Some(&b'/') && target.iter().all(is_valid)
}

/// Is it a method that a plugin may set: a token (RFC 9110 §9.1) other than HEAD and CONNECT, which frame responses
/// differently?
pub fn is_request_method(method: &[u8]) -> bool {
    let is_token = str::from_utf8(method).is_ok_and(is_field_name);
    is_token && !matches!(method, b"HEAD" | b"CONNECT")
}

/// Is it a host with an optional port, without user information (RFC 3986 §3.2)?
pub fn is_request_authority(authority: &[u8]) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
    !authority.is_empty() && authority.iter().all(is_valid)
}

/// May a plugin replace a status by another one? Statuses without a body stay what they are, since the body follows.
pub fn can_replace_status(original: u16, status: u16) -> bool {
    let has_body = |status: u16| matches!(status, 200..=599) && !matches!(status, 204 | 304);
    status == original || has_body(status) && has_body(original)
}

/// Returns the status of a reply for which a plugin names `status`: 500 unless it is 200 to 599.
pub fn reply_status(status: u32) -> u16 {
    u16::try_from(status).ok().filter(|status| (200..=599).contains(status)).unwrap_or(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_without_white_space() {
        for (target, is_valid) in [
            ("/", true),
            ("/a?b=c&d=%20", true),
            ("", false),
            ("a", false),
            ("*", false),
            ("/a b", false),
            ("/a#b", false),
            ("/a\r\nx: y", false),
            ("/é", false),
        ] {
            assert_eq!(is_request_target(target.as_bytes()), is_valid, "{target:?}");
        }
    }

    #[test]
    fn methods_are_tokens_that_do_not_frame() {
        for (method, is_valid) in
            [("GET", true), ("PURGE", true), ("", false), ("G T", false), ("HEAD", false), ("CONNECT", false)]
        {
            assert_eq!(is_request_method(method.as_bytes()), is_valid, "{method:?}");
        }
    }

    #[test]
    fn authorities_have_no_user_and_no_path() {
        for (authority, is_valid) in [
            ("shop.example", true),
            ("shop.example:8080", true),
            ("[::1]:80", true),
            ("", false),
            ("user@host", false),
            ("host/path", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_request_authority(authority.as_bytes()), is_valid, "{authority:?}");
        }
    }

    #[test]
    fn statuses_keep_whether_there_is_a_body() {
        for (original, status, expected) in [
            (200, 404, true),
            (204, 204, true),
            (200, 204, false),
            (304, 200, false),
            (200, 999, false),
            (200, 101, false),
        ] {
            assert_eq!(can_replace_status(original, status), expected, "{original} {status}");
        }
        for (status, expected) in [(200, 200), (599, 599), (42, 500), (600, 500), (u32::MAX, 500)] {
            assert_eq!(reply_status(status), expected);
        }
    }
}
