//! The annotations of one Ingress, and values in the formats of ingress-nginx.
//!
//! Not here: their meaning.

use std::collections::BTreeMap;

use plugin_sdk::class::ClassIngress;

use crate::DIALECT;

/// Maximum characters of a value in a message.
const MAX_SHOWN: usize = 80;

/// Maximum number of values in a message.
const MAX_LISTED: usize = 5;

/// The annotations of an Ingress, by key without prefix.
#[derive(Debug)]
pub(crate) struct Annotations<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Annotations<'a> {
    pub(crate) fn new(ingress: &'a ClassIngress) -> Self {
        let all = ingress.annotations(DIALECT);
        Self(all.filter_map(|(key, value)| Some((key.strip_prefix(DIALECT)?, value))).collect())
    }

    /// Returns all annotations by key.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().map(|(key, value)| (*key, *value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    /// Returns a boolean. Invalid values count as absent, as in ingress-nginx.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        parse_bool(self.get(name)?)
    }

    /// Returns true if a boolean is true.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }
}

/// Parses a boolean of Go.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a size of nginx: bytes, or a number with `k`, `m` or `g`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (text.get(..at)?, 1 << 10),
        (at, 'm' | 'M') => (text.get(..at)?, 1 << 20),
        (at, 'g' | 'G') => (text.get(..at)?, 1 << 30),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Returns a value in quotes, without control characters and not longer than a line.
pub(crate) fn quote(value: &str) -> String {
    let shown: String = value.chars().take(MAX_SHOWN).collect();
    let rest = if shown.len() < value.len() { "…" } else { "" };
    format!("\"{}{rest}\"", shown.escape_debug())
}

/// Returns values as [`quote`] does, separated by commas. Only the first ones are shown.
pub(crate) fn quote_all<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut values = values.into_iter();
    let mut shown: Vec<String> = values.by_ref().take(MAX_LISTED).map(quote).collect();
    let rest = values.count();
    if rest > 0 {
        shown.push(format!("and {rest} more"));
    }
    shown.join(", ")
}

/// Splits a list at commas, without white space around the entries.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}
