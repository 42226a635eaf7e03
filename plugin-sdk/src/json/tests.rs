//! Values and errors, beside those of `serde_json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::JsonError;
use super::from_slice;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outer {
    name: String,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    limits: BTreeMap<String, u8>,
    #[serde(default)]
    share: Option<f64>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    pair: Option<(i8, char)>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Rule {
    path: String,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Mode {
    #[default]
    Off,
    Limit(u16),
    Range {
        from: i64,
        to: i64,
    },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Source {
    Header { name: String },
    Cookie { name: String, path: Option<String> },
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    from_slice(text.as_bytes())
}

fn error<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> (String, String) {
    let error = read::<T>(text).unwrap_err();
    (error.path(), error.to_string())
}

#[test]
fn values_are_those_of_serde_json() {
    for text in [
        r#"{"name":"a"}"#,
        r#" { "name" : "a\"\\\/\b\f\n\r\té😀 é" , "rules" : [ ] } "#,
        r#"{"name":"a","rules":[{"path":"/","tags":["x","y"]},{"tags":[],"path":""}]}"#,
        r#"{"limits":{"b":255,"a\nb":0},"name":""}"#,
        r#"{"name":"a","share":1.5e-3}"#,
        r#"{"name":"a","share":2}"#,
        r#"{"name":"a","share":null}"#,
        r#"{"name":"a","mode":"off"}"#,
        r#"{"name":"a","mode":{"limit":7}}"#,
        r#"{"name":"a","mode":{"range":{"from":-9223372036854775808,"to":9223372036854775807}}}"#,
        r#"{"name":"a","mode":{"off":null}}"#,
        r#"{"name":"a","pair":[-128,"é"]}"#,
    ] {
        assert_eq!(read::<Outer>(text).unwrap(), serde_json::from_str(text).unwrap(), "{text}");
    }
    for text in [r#"{"type":"header","name":"a"}"#, r#"{"name":"a","path":"/","type":"cookie"}"#] {
        assert_eq!(read::<Source>(text).unwrap(), serde_json::from_str(text).unwrap(), "{text}");
    }
}

#[test]
fn any_value_can_be_read() {
    for text in
        ["null", "true", "false", "0", "-1", "18446744073709551615", "0.5", "\"\"", "[[],{}]", "{\"a\":[1]}"]
    {
        assert_eq!(read::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
    }
}

#[test]
fn malformed_texts_are_refused_as_by_serde_json() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "{\"a\":1 \"b\":2}",
        "nul",
        "nullx",
        "tru",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "1 2",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\n\"",
        "'a'",
        "é",
        "]",
        "}",
        ":",
        "[1}",
        "{\"a\":1]",
        "\u{feff}1",
        "NaN",
        "1e400x",
    ] {
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text:?} is JSON");
        assert!(read::<Value>(text).is_err(), "{text:?}");
    }
    assert!(from_slice::<Value>(b"\"\xff\"").is_err());
}

/// Texts with one byte removed, doubled or replaced.
fn mutations(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut mutations = Vec::new();
    for at in 0..bytes.len() {
        let (before, after) = (&bytes[..at], &bytes[at + 1..]);
        for part in [&b""[..], &[bytes[at], bytes[at]]] {
            mutations.push([before, part, after].concat());
        }
        for byte in *b"\"\\{}[]:,0.-+eEu \n\x1fnt/" {
            mutations.push([before, &[byte], after].concat());
        }
    }
    mutations
}

/// Compares values. `serde_json` rounds numbers with a fraction twice.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= one.abs() * 1e-12
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in = |(key, value)| other.get(key).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(is_in)
        }
        _ => one == other,
    }
}

#[test]
fn mutated_texts_are_read_or_refused_as_by_serde_json() {
    let texts = [
        r#"{"a":[1,-2.5e+3,true,false,null],"b\n\u00e9":{"c":"\ud83d\ude00"}}"#,
        r#" [ 10 , 0.25 , "x\\\"" , { } , [ ] ] "#,
        "-0.0",
        "18446744073709551616",
        "1e308",
        "[[\"a\",{\"b\":[0]}],1]",
    ];
    let mut count = 0;
    for text in texts.into_iter().flat_map(mutations) {
        let expected = serde_json::from_slice::<Value>(&text).ok();
        let found = from_slice::<Value>(&text).ok();
        let is_same = match (&found, &expected) {
            (Some(found), Some(expected)) => is_same(found, expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(is_same, "{}: {found:?}, not {expected:?}", String::from_utf8_lossy(&text));
        count += 1;
    }
    assert!(count > 2000, "{count} texts");
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read::<Value>(&nested(64)).is_ok());
    for depth in [65, 100_000] {
        let (_, message) = error::<Value>(&nested(depth));
        assert_eq!(message, "arrays and objects are nested too deeply");
    }
}

struct Row {
    text: &'static str,
    path: &'static str,
    message: &'static str,
}

#[test]
fn errors_name_the_member() {
    for (text, path, message) in [
        ("{}", "", "missing field `name`"),
        ("[]", "", "expected struct Outer, found an array"),
        (r#"{"name":5}"#, "name", "expected a string, found a number"),
        (r#"{"name":{"a":1}}"#, "name", "expected a string, found an object"),
        (r#"{"name":null}"#, "name", "expected a string, found null"),
        (r#"{"name":"a","name":"b"}"#, "", "duplicate field `name`"),
        (r#"{"name":"a","rules":[{"tags":[]}]}"#, "rules[0]", "missing field `path`"),
        (r#"{"name":"a","limits":{"c.d":300}}"#, "limits.c.d", "expected u8, found number `300`"),
        (r#"{"name":"a","limits":{"c":-1}}"#, "limits.c", "expected u8, found number `-1`"),
        (r#"{"name":"a","limits":{"c":1.5}}"#, "limits.c", "expected u8, found number `1.5`"),
        (r#"{"name":"a","share":"1"}"#, "share", "expected f64, found a string"),
        (r#"{"name":"a","mode":{"limit":[]}}"#, "mode.limit", "expected u16, found an array"),
        (r#"{"name":"a","pair":[1,"b",2]}"#, "pair", "the array has too many items"),
        (r#"{"name":"a"} x"#, "", "`x` is not JSON"),
    ] {
        assert_eq!(error::<Outer>(text), (path.to_owned(), message.to_owned()), "{text}");
    }
}

#[test]
fn errors_of_nested_members_name_their_path() {
    for Row { text, path, message } in [
        Row {
            text: r#"{"name":"a","nmae":1}"#,
            path: "nmae",
            message: "unknown field `nmae`, expected one of `name`, `rules`, `limits`, `share`, `mode`, `pair`",
        },
        Row {
            text: r#"{"name":"a","rules":[{"path":"/"},{"path":true}]}"#,
            path: "rules[1].path",
            message: "expected a string, found a boolean",
        },
        Row {
            text: r#"{"name":"a","rules":[{"path":"","tags":["x",[]]}]}"#,
            path: "rules[0].tags[1]",
            message: "expected a string, found an array",
        },
        Row {
            text: r#"{"name":"a","mode":"on"}"#,
            path: "mode",
            message: "unknown variant `on`, expected one of `off`, `limit`, `range`",
        },
        Row {
            text: r#"{"name":"a","mode":"limit"}"#,
            path: "mode",
            message: "expected an object with a value, found a string",
        },
        Row {
            text: r#"{"name":"a","mode":{}}"#,
            path: "mode",
            message: "expected the name of a variant, found an empty object",
        },
    ] {
        assert_eq!(error::<Outer>(text), (path.to_owned(), message.to_owned()), "{text}");
    }
}
