//! Schemas of configurations, and how configurations are read.
#![expect(dead_code, reason = "fields are only described")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use plugin_sdk::NoConfig;
use plugin_sdk::prelude::*;
use plugin_sdk::schema;
use plugin_sdk::test::MockHost;
use serde_json::Value;
use serde_json::json;

fn document<C: Config>() -> Value {
    let mut document: Value = serde_json::from_str(schema::<C>()).unwrap();
    let dialect = document.as_object_mut().unwrap().remove("$schema");
    assert_eq!(dialect, Some(json!("https://json-schema.org/draft/2020-12/schema")));
    document
}

/// Configuration of the plugin:
/// "all kinds".
///
/// A second paragraph.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kinds {
    /// A text.
    required_text: String,
    optional: Option<u16>,
    #[serde(default)]
    with_default: bool,
    #[serde(rename = "a\"b", default = "one")]
    renamed: f64,
    #[serde(default, alias = "old")]
    aliased: i8,
    #[serde(skip)]
    skipped: u8,
    #[serde(default)]
    list: Vec<Nested>,
    #[serde(default)]
    set: BTreeSet<String>,
    #[serde(default)]
    map: BTreeMap<String, Box<Mode>>,
    /// A rule here.
    nested: Nested,
    key: Key,
    #[serde(deserialize_with = "any")]
    #[config(schema = r#"{"type":"string","format":"date"}"#)]
    /// A date.
    date: u8,
    r#type: char,
}

fn one() -> f64 {
    1.0
}

fn any<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    String::deserialize(deserializer).map(|_| 0)
}

/// A rule.
#[derive(Deserialize, Config)]
struct Nested {
    path: String,
}

/// A key.
#[derive(Deserialize, Config)]
struct Key(String);

#[derive(Deserialize, Config)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    FailClose,
    #[serde(rename = "open", alias = "OPEN")]
    FailOpen,
    #[serde(skip)]
    Internal,
}

#[test]
fn schema_of_all_kinds_of_fields_is_as_documented() {
    let nested = json!({
        "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"]
    });
    let with = |description: &str, schema: &Value| {
        let mut schema = schema.clone();
        schema["description"] = json!(description);
        schema
    };
    let expected = json!({
        "description": "Configuration of the plugin: \"all kinds\".\n\nA second paragraph.",
        "type": "object",
        "properties": {
            "requiredText": { "description": "A text.", "type": "string" },
            "optional": { "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 65535 }, { "type": "null" }] },
            "withDefault": { "type": "boolean" },
            "a\"b": { "type": "number" },
            "old": { "type": "integer", "minimum": -128, "maximum": 127 },
            "aliased": { "type": "integer", "minimum": -128, "maximum": 127 },
            "list": { "type": "array", "items": nested },
            "set": { "type": "array", "uniqueItems": true, "items": { "type": "string" } },
            "map": {
                "type": "object",
                "additionalProperties": { "type": "string", "enum": ["FAIL_CLOSE", "open", "OPEN"] }
            },
            "nested": with("A rule here.", &nested),
            "key": { "description": "A key.", "type": "string" },
            "date": { "description": "A date.", "type": "string", "format": "date" },
            "type": { "type": "string", "minLength": 1, "maxLength": 1 }
        },
        "required": ["requiredText", "nested", "key", "date", "type"],
        "additionalProperties": false
    });
    assert_eq!(document::<Kinds>(), expected);
}

#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum External {
    Off,
    /// At most so much.
    Limit(u8),
    Range {
        from_byte: u8,
        to_byte: Option<u8>,
    },
}

#[derive(Deserialize, Config)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum Internal {
    ClientIp,
    /// A field of the request.
    Header {
        name: String,
    },
}

#[derive(Deserialize, Config)]
#[serde(untagged)]
enum Untagged {
    Text(String),
    Texts(Vec<String>),
    None,
}

#[derive(Deserialize, Config)]
#[serde(default)]
struct Defaults {
    name: String,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { name: "a".to_owned() }
    }
}

#[derive(Config)]
#[serde(try_from = "String")]
struct Parsed(u8);

#[test]
fn schemas_of_enums_follow_their_tags() {
    let byte = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
    assert_eq!(
        document::<External>(),
        json!({ "oneOf": [
            { "type": "string", "enum": ["off"] },
            {
                "description": "At most so much.", "type": "object",
                "properties": { "limit": byte }, "required": ["limit"], "additionalProperties": false
            },
            {
                "type": "object",
                "properties": { "range": {
                    "type": "object",
                    "properties": { "fromByte": byte, "toByte": { "anyOf": [byte, { "type": "null" }] } },
                    "required": ["fromByte"]
                } },
                "required": ["range"], "additionalProperties": false
            }
        ] })
    );
    assert_eq!(
        document::<Internal>(),
        json!({ "oneOf": [
            {
                "type": "object", "properties": { "type": { "const": "client-ip" } }, "required": ["type"],
                "additionalProperties": false
            },
            {
                "description": "A field of the request.", "type": "object",
                "properties": { "type": { "const": "header" }, "name": { "type": "string" } },
                "required": ["type", "name"], "additionalProperties": false
            }
        ] })
    );
    assert_eq!(
        document::<Untagged>(),
        json!({ "anyOf": [
            { "type": "string" }, { "type": "array", "items": { "type": "string" } }, { "type": "null" }
        ] })
    );
}

#[test]
fn schemas_of_other_types_are_theirs() {
    assert_eq!(document::<NoConfig>(), json!({ "type": "object", "additionalProperties": false }));
    assert_eq!(document::<Parsed>(), json!({ "type": "string" }));
    assert_eq!(
        document::<Defaults>(),
        json!({ "type": "object", "properties": { "name": { "type": "string" } } })
    );
}

/// Has the configuration that a test needs.
struct Holder<C>(C);

struct Read;

#[plugin]
impl Plugin for Read {
    type Config = Kinds;

    fn new(settings: Kinds, context: &RootContext) -> Result<Self, Error> {
        let Holder(settings) = Holder(settings);
        log::info!("{} {}", settings.required_text, context.vm_configuration()?);
        if settings.with_default {
            return Err(Error::new("the default is false"));
        }
        Ok(Self)
    }
}

#[test]
fn configuration_is_read_or_refused_with_its_field() {
    let valid = json!({
        "requiredText": "a\"é", "nested": { "path": "/" }, "key": "k", "date": "2026-01-01", "type": "x", "old": -1,
        "map": { "a": "open" }, "a\"b": 1e3
    });
    let plugin = MockHost::new().vm_configuration("vm").start::<Read>(&valid.to_string()).unwrap();
    assert_eq!(plugin.log(), ["info: a\"é vm"]);
    for (pointer, value, expected) in [
        ("/nested/path", json!(1), "field `nested.path`: expected a string, found a number"),
        (
            "/map/a",
            json!("shut"),
            "field `map.a`: unknown variant `shut`, expected one of `FAIL_CLOSE`, `OPEN`, `open`",
        ),
        ("/key", json!([]), "field `key`: expected a string, found an array"),
        ("/type", json!("xy"), "field `type`: expected a character, found string `xy`"),
    ] {
        let mut config = valid.clone();
        *config.pointer_mut(pointer).unwrap() = value;
        let error = MockHost::new().start::<Read>(&config.to_string()).unwrap_err();
        assert_eq!(error.to_string(), format!("error: new: configuration {expected}"));
    }
    let mut config = valid;
    config["withDefault"] = json!(true);
    let error = MockHost::new().start::<Read>(&config.to_string()).unwrap_err();
    assert_eq!(error.to_string(), "info: a\"é \nerror: new: the default is false");
}
