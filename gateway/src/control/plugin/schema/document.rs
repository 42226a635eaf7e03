//! A schema, checked before it is used: its size, its references and its patterns.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Maximum bytes of a schema. The module is refused beyond. A plugin with 200 described fields has about 30 KiB.
pub(super) const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// Maximum patterns of a schema. Each is compiled once for each load of the module.
const MAX_PATTERNS: usize = 64;

/// Maximum bytes of a compiled pattern. Larger ones come from repetitions of repetitions.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// Keywords whose value is a schema.
const SCHEMA: &[&str] = &[
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords whose value is a list of schemas.
const SCHEMA_LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords whose value is an object of schemas.
const SCHEMA_MAP: &[&str] = &["$defs", "dependentSchemas", "patternProperties", "properties"];

/// Keywords that restrict a value and that [`super::check`] does not know.
const UNCHECKED: &[&str] = &[
    "$dynamicRef",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "maxContains",
    "minContains",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Larger than 64 KiB.
    #[error("the configuration schema of the module has {0} bytes, more than 64 KiB")]
    TooLarge(usize),
    /// Not JSON, or nested too deeply.
    #[error("the configuration schema of the module is no JSON: {0}")]
    Malformed(String),
    /// A reference that leaves the schema, or that leads nowhere.
    #[error(
        "the configuration schema of the module refers to {0:?}, which is not a part of it (#/$defs/NAME)"
    )]
    Reference(String),
    /// A pattern that cannot be matched in linear time, or one that is too large.
    #[error("the configuration schema of the module has the pattern {0:?}: {1}")]
    Pattern(String, String),
    /// More than 64 patterns.
    #[error("the configuration schema of the module has more than 64 patterns")]
    TooManyPatterns,
}

/// A schema whose references and patterns can be used.
#[derive(Clone, Debug)]
pub(super) struct Document {
    root: Value,
    patterns: HashMap<String, Regex>,
    unchecked: BTreeSet<&'static str>,
}

impl Document {
    /// Parses and checks a schema.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaError> {
        if bytes.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLarge(bytes.len()));
        }
        let root: Value =
            serde_json::from_slice(bytes).map_err(|error| SchemaError::Malformed(error.to_string()))?;
        let mut document = Self { root: Value::Null, patterns: HashMap::new(), unchecked: BTreeSet::new() };
        document.visit(&root, &root)?;
        Ok(Self { root, ..document })
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// Returns the schema that a reference leads to.
    pub(super) fn resolve(&self, reference: &str) -> Option<&Value> {
        resolve(&self.root, reference)
    }

    /// Returns the compiled form of a pattern of the schema.
    pub(super) fn pattern(&self, pattern: &str) -> Option<&Regex> {
        self.patterns.get(pattern)
    }

    pub(super) fn unchecked(&self) -> Vec<&'static str> {
        self.unchecked.iter().copied().collect()
    }

    /// Checks a part of the schema. JSON is at most 128 levels deep, so the recursion is bounded.
    fn visit(&mut self, root: &Value, schema: &Value) -> Result<(), SchemaError> {
        let Value::Object(keywords) = schema else { return Ok(()) };
        for (keyword, value) in keywords {
            let keyword = keyword.as_str();
            self.unchecked.extend(UNCHECKED.iter().filter(|known| **known == keyword));
            match (keyword, value) {
                ("$ref", Value::String(reference)) => {
                    resolve(root, reference).ok_or_else(|| SchemaError::Reference(reference.clone()))?;
                }
                ("pattern", Value::String(pattern)) => self.add_pattern(pattern)?,
                (_, Value::Array(schemas)) if SCHEMA_LIST.contains(&keyword) => {
                    schemas.iter().try_for_each(|schema| self.visit(root, schema))?;
                }
                (_, Value::Object(schemas)) if SCHEMA_MAP.contains(&keyword) => {
                    if keyword == "patternProperties" {
                        schemas.keys().try_for_each(|pattern| self.add_pattern(pattern))?;
                    }
                    schemas.values().try_for_each(|schema| self.visit(root, schema))?;
                }
                _ if SCHEMA.contains(&keyword) => self.visit(root, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_pattern(&mut self, pattern: &str) -> Result<(), SchemaError> {
        if self.patterns.contains_key(pattern) {
            return Ok(());
        }
        if self.patterns.len() == MAX_PATTERNS {
            return Err(SchemaError::TooManyPatterns);
        }
        let regex = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build().map_err(|error| {
            // The message draws an arrow below the pattern, over several lines.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            SchemaError::Pattern(pattern.chars().take(64).collect(), reason.to_owned())
        })?;
        self.patterns.insert(pattern.to_owned(), regex);
        Ok(())
    }
}

/// Follows a reference inside a schema. Anchors and other documents are not followed.
fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}
