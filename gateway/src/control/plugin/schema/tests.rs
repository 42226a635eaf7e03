//! Configurations that fit a schema or not, and hostile schemas.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use serde_json::{Value, json};

use super::document::MAX_SCHEMA_BYTES;
use super::{CheckError, ConfigSchema, SchemaError};

fn schema(schema: &Value) -> Result<ConfigSchema, SchemaError> {
    ConfigSchema::parse(schema.to_string().as_bytes())
}

/// Returns `PATH: MESSAGE` of the mismatch, or "fits".
fn checked(schema: &ConfigSchema, config: &str) -> String {
    match schema.check(config) {
        Ok(()) => "fits".to_owned(),
        Err(CheckError::Mismatch(mismatch)) => format!("{}: {mismatch}", mismatch.path),
        Err(CheckError::TooComplex) => "too complex".to_owned(),
    }
}

/// A configuration as the SDK describes it.
fn settings() -> ConfigSchema {
    let rule = json!({"type": "object", "additionalProperties": false, "required": ["header"], "properties": {
        "header": {"type": "string", "pattern": "^[a-z-]+$"},
        "values": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": true},
    }});
    schema(&json!({
        "type": "object", "additionalProperties": false, "required": ["mode"],
        "properties": {
            "mode": {"enum": ["deny", "allow"], "description": "What happens.\nMore."},
            "limit": {"type": ["integer", "null"], "minimum": 1, "exclusiveMaximum": 10},
            "ratio": {"type": "number", "multipleOf": 0.5},
            "rules": {"type": "array", "items": {"$ref": "#/$defs/Rule"}},
            "names": {"type": "object", "propertyNames": {"maxLength": 3}, "additionalProperties": {"type": "string"}},
            "key": {"oneOf": [
                {"type": "string"},
                {"type": "object", "required": ["file"], "properties": {"file": {"type": "string"}}},
            ]},
        },
        "$defs": {"Rule": rule},
    }))
    .unwrap()
}

#[test]
fn mismatch_names_path_found_and_expected() {
    let schema = settings();
    for (config, expected) in [
        (r#"{"mode": "deny"}"#, "fits"),
        (r#"{"mode": "deny", "limit": null, "ratio": 1.5}"#, "fits"),
        (r#"{"mode": "deny", "limit": 2.0}"#, "fits"),
        (
            r#"{"mode": "allow", "rules": [{"header": "a", "values": ["x", "y"]}], "names": {"a": "b"}}"#,
            "fits",
        ),
        (r#"{"mode": "allow", "key": {"file": "f"}}"#, "fits"),
        ("", r#".mode: found nothing, expected one of "deny", "allow" (What happens)"#),
        ("[]", ": found a list, expected an object"),
        (
            r#"{"mode": "no"}"#,
            r#".mode: found a string that is not allowed, expected one of "deny", "allow" (What happens)"#,
        ),
        (r#"{"mode": "deny", "limit": "5"}"#, ".limit: found a string, expected an integer or null"),
        (r#"{"mode": "deny", "limit": 1.5}"#, ".limit: found a number, expected an integer or null"),
        (
            r#"{"mode": "deny", "limit": 0}"#,
            ".limit: found a number outside of the range, expected at least 1",
        ),
        (
            r#"{"mode": "deny", "limit": 10}"#,
            ".limit: found a number outside of the range, expected less than 10",
        ),
        (
            r#"{"mode": "deny", "ratio": 0.7}"#,
            ".ratio: found a number between two steps, expected a multiple of 0.5",
        ),
        (
            r#"{"mode": "deny", "rules": [{"header": "a"}, {"header": "A"}]}"#,
            ".rules[1].header: found a string that does not match, expected the pattern ^[a-z-]+$",
        ),
        (r#"{"mode": "deny", "rules": [{}]}"#, ".rules[0].header: found nothing, expected a string"),
        (
            r#"{"mode": "deny", "rules": [{"header": "a", "hedaer": "b"}]}"#,
            ".rules[0].hedaer: found an unknown field, expected one of header, values",
        ),
        (
            r#"{"mode": "deny", "rules": [{"header": "a", "values": ["x", "y", "z"]}]}"#,
            ".rules[0].values: found 3 items, expected at most 2",
        ),
        (
            r#"{"mode": "deny", "rules": [{"header": "a", "values": ["x", "x"]}]}"#,
            ".rules[0].values[1]: found an item for the second time, expected items that differ",
        ),
        (r#"{"mode": "deny", "names": {"a.b": 5}}"#, ".names[a.b]: found an integer, expected a string"),
        (r#"{"mode": "deny", "names": {"long": ""}}"#, ".names.long: found 4 characters, expected at most 3"),
        (r#"{"mode": "deny", "key": 5}"#, ".key: found an integer, expected a string or an object"),
        (r#"{"mode": "deny", "key": {"file": 5}}"#, ".key.file: found an integer, expected a string"),
    ] {
        assert_eq!(checked(&schema, config), expected, "{config}");
    }
}

#[test]
fn configuration_that_is_no_json_is_a_mismatch() {
    let text = checked(&settings(), "key=s3cret");
    assert!(text.starts_with(": found text that is no JSON (expected value at line 1"), "{text}");
    assert!(text.ends_with(", expected an object") && !text.contains("s3cret"), "{text}");
}

#[test]
fn combined_schemas_apply_to_the_same_value() {
    for (keywords, config, expected) in [
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
            "3",
            ": found a number outside of the range, expected at most 2",
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "3",
            ": found an integer, expected a string or null",
        ),
        (json!({"anyOf": [{"minimum": 1}, {"minimum": 2}]}), "3", "fits"),
        (
            json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}),
            "3",
            ": found an integer that fits 2 alternatives, expected a value that fits one",
        ),
        (json!({"not": {"const": 3}}), "3", ": found an integer that is excluded, expected another value"),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 2}}),
            r#""a""#,
            ": found 1 characters, expected at least 2",
        ),
        (json!({"if": {"type": "string"}, "else": false}), "1", ": found an integer, expected nothing"),
        (
            json!({"prefixItems": [{"const": 1}], "items": {"const": 2}}),
            "[1, 2, 3]",
            "[2]: found an integer that is not allowed, expected 2",
        ),
        (
            json!({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": false}),
            r#"{"x-a": 1}"#,
            ".x-a: found an integer, expected a string",
        ),
        (
            json!({"patternProperties": {"^x-": {}}, "additionalProperties": false}),
            r#"{"y": 1}"#,
            ".y: found an unknown field, expected nothing",
        ),
        (json!(true), "1", "fits"),
        (json!({"const": 1.0}), "1", "fits"),
    ] {
        assert_eq!(checked(&schema(&keywords).unwrap(), config), expected, "{keywords} {config}");
    }
}

#[test]
fn schema_that_leaves_itself_is_refused() {
    for reference in [
        "https://schemas.example/a.json",
        "file:///etc/passwd",
        "#/$defs/missing",
        "#anchor",
        "other.json#/a",
    ] {
        let error = schema(&json!({"properties": {"a": {"items": {"$ref": reference}}}})).unwrap_err();
        assert_eq!(error, SchemaError::Reference(reference.to_owned()));
    }
}

#[test]
fn hostile_schemas_are_refused_or_bounded() {
    let huge = format!("{{\"description\": \"{}\"}}", "a".repeat(MAX_SCHEMA_BYTES));
    assert!(matches!(ConfigSchema::parse(huge.as_bytes()), Err(SchemaError::TooLarge(_))));
    let deep = format!("{}1{}", r#"{"not":"#.repeat(5000), "}".repeat(5000));
    assert!(matches!(ConfigSchema::parse(deep.as_bytes()), Err(SchemaError::Malformed(_))));
    assert!(matches!(ConfigSchema::parse(b"\xff"), Err(SchemaError::Malformed(_))));
    for pattern in ["(a{1000}){1000}", "(?=a)", r"(a)\1", "["] {
        let error = schema(&json!({"pattern": pattern})).unwrap_err();
        assert!(
            matches!(&error, SchemaError::Pattern(named, reason) if named == pattern && !reason.is_empty()),
            "{error}"
        );
    }
    let many: Vec<_> = (0..65).map(|number| json!({"pattern": format!("^{number}$")})).collect();
    assert_eq!(schema(&json!({"anyOf": many})).unwrap_err(), SchemaError::TooManyPatterns);
}

#[test]
fn checks_that_do_not_end_are_stopped() {
    let doubled = |number: usize| {
        let next = json!({"$ref": format!("#/$defs/d{}", number + 1)});
        (format!("d{number}"), json!({"allOf": [next.clone(), next]}))
    };
    let mut definitions: serde_json::Map<_, _> = (0..60).map(doubled).collect();
    definitions.insert("d60".to_owned(), json!({}));
    for (name, schema_json, config) in [
        ("itself", json!({"$ref": "#"}), "1".to_owned()),
        ("doubled", json!({"$ref": "#/$defs/d0", "$defs": definitions}), "1".to_owned()),
        (
            "doubled by depth",
            json!({"additionalProperties": {"$ref": "#"}, "allOf": [{"additionalProperties": {"$ref": "#"}}]}),
            format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100)),
        ),
    ] {
        assert_eq!(checked(&schema(&schema_json).unwrap(), &config), "too complex", "{name}");
    }
    // Backtracking would take longer than the universe exists.
    let slow = schema(&json!({"pattern": "^(a|a)*$"})).unwrap();
    let text = checked(&slow, &format!("\"{}b\"", "a".repeat(100_000)));
    assert_eq!(text, ": found a string that does not match, expected the pattern ^(a|a)*$");
}

#[test]
fn keywords_without_a_check_are_named() {
    let schema =
        schema(&json!({"contains": {}, "properties": {"a": {"unevaluatedProperties": false}}})).unwrap();
    assert_eq!(schema.unchecked(), ["contains", "unevaluatedProperties"]);
    assert_eq!(settings().unchecked(), [""; 0]);
}

/// Keywords of schemas, and names of fields.
const KEYS: &[&str] = &[
    "$defs",
    "$ref",
    "a",
    "additionalProperties",
    "allOf",
    "anyOf",
    "b",
    "const",
    "else",
    "enum",
    "exclusiveMaximum",
    "if",
    "items",
    "maxItems",
    "maxLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "then",
    "type",
    "uniqueItems",
];

/// Returns any JSON of these keys: schemas that make sense, and others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec!["#", "#/$defs/a", "string", "object", "array", "integer", "a", "^a*$", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(select(KEYS), inner, 0..6).prop_map(|fields| {
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_ends_without_a_panic(schema_json in any_json(), config in any_json()) {
        if let Ok(schema) = schema(&schema_json) {
            let _ = schema.check(&config.to_string());
        }
    }
}
