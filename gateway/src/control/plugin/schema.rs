//! The JSON Schema of a plugin's configuration, which its module contains, and the check of configurations by it.
//!
//! The module is not trusted, so its schema is not either: size, patterns and the steps of a check are bounded, and no
//! reference leaves the schema. Draft 2020-12; the keywords that are not checked are named by
//! [`ConfigSchema::unchecked`]. The plugin itself still decides about its configuration.

use serde_json::Value;

mod check;
mod document;
mod mismatch;

use check::Checker;
use document::Document;
pub use document::SchemaError;
pub use mismatch::{CheckError, ConfigMismatch};

/// The schema of a plugin's configuration.
#[derive(Clone, Debug)]
pub struct ConfigSchema(Document);

impl ConfigSchema {
    /// Parses the content of the custom section.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SchemaError> {
        Document::parse(bytes).map(Self)
    }

    /// Checks the configuration that the guest receives. An empty one is an object without fields.
    ///
    /// # Errors
    /// [`CheckError`].
    pub fn check(&self, config: &str) -> Result<(), CheckError> {
        let value = match config.trim_ascii() {
            "" => Ok(Value::Object(serde_json::Map::new())),
            text => serde_json::from_str(text),
        };
        let value: Value = value.map_err(|error| {
            let expected = mismatch::expectation(self.0.root());
            CheckError::Mismatch(ConfigMismatch::new(
                mismatch::Place::Root,
                format!("text that is no JSON ({error})"),
                expected,
            ))
        })?;
        Checker::new(&self.0).check(&value)
    }

    /// Returns the schema as JSON.
    pub fn json(&self) -> &Value {
        self.0.root()
    }

    /// Returns the keywords of the schema that restrict a configuration and that the gateway does not check.
    pub fn unchecked(&self) -> Vec<&'static str> {
        self.0.unchecked()
    }
}

#[cfg(test)]
mod tests;
