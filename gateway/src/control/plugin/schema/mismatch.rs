//! Where a configuration does not fit its schema. Values do not occur: they may be secrets.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

/// Names that a message lists. The rest is counted.
const MAX_NAMES: usize = 12;

/// Why a configuration is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The configuration does not fit the schema.
    #[error(transparent)]
    Mismatch(ConfigMismatch),
    /// The schema refers to itself in a way that never ends, or needs too many steps.
    #[error("the schema of the module needs too many steps to check a configuration: make it simpler")]
    TooComplex,
}

/// A place where a configuration does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}, expected {expected}")]
pub struct ConfigMismatch {
    /// The path below the configuration, such as `.rules[0].header`. Empty for the configuration itself.
    pub path: String,
    /// Steps of the path.
    pub(super) depth: usize,
    /// What is there.
    pub found: String,
    /// What the schema says.
    pub expected: String,
}

impl ConfigMismatch {
    /// Creates a mismatch.
    pub(super) fn new(place: Place<'_>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { path: place.to_string(), depth: place.depth(), found: found.into(), expected: expected.into() }
    }
}

/// A place in a configuration.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// The configuration.
    Root,
    /// A field of an object.
    Field(&'a Place<'a>, &'a str),
    /// An item of a list.
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// Returns the number of steps from the configuration.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Field(parent, _) | Self::Item(parent, _) => parent.depth() + 1,
        }
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Field(parent, name) => {
                let name: String = name.chars().take(64).collect();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                match name.chars().all(is_plain) && !name.is_empty() {
                    true => write!(f, "{parent}.{name}"),
                    false => write!(f, "{parent}[{}]", name.escape_debug()),
                }
            }
        }
    }
}

/// Returns the kind of a value, with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns what a schema expects, in a few words, with its description.
pub(super) fn expectation(schema: &Value) -> String {
    let text = match (schema.get("const"), schema.get("enum"), schema.get("type")) {
        (Some(value), ..) => value.to_string(),
        (None, Some(Value::Array(values)), _) => listed(values.iter().map(ToString::to_string)),
        (None, _, Some(types)) => types_text(types),
        (None, _, None) => "another value".to_owned(),
    };
    let description = schema.get("description").and_then(Value::as_str);
    match description.and_then(|text| text.lines().next()) {
        Some(description) => {
            let short: String = description.chars().take(120).collect();
            format!("{text} ({})", short.trim_end_matches('.'))
        }
        None => text,
    }
}

fn types_text(types: &Value) -> String {
    let one = |name: &Value| match name.as_str().unwrap_or_default() {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        "null" => "null",
        _ => "another value",
    };
    match types {
        Value::Array(types) => types.iter().map(one).collect::<Vec<_>>().join(" or "),
        name => one(name).to_owned(),
    }
}

/// Lists names: `one of a, b`.
pub(super) fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    let shown: Vec<_> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
    match (names.len(), names.len().saturating_sub(MAX_NAMES)) {
        (0, _) => "nothing".to_owned(),
        (1, _) => shown.concat(),
        (_, 0) => format!("one of {}", shown.join(", ")),
        (_, more) => format!("one of {} and {more} more", shown.join(", ")),
    }
}
