//! Parts of a first line that a filter may write.

use bytes::Bytes;

/// A request target in origin form: path and query, ASCII without white space and `#` (RFC 9112 §3.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget(Bytes);

/// A method that a filter may set: a token (RFC 9110 §9.1) other than HEAD and CONNECT, which frame responses
/// differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMethod(Bytes);

/// A host with an optional port, without user information (RFC 3986 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAuthority(Bytes);

impl RequestTarget {
    /// Parses a target. Returns `None` if it is malformed.
    pub fn parse(target: &[u8]) -> Option<Self> {
        let is_valid = |byte: &u8| matches!(byte, 0x21..=0x7e) && *byte != b'#';
        let is_target = target.first() == Some(&b'/') && target.iter().all(is_valid);
        is_target.then(|| Self(Bytes::copy_from_slice(target)))
    }

    /// Returns the target.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl RequestMethod {
    /// Parses a method. Returns `None` if a filter may not set it.
    pub fn parse(method: &[u8]) -> Option<Self> {
        let is_token = str::from_utf8(method).is_ok_and(api::policy::is_field_name);
        let is_framing = matches!(method, b"HEAD" | b"CONNECT");
        (is_token && !is_framing).then(|| Self(Bytes::copy_from_slice(method)))
    }

    /// Returns the method.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl RequestAuthority {
    /// Parses an authority. Returns `None` if it is malformed.
    pub fn parse(authority: &[u8]) -> Option<Self> {
        let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
        let is_authority = !authority.is_empty() && authority.iter().all(is_valid);
        is_authority.then(|| Self(Bytes::copy_from_slice(authority)))
    }

    /// Returns the authority.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
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
            assert_eq!(RequestTarget::parse(target.as_bytes()).is_some(), is_valid, "{target:?}");
        }
    }

    #[test]
    fn methods_are_tokens_that_do_not_frame() {
        for (method, is_valid) in
            [("GET", true), ("PURGE", true), ("", false), ("G T", false), ("HEAD", false), ("CONNECT", false)]
        {
            assert_eq!(RequestMethod::parse(method.as_bytes()).is_some(), is_valid, "{method:?}");
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
            assert_eq!(RequestAuthority::parse(authority.as_bytes()).is_some(), is_valid, "{authority:?}");
        }
    }
}
