//! Errors with the path of the member that they are about.

use std::fmt;

use serde::de::Expected;
use serde::de::Unexpected;

/// Why a text is not the value that is expected.
#[derive(Debug)]
pub(crate) struct JsonError {
    message: String,
    /// The segments of the path, the innermost first: `.key` or `[index]`.
    path: Vec<String>,
}

impl JsonError {
    pub(super) fn message(message: String) -> Self {
        Self { message, path: Vec::new() }
    }

    pub(super) fn unexpected(found: &str, expected: &dyn Expected) -> Self {
        Self::message(["expected ", &expected.to_string(), ", found ", found].concat())
    }

    /// Adds the key of the object that the error is in.
    pub(super) fn within_key(mut self, key: &str) -> Self {
        self.path.push([".", key].concat());
        self
    }

    /// Adds the index of the array that the error is in.
    pub(super) fn within_item(mut self, index: usize) -> Self {
        self.path.push(["[", &index.to_string(), "]"].concat());
        self
    }

    /// Returns the path of the member, such as `rules[1].path`. Empty: the whole text.
    pub(crate) fn path(&self) -> String {
        let path: String = self.path.iter().rev().map(String::as_str).collect();
        path.strip_prefix('.').map(str::to_owned).unwrap_or(path)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

impl serde::de::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::message(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unexpected(&describe(found), expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unexpected(&describe(found), expected)
    }
}

/// Describes a value. The description of serde would print numbers with a fraction, which costs 20 KiB.
fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(true) => "`true`".to_owned(),
        Unexpected::Bool(false) => "`false`".to_owned(),
        Unexpected::Unsigned(value) => ["number `", &value.to_string(), "`"].concat(),
        Unexpected::Signed(value) => ["number `", &value.to_string(), "`"].concat(),
        Unexpected::Float(_) => "a number with a fraction".to_owned(),
        Unexpected::Char(value) => ["string `", value.encode_utf8(&mut [0; 4]), "`"].concat(),
        Unexpected::Str(value) => ["string `", value, "`"].concat(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Other(what) => what.to_owned(),
        _ => "another value".to_owned(),
    }
}
