//! The check of one value by one schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::Document;
use super::mismatch::{CheckError, ConfigMismatch, Place, expectation, kind, listed};

/// Maximum steps of a check: visits of a schema by a value, and bytes that are compared. A second of processor time is
/// about 20 million.
const MAX_STEPS: u64 = 1_000_000;

/// Maximum schemas inside each other, so that a schema that refers to itself ends.
const MAX_DEPTH: u32 = 300;

/// Bytes of a string that are compared in one step.
const BYTES_PER_STEP: usize = 64;

type Checked = Result<(), CheckError>;

/// A check that has begun.
pub(super) struct Checker<'a> {
    document: &'a Document,
    steps: u64,
    depth: u32,
}

impl<'a> Checker<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, steps: 0, depth: 0 }
    }

    /// Checks a configuration.
    ///
    /// # Errors
    /// The first mismatch, or [`CheckError::TooComplex`].
    pub(super) fn check(mut self, value: &Value) -> Result<(), CheckError> {
        self.visit(self.document.root(), value, Place::Root)
    }

    /// Counts steps.
    fn step(&mut self, steps: usize) -> Checked {
        self.steps = self.steps.saturating_add(steps as u64).saturating_add(1);
        if self.steps > MAX_STEPS { Err(CheckError::TooComplex) } else { Ok(()) }
    }

    fn visit(&mut self, schema: &Value, value: &Value, place: Place<'_>) -> Checked {
        self.step(0)?;
        let keywords = match schema {
            Value::Bool(false) => return mismatch(place, kind(value), "nothing"),
            Value::Object(keywords) => keywords,
            _ => return Ok(()),
        };
        if self.depth == MAX_DEPTH {
            return Err(CheckError::TooComplex);
        }
        self.depth += 1;
        let checked = self.apply(schema, keywords, value, place);
        self.depth -= 1;
        checked
    }

    fn apply(
        &mut self,
        schema: &Value,
        keywords: &Map<String, Value>,
        value: &Value,
        place: Place<'_>,
    ) -> Checked {
        if let Some(Value::String(reference)) = keywords.get("$ref")
            && let Some(target) = self.document.resolve(reference)
        {
            self.visit(target, value, place)?;
        }
        self.check_type(schema, value, place)?;
        match value {
            Value::String(text) => self.check_string(keywords, text, place)?,
            Value::Number(number) => check_number(keywords, number.as_f64().unwrap_or_default(), place)?,
            Value::Array(items) => self.check_items(keywords, items, place)?,
            Value::Object(fields) => self.check_fields(keywords, fields, place)?,
            Value::Null | Value::Bool(_) => {}
        }
        self.check_combined(schema, keywords, value, place)
    }

    /// Checks `type`, `enum` and `const`.
    fn check_type(&mut self, schema: &Value, value: &Value, place: Place<'_>) -> Checked {
        let is_of = |name: &Value| match (name.as_str().unwrap_or_default(), value) {
            ("integer", Value::Number(number)) => {
                !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            ("null", Value::Null)
            | ("boolean", Value::Bool(_))
            | ("number", Value::Number(_))
            | ("string", Value::String(_))
            | ("array", Value::Array(_))
            | ("object", Value::Object(_)) => true,
            _ => false,
        };
        let has_type = match schema.get("type") {
            None => true,
            Some(Value::Array(names)) => names.iter().any(is_of),
            Some(name) => is_of(name),
        };
        if !has_type {
            return mismatch(place, kind(value), expectation(schema));
        }
        let is_listed = match (schema.get("const"), schema.get("enum")) {
            (Some(only), _) => self.is_equal(only, value)?,
            (None, Some(Value::Array(values))) => {
                let mut is_listed = false;
                for listed in values {
                    is_listed |= self.is_equal(listed, value)?;
                }
                is_listed
            }
            (None, _) => true,
        };
        if is_listed {
            Ok(())
        } else {
            mismatch(place, format!("{} that is not allowed", kind(value)), expectation(schema))
        }
    }

    fn is_equal(&mut self, one: &Value, other: &Value) -> Result<bool, CheckError> {
        self.step(weight(one).min(weight(other)))?;
        Ok(match (one, other) {
            (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
            _ => one == other,
        })
    }

    fn check_string(&mut self, keywords: &Map<String, Value>, text: &str, place: Place<'_>) -> Checked {
        self.step(text.len() / BYTES_PER_STEP)?;
        if keywords.contains_key("minLength") || keywords.contains_key("maxLength") {
            let range = (bound(keywords, "minLength"), bound(keywords, "maxLength"));
            check_count((text.chars().count(), "characters"), range, place)?;
        }
        let Some(Value::String(pattern)) = keywords.get("pattern") else { return Ok(()) };
        if self.document.pattern(pattern).is_some_and(|regex| !regex.is_match(text)) {
            return mismatch(place, "a string that does not match", format!("the pattern {pattern}"));
        }
        Ok(())
    }

    fn check_items(&mut self, keywords: &Map<String, Value>, items: &[Value], place: Place<'_>) -> Checked {
        check_count(
            (items.len(), "items"),
            (bound(keywords, "minItems"), bound(keywords, "maxItems")),
            place,
        )?;
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            self.step(items.iter().map(weight).sum())?;
            let mut seen = BTreeSet::new();
            if let Some(at) = items.iter().position(|item| !seen.insert(item.to_string())) {
                return mismatch(Place::Item(&place, at), "an item for the second time", "items that differ");
            }
        }
        let prefix = match keywords.get("prefixItems") {
            Some(Value::Array(schemas)) => schemas.as_slice(),
            _ => &[],
        };
        for (at, item) in items.iter().enumerate() {
            let Some(schema) = prefix.get(at).or_else(|| keywords.get("items")) else { break };
            self.visit(schema, item, Place::Item(&place, at))?;
        }
        Ok(())
    }

    fn check_fields(
        &mut self,
        keywords: &Map<String, Value>,
        fields: &Map<String, Value>,
        place: Place<'_>,
    ) -> Checked {
        let range = (bound(keywords, "minProperties"), bound(keywords, "maxProperties"));
        check_count((fields.len(), "fields"), range, place)?;
        let properties = keywords.get("properties").and_then(Value::as_object);
        if let Some(Value::Array(required)) = keywords.get("required") {
            self.step(required.len())?;
            let mut names = required.iter().filter_map(Value::as_str);
            if let Some(missing) = names.find(|name| !fields.contains_key(*name)) {
                let schema = properties.and_then(|properties| properties.get(missing));
                let expected = schema.map_or_else(|| "a value".to_owned(), |schema| self.expectation(schema));
                return mismatch(Place::Field(&place, missing), "nothing", expected);
            }
        }
        for (name, value) in fields {
            self.check_field(keywords, name, value, place)?;
        }
        Ok(())
    }

    fn check_field(
        &mut self,
        keywords: &Map<String, Value>,
        name: &str,
        value: &Value,
        object: Place<'_>,
    ) -> Checked {
        let place = Place::Field(&object, name);
        if let Some(schema) = keywords.get("propertyNames") {
            self.visit(schema, &Value::String(name.to_owned()), place)?;
        }
        let properties = keywords.get("properties").and_then(Value::as_object);
        let own = properties.and_then(|properties| properties.get(name));
        let mut is_known = own.is_some();
        if let Some(schema) = own {
            self.visit(schema, value, place)?;
        }
        if let Some(Value::Object(patterns)) = keywords.get("patternProperties") {
            for (pattern, schema) in patterns {
                self.step(name.len() / BYTES_PER_STEP)?;
                if self.document.pattern(pattern).is_some_and(|regex| regex.is_match(name)) {
                    is_known = true;
                    self.visit(schema, value, place)?;
                }
            }
        }
        match keywords.get("additionalProperties") {
            Some(Value::Bool(false)) if !is_known => {
                let names = properties.into_iter().flat_map(Map::keys).cloned();
                mismatch(place, "an unknown field", listed(names))
            }
            Some(schema) if !is_known => self.visit(schema, value, place),
            _ => Ok(()),
        }
    }

    /// Checks the keywords that combine schemas for the same value.
    fn check_combined(
        &mut self,
        schema: &Value,
        keywords: &Map<String, Value>,
        value: &Value,
        place: Place<'_>,
    ) -> Checked {
        for schema in list(keywords, "allOf") {
            self.visit(schema, value, place)?;
        }
        for (keyword, is_exact) in [("anyOf", false), ("oneOf", true)] {
            if let Some(Value::Array(schemas)) = keywords.get(keyword) {
                self.check_alternatives((schema, schemas), is_exact, value, place)?;
            }
        }
        if let Some(excluded) = keywords.get("not")
            && self.fits(excluded, value, place)?
        {
            return mismatch(place, format!("{} that is excluded", kind(value)), "another value");
        }
        if let Some(condition) = keywords.get("if") {
            let branch = if self.fits(condition, value, place)? { "then" } else { "else" };
            if let Some(schema) = keywords.get(branch) {
                self.visit(schema, value, place)?;
            }
        }
        Ok(())
    }

    /// Checks that one of several schemas fits. Reports the mismatch of the alternative that fits best: the one that is
    /// furthest inside the value.
    fn check_alternatives(
        &mut self,
        (schema, schemas): (&Value, &[Value]),
        is_exact: bool,
        value: &Value,
        place: Place<'_>,
    ) -> Checked {
        let mut count = 0;
        let mut best: Option<ConfigMismatch> = None;
        for schema in schemas {
            match self.visit(schema, value, place) {
                Ok(()) => count += 1,
                Err(CheckError::TooComplex) => return Err(CheckError::TooComplex),
                Err(CheckError::Mismatch(mismatch)) => {
                    if best.as_ref().is_none_or(|best| best.depth < mismatch.depth) {
                        best = Some(mismatch);
                    }
                }
            }
        }
        match (count, best) {
            (1, _) => Ok(()),
            (0, Some(best)) if best.depth > place.depth() => Err(CheckError::Mismatch(best)),
            (0, _) => {
                let alternatives: Vec<_> = schemas.iter().map(|schema| self.expectation(schema)).collect();
                let own = expectation(schema);
                let expected = if own.contains('(') { own } else { alternatives.join(" or ") };
                mismatch(place, kind(value), expected)
            }
            _ if is_exact => mismatch(
                place,
                format!("{} that fits {count} alternatives", kind(value)),
                "a value that fits one",
            ),
            _ => Ok(()),
        }
    }

    fn fits(&mut self, schema: &Value, value: &Value, place: Place<'_>) -> Result<bool, CheckError> {
        match self.visit(schema, value, place) {
            Ok(()) => Ok(true),
            Err(CheckError::Mismatch(_)) => Ok(false),
            Err(CheckError::TooComplex) => Err(CheckError::TooComplex),
        }
    }

    /// Returns what a schema expects, or what the schema expects that it refers to.
    fn expectation(&self, schema: &Value) -> String {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|reference| self.document.resolve(reference));
        expectation(target.unwrap_or(schema))
    }
}

fn mismatch(place: Place<'_>, found: impl Into<String>, expected: impl Into<String>) -> Checked {
    Err(CheckError::Mismatch(ConfigMismatch::new(place, found, expected)))
}

fn list<'a>(keywords: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    match keywords.get(name) {
        Some(Value::Array(schemas)) => schemas,
        _ => &[],
    }
}

fn bound(keywords: &Map<String, Value>, name: &str) -> Option<usize> {
    let number = keywords.get(name)?.as_f64()?;
    // Counts are far below 2^53. The conversion saturates.
    Some(number as usize)
}

fn check_count(
    (count, what): (usize, &str),
    (min, max): (Option<usize>, Option<usize>),
    place: Place<'_>,
) -> Checked {
    match (min, max) {
        (Some(min), _) if count < min => {
            mismatch(place, format!("{count} {what}"), format!("at least {min}"))
        }
        (_, Some(max)) if count > max => mismatch(place, format!("{count} {what}"), format!("at most {max}")),
        _ => Ok(()),
    }
}

fn check_number(keywords: &Map<String, Value>, number: f64, place: Place<'_>) -> Checked {
    let limit = |name: &str| keywords.get(name).and_then(Value::as_f64);
    let found = "a number outside of the range";
    if let Some(min) = limit("minimum").filter(|min| number < *min) {
        return mismatch(place, found, format!("at least {min}"));
    }
    if let Some(max) = limit("maximum").filter(|max| number > *max) {
        return mismatch(place, found, format!("at most {max}"));
    }
    if let Some(min) = limit("exclusiveMinimum").filter(|min| number <= *min) {
        return mismatch(place, found, format!("more than {min}"));
    }
    if let Some(max) = limit("exclusiveMaximum").filter(|max| number >= *max) {
        return mismatch(place, found, format!("less than {max}"));
    }
    match limit("multipleOf").filter(|step| *step > 0.0 && (number / step).fract() != 0.0) {
        Some(step) => mismatch(place, "a number between two steps", format!("a multiple of {step}")),
        None => Ok(()),
    }
}

/// Returns the steps that comparing a value costs.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + text.len() / BYTES_PER_STEP,
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(weight).sum::<usize>(),
    }
}
