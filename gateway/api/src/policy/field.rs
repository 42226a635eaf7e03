//! Names and values of HTTP fields that a policy may write.

/// Fields that only the gateway writes: they frame a message, hold for one connection, or describe the hops before
/// the gateway. `host` decides the route.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "gateway-reason",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
    "x-request-id",
];

/// All fields that begin with one of these describe earlier hops.
const RESERVED_PREFIXES: [&str; 2] = ["x-forwarded", "x-original-"];

/// Is the text a field name: a token (RFC 9110 §5.6.2)?
pub fn is_field_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Is the text a field value: no control characters, no white space at its ends (RFC 9110 §5.5)?
pub fn is_field_value(value: &[u8]) -> bool {
    let is_visible = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    value.iter().all(is_visible) && value.trim_ascii().len() == value.len()
}

/// Is this a field that only the gateway writes?
pub fn is_reserved_field(name: &str) -> bool {
    // Many servers read an underscore as a hyphen (CGI, RFC 3875 §4.1.18).
    let name = name.to_ascii_lowercase().replace('_', "-");
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || RESERVED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_fields_are_found_in_any_spelling() {
        for (name, expected) in [
            ("Host", true),
            ("X_Forwarded_For", true),
            ("x-forwarded-prefix", true),
            ("Transfer-Encoding", true),
            ("server", false),
            ("x-forward", false),
            ("X-Original-URL", true),
            ("gateway-reason", true),
            ("cookie", false),
        ] {
            assert_eq!(is_reserved_field(name), expected, "{name}");
        }
    }
}
