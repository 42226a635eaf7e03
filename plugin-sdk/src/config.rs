//! Typed configurations: their JSON schema and how they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::json;
use crate::schema_text::SchemaText;

/// A type of a configuration. Derive it together with `Deserialize`; the schema follows the attributes of serde.
///
/// The module carries the schema in the custom section `wasm-gateway.config-schema`, where `gateway check` finds it.
/// Comments of types and fields are its descriptions.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// /// Configuration of the plugin.
/// #[derive(Deserialize, Config)]
/// #[serde(rename_all = "camelCase", deny_unknown_fields)]
/// struct Settings {
///     /// Name of the header.
///     header: String,
///     /// Values that pass.
///     #[serde(default)]
///     allowed_values: Vec<String>,
/// }
///
/// assert_eq!(
///     plugin_sdk::schema::<Settings>(),
///     concat!(
///         r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","#,
///         r#""description":"Configuration of the plugin.","type":"object","properties":{"#,
///         r#""header":{"description":"Name of the header.","type":"string"},"#,
///         r#""allowedValues":{"description":"Values that pass.","type":"array","items":{"type":"string"}}},"#,
///         r#""required":["header"],"additionalProperties":false}"#,
///     )
/// );
/// ```
pub trait Config {
    /// The description, escaped as in JSON. Empty: none.
    #[doc(hidden)]
    const DESCRIPTION: &'static str = "";

    /// The schema without its description.
    #[doc(hidden)]
    const SCHEMA: &'static SchemaText;

    /// The schema as a document.
    #[doc(hidden)]
    const DOCUMENT: &'static SchemaText = &SchemaText::document(Self::DESCRIPTION, Self::SCHEMA);
}

/// The configuration of a plugin that has none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Returns the JSON schema of a configuration.
pub fn schema<C: Config>() -> &'static str {
    C::DOCUMENT.as_str()
}

/// Reads a configuration. No text, and `null`, are an object without members.
pub(crate) fn parse<C: DeserializeOwned>(text: &[u8]) -> Result<C, Error> {
    let text = match text.trim_ascii() {
        b"" | b"null" => b"{}",
        _ => text,
    };
    json::from_slice(text).map_err(|error| {
        let path = error.path();
        let field = if path.is_empty() { path } else { [" field `", &path, "`"].concat() };
        Error::message(["configuration", &field, ": ", &error.to_string()].concat())
    })
}

macro_rules! literals {
    ($($type:ty => $schema:literal,)*) => {
        $(impl Config for $type {
            const SCHEMA: &'static SchemaText = &SchemaText::literal($schema);
        })*
    };
}

literals! {
    NoConfig => r#"{"type":"object","additionalProperties":false}"#,
    bool => r#"{"type":"boolean"}"#,
    char => r#"{"type":"string","minLength":1,"maxLength":1}"#,
    String => r#"{"type":"string"}"#,
    f32 => r#"{"type":"number"}"#,
    f64 => r#"{"type":"number"}"#,
    i8 => r#"{"type":"integer","minimum":-128,"maximum":127}"#,
    i16 => r#"{"type":"integer","minimum":-32768,"maximum":32767}"#,
    i32 => r#"{"type":"integer","minimum":-2147483648,"maximum":2147483647}"#,
    i64 => r#"{"type":"integer"}"#,
    u8 => r#"{"type":"integer","minimum":0,"maximum":255}"#,
    u16 => r#"{"type":"integer","minimum":0,"maximum":65535}"#,
    u32 => r#"{"type":"integer","minimum":0,"maximum":4294967295}"#,
    u64 => r#"{"type":"integer","minimum":0}"#,
    // As in the module, where it has 32 bits.
    usize => r#"{"type":"integer","minimum":0,"maximum":4294967295}"#,
    std::net::IpAddr => r#"{"type":"string"}"#,
}

macro_rules! wrappers {
    ($([$($generics:tt)*] $type:ty => $before:literal $inner:ty, $behind:literal;)*) => {
        $(impl<$($generics)*> Config for $type {
            const SCHEMA: &'static SchemaText =
                &SchemaText::wrapping($before, <$inner as Config>::SCHEMA, $behind);
        })*
    };
}

wrappers! {
    [C: Config] Vec<C> => r#"{"type":"array","items":"# C, "}";
    [C: Config] Option<C> => r#"{"anyOf":["# C, r#",{"type":"null"}]}"#;
    [C: Config] BTreeSet<C> => r#"{"type":"array","uniqueItems":true,"items":"# C, "}";
    [C: Config, H] HashSet<C, H> => r#"{"type":"array","uniqueItems":true,"items":"# C, "}";
    [C: Config] BTreeMap<String, C> => r#"{"type":"object","additionalProperties":"# C, "}";
    [C: Config, H] HashMap<String, C, H> => r#"{"type":"object","additionalProperties":"# C, "}";
}

macro_rules! transparent {
    ($($type:ty),*) => {
        $(impl<C: Config + ?Sized> Config for $type {
            const DESCRIPTION: &'static str = C::DESCRIPTION;
            const SCHEMA: &'static SchemaText = C::SCHEMA;
        })*
    };
}

transparent!(Box<C>, Rc<C>, Arc<C>);

impl<C: Config + Clone> Config for Cow<'_, C> {
    const DESCRIPTION: &'static str = C::DESCRIPTION;
    const SCHEMA: &'static SchemaText = C::SCHEMA;
}

impl Config for str {
    const SCHEMA: &'static SchemaText = String::SCHEMA;
}
