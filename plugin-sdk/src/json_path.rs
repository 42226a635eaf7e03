//! Finds the member of a JSON text that an error is about.

/// A value that is not closed yet.
enum Open {
    /// An object: the key that is being read or whose value is.
    Object(Option<String>),
    /// An array: the index of the item.
    Array(usize),
}

/// Returns the path of the value at a position, such as `rules[1].path`. The position is that of `serde_json`: the line, and the
/// bytes of it that are read. Empty: the whole text.
pub(crate) fn locate(text: &[u8], line: usize, column: usize) -> String {
    let before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len);
    let end = before.sum::<usize>().saturating_add(column).min(text.len());
    let mut bytes = text.get(..end).unwrap_or_default().iter().copied();
    let mut open = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' => open.push(Open::Object(None)),
            b'[' => open.push(Open::Array(0)),
            b'}' | b']' => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Object(key)) => *key = None,
                Some(Open::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let string = read_string(&mut bytes);
                if let Some(Open::Object(key @ None)) = open.last_mut() {
                    *key = Some(string);
                }
            }
            _ => {}
        }
    }
    let mut path = String::new();
    for value in open {
        match value {
            Open::Object(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
            Open::Object(None) => {}
            Open::Array(index) => path.extend(["[", &index.to_string(), "]"]),
        }
    }
    path
}

/// Reads a string behind its opening quote. Escapes stay as they are.
fn read_string(bytes: &mut impl Iterator<Item = u8>) -> String {
    let mut string = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => {
                string.push(byte);
                string.extend(bytes.next());
            }
            _ => string.push(byte),
        }
    }
    String::from_utf8_lossy(&string).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        name: String,
        #[serde(default)]
        rules: Vec<Rule>,
        #[serde(default)]
        limits: BTreeMap<String, u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Rule {
        path: String,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[test]
    fn path_of_an_error_names_the_member() {
        for (text, expected) in [
            (r#"{"name": 5}"#, "name"),
            (r#"{"name": {"a": 1}}"#, "name"),
            (r#"{"name": [], "rules": []}"#, "name"),
            (r#"{}"#, ""),
            (r#"[]"#, ""),
            (r#"{"name": "a", "nmae": 1}"#, "nmae"),
            (r#"{"name": "a", "rules": [{"path": "/"}, {"path": null}]}"#, "rules[1].path"),
            (r#"{"name": "a", "rules": [{"path": "/"}, {"tags": []}]}"#, "rules[1]"),
            (r#"{"name": "a,{[", "rules": [{"path": "/", "tags": ["x", "y", 3]}]}"#, "rules[0].tags[2]"),
            (r#"{"name": "a", "rules": [{"path": "/", "x": 1}]}"#, "rules[0].x"),
            (r#"{"name": "\"", "limits": {"a\"b": 1, "c": 300}}"#, "limits.c"),
            (r#"{"name": "a", "limits": {"a\"b": 300}}"#, r#"limits.a\"b"#),
            ("{\n  \"name\": \"a\",\n  \"rules\": [\n    {\"path\":\n 7}]}", "rules[0].path"),
            (r#"{"name": "a", "rules": 1}"#, "rules"),
            (r#"{"name": "a", "rules": [1]}"#, "rules[0]"),
        ] {
            let error = serde_json::from_str::<Outer>(text).unwrap_err();
            assert_eq!(locate(text.as_bytes(), error.line(), error.column()), expected, "{text}: {error}");
        }
    }

    #[test]
    fn positions_outside_of_the_text_are_its_end() {
        assert_eq!(locate(b"{\"a\":", 1, 99), "a");
        assert_eq!(locate(b"{\"a\":", 9, 1), "a");
        assert_eq!(locate(b"", 0, 0), "");
    }
}
