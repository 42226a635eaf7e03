//! Names and values of HTTP fields that a policy may write.

/// Fields that frame a message, hold for one connection, or name its target.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Further fields that only the gateway writes into messages that it forwards. Most describe the hops before it.
const RESERVED: &[&str] = &["date", "forwarded", "gateway-reason", "x-real-ip", "x-request-id"];

/// All fields that begin with one of these describe earlier hops.
const RESERVED_PREFIXES: [&str; 2] = ["x-forwarded", "x-original-"];

/// Is the text a field name: a token (RFC 9110 §5.6.2)?
pub fn is_field_name(name: &str) -> bool {
    let is_token = |byte| {
        matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~'
        )
    };
    !name.is_empty() && name.bytes().all(is_token)
}

/// Is the text a field value: no control characters, no white space at its ends (RFC 9110 §5.5)?
pub fn is_field_value(value: &[u8]) -> bool {
    let is_visible = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    value.iter().all(is_visible) && value.trim_ascii().len() == value.len()
}

/// Is this a field that only the gateway writes into messages that it forwards?
pub fn is_reserved_field(name: &str) -> bool {
    let begins_with = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| is_folded(start, prefix));
    RESERVED_PREFIXES.iter().any(begins_with)
        || RESERVED.iter().any(|reserved| is_folded(name, reserved))
        || is_framing_field(name)
}

/// Is this a field that only the gateway writes into any message, also into a request that a plugin makes up?
pub fn is_framing_field(name: &str) -> bool {
    FRAMING.iter().any(|framing| is_folded(name, framing))
}

/// Is `name` the name `known`, which is in lower case? Many servers read an underscore as a hyphen (CGI, RFC 3875
/// §4.1.18).
fn is_folded(name: &str, known: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == known.len() && name.bytes().map(fold).eq(known.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_characters_of_tokens() {
        let marks = "!#$%&'*+-.^_`|~";
        for character in (0..=255).map(char::from) {
            let is_expected = character.is_ascii_alphanumeric() || marks.contains(character);
            assert_eq!(is_field_name(&format!("a{character}")), is_expected, "{character:?}");
        }
        assert!(!is_field_name(""));
    }

    #[test]
    fn reserved_fields_are_found_in_any_spelling() {
        for (name, is_reserved, is_framing) in [
            ("Host", true, true),
            ("X_Forwarded_For", true, false),
            ("x-forwarded-prefix", true, false),
            ("Transfer-Encoding", true, true),
            ("server", false, false),
            ("x-forward", false, false),
            ("X-Original-URL", true, false),
            ("gateway-reason", true, false),
            ("content_length", true, true),
            ("cookie", false, false),
        ] {
            assert_eq!(is_reserved_field(name), is_reserved, "{name}");
            assert_eq!(is_framing_field(name), is_framing, "{name}");
        }
    }
}
