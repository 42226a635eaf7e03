//! Texts of configurations that are checked when they are read: what a message or a callout cannot have is refused at the
//! start, not at each request.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;

use crate::config::Config;
use crate::schema_text::SchemaText;

macro_rules! checked_texts {
    ($($(#[$docs:meta])* $name:ident: $check:ident, $schema:literal, $expected:literal;)*) => {$(
        $(#[$docs])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[serde(try_from = "String")]
        pub struct $name(Cow<'static, str>);

        impl $name {
            /// Creates the text from a literal, such as a default. It is not checked: the host refuses a malformed one.
            pub const fn from_static(text: &'static str) -> Self {
                Self(Cow::Borrowed(text))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Config for $name {
            const SCHEMA: &'static SchemaText = &SchemaText::literal($schema);
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if $check(&text) { Ok(Self(Cow::Owned(text))) } else { Err($expected) }
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl From<&$name> for String {
            fn from(text: &$name) -> Self {
                text.0.clone().into_owned()
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked_texts! {
    /// Name of a header field. Pseudo-header fields such as `:path` are none.
    ///
    /// ```
    /// use plugin_sdk::prelude::*;
    ///
    /// /// Configuration of the plugin.
    /// #[derive(Deserialize, Config)]
    /// struct Settings {
    ///     /// Field that the endpoint gets.
    ///     #[serde(default = "default_header")]
    ///     header: HeaderName,
    ///     /// Its value.
    ///     value: HeaderValue,
    /// }
    ///
    /// fn default_header() -> HeaderName {
    ///     HeaderName::from_static("x-user")
    /// }
    ///
    /// fn edit(settings: &Settings, request: &mut Request) -> Result<(), Error> {
    ///     Ok(request.set(&settings.header, &settings.value)?)
    /// }
    /// ```
    HeaderName: is_header_name,
        r#"{"type":"string","title":"the name of a header field","pattern":"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}"#,
        "expected the name of a header field, such as `x-user`";
    /// Value of a header field: no control characters, and no white space at its ends.
    HeaderValue: is_header_value,
        r#"{"type":"string","title":"a field value without control characters and without white space at its ends","pattern":"^([^\\x00-\\x20\\x7f]([^\\x00-\\x08\\x0a-\\x1f\\x7f]*[^\\x00-\\x20\\x7f])?)?$"}"#,
        "expected a value without control characters and without white space at its ends";
    /// Name of a header field or of a pseudo-header field of a request: `:method`, `:scheme`, `:authority` or `:path`.
    RequestField: is_request_field,
        r#"{"type":"string","title":"the name of a header field, or `:method`, `:scheme`, `:authority` or `:path`","pattern":"^(:(method|scheme|authority|path)|[!#$%&'*+.^_`|~0-9A-Za-z-]+)$"}"#,
        "expected the name of a header field, or `:method`, `:scheme`, `:authority` or `:path`";
    /// An upstream of callouts: one of the `allowedUpstreams` of the WasmPlugin, such as `shop/authz:8080`. The gateway refuses
    /// any other. In Envoy, it is the name of a cluster.
    Upstream: is_upstream,
        r#"{"type":"string","title":"an upstream such as `shop/authz:8080`","minLength":1,"format":"wasm-gateway-upstream"}"#,
        "expected an upstream, such as `shop/authz:8080`";
    /// Path and query of a callout.
    CalloutPath: is_path,
        r#"{"type":"string","title":"a path that begins with `/`","pattern":"^/[!\"$-~]*$"}"#,
        "expected a path that begins with `/`, without white space and `#`";
    /// Host of a callout, with a port if it has one.
    CalloutAuthority: is_authority,
        r#"{"type":"string","title":"a host such as `authz.example:8080`","pattern":"^[0-9A-Za-z._~!$&'()*+,;=:\\[\\]%-]+$"}"#,
        "expected a host, such as `authz.example:8080`";
}

fn is_header_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_header_value(text: &str) -> bool {
    text.trim_ascii().len() == text.len()
        && text.bytes().all(|byte| byte == b'\t' || byte >= b' ' && byte != 0x7f)
}

fn is_request_field(text: &str) -> bool {
    matches!(text, ":method" | ":scheme" | ":authority" | ":path") || is_header_name(text)
}

fn is_upstream(text: &str) -> bool {
    !text.is_empty()
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#')
}

fn is_authority(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte);
    !text.is_empty() && text.bytes().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_accepted_or_refused() {
        type IsValid = fn(&str) -> bool;
        let rows: [(IsValid, &[&str], &[&str]); 5] = [
            (is_header_name, &["x-user", "X_a.1"], &["", ":path", "x a", "x\n", "é", "a:b"]),
            (is_header_value, &["", "a", "a\tb c", "é"], &[" a", "a ", "a\n", "\u{7f}", "a\u{0}b"]),
            (is_request_field, &[":path", "x-user"], &[":status", ":", "", "x a"]),
            (is_path, &["/", "/a?b=c"], &["", "a", "/a b", "/a#b", "/é"]),
            (is_authority, &["a", "a.example:80", "[::1]:80"], &["", "a/b", "a b", "user@a"]),
        ];
        for (is_valid, valid, invalid) in rows {
            for (text, expected) in
                valid.iter().map(|text| (text, true)).chain(invalid.iter().map(|text| (text, false)))
            {
                assert_eq!(is_valid(text), expected, "{text:?}");
            }
        }
    }

    /// The mock host and the gateway have these rules from the crate `api`.
    #[cfg(feature = "test")]
    #[test]
    fn rules_are_those_of_the_gateway() {
        let samples = (0..=0x100).filter_map(char::from_u32).flat_map(|c| {
            [c.to_string(), format!("/{c}"), format!("a{c}"), format!("{c}a"), format!("a{c}a")]
        });
        for text in samples.chain([String::new()]) {
            let bytes = text.as_bytes();
            assert_eq!(is_header_name(&text), api::policy::is_field_name(&text), "{text:?}");
            assert_eq!(is_header_value(&text), api::policy::is_field_value(bytes), "{text:?}");
            assert_eq!(is_path(&text), api::message_edit::is_request_target(bytes), "{text:?}");
            assert_eq!(is_authority(&text), api::message_edit::is_request_authority(bytes), "{text:?}");
        }
    }
}
