//! Parses the conditions of a rule: path, method, header fields and query parameters.
//!
//! An invalid expression closes its rule: its Route has no Backends and matches at least what the expression may have
//! meant, so that no other rule receives these requests. Not here: paths of Ingresses (`translate`).

use std::sync::Arc;

use api::HttpPathMatch;
use api::HttpRouteMatch;
use api::HttpValueMatch;
use api::PathMatchType;
use api::ValueMatchType;

use super::pattern_interner::PatternInterner;
use crate::problem::Reason;
use crate::table::Conditions;
use crate::table::PathMatch;
use crate::table::ValueCondition;
use crate::table::ValueMatch;

/// Maximum characters of an expression in a message.
const MAX_SHOWN: usize = 200;

/// The conditions of one Route.
#[derive(Debug)]
pub(super) struct ParsedMatch {
    pub(super) path: PathMatch,
    pub(super) conditions: Option<Arc<Conditions>>,
    /// Conditions that cannot be honoured. If there is one, the Route is closed.
    pub(super) faults: Vec<MatchFault>,
}

/// A condition that cannot be honoured.
#[derive(Debug)]
pub(super) struct MatchFault {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl ParsedMatch {
    /// Creates a condition on the path alone.
    pub(super) fn of_path(path: PathMatch) -> Self {
        Self { path, conditions: None, faults: Vec::new() }
    }
}

/// Parses the conditions of a Route.
pub(super) fn parse(from: &HttpRouteMatch, patterns: &mut PatternInterner) -> ParsedMatch {
    let mut faults = Vec::new();
    let path = parse_path(&from.path, patterns, &mut faults);
    let mut conditions = Conditions { method: from.method, ..Conditions::default() };
    if !from.headers.is_empty() {
        let names = from.headers.iter().map(|header| header.name.to_ascii_lowercase());
        conditions.fields = parse_values("header", names.zip(&from.headers), patterns, &mut faults);
    }
    if !from.query_params.is_empty() {
        let names = from.query_params.iter().map(|parameter| parameter.name.to_string());
        conditions.parameters = parse_values("query", names.zip(&from.query_params), patterns, &mut faults);
    }
    let conditions = (!conditions.is_empty()).then(|| Arc::new(conditions));
    ParsedMatch { path, conditions, faults }
}

fn parse_path(
    from: &HttpPathMatch,
    patterns: &mut PatternInterner,
    faults: &mut Vec<MatchFault>,
) -> PathMatch {
    match from.kind {
        PathMatchType::Exact => PathMatch::Exact(Arc::clone(&from.value)),
        PathMatchType::PathPrefix => PathMatch::shared_prefix(&from.value),
        PathMatchType::RegularExpression => {
            let (pattern, error) = patterns.intern(&from.value);
            faults.extend(error.map(|error| {
                let text = shortened(&from.value);
                let message =
                    format!("the expression \"{text}\" {error}; requests that it may mean get a 503");
                MatchFault { reason: Reason::InvalidPath, message }
            }));
            PathMatch::Regex(pattern)
        }
    }
}

/// Returns the beginning of an expression, without control characters.
fn shortened(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{rest}", shown.escape_debug())
}

/// Parses conditions on values. The first entry with a name counts. An invalid one is left out, and closes the Route.
fn parse_values<'a>(
    kind: &str,
    entries: impl Iterator<Item = (String, &'a HttpValueMatch)>,
    patterns: &mut PatternInterner,
    faults: &mut Vec<MatchFault>,
) -> Box<[ValueCondition]> {
    let mut parsed: Vec<ValueCondition> = Vec::new();
    for (name, entry) in entries {
        if parsed.iter().any(|known| *known.name == *name) {
            continue;
        }
        let value = match entry.kind {
            ValueMatchType::Exact => ValueMatch::Exact(Arc::clone(&entry.value)),
            ValueMatchType::RegularExpression => {
                let (pattern, error) = patterns.intern(&entry.value);
                if let Some(error) = error {
                    let text = shortened(&entry.value);
                    let message = format!(
                        "the expression \"{text}\" of {kind} {} {error}; requests with any value get a 503",
                        name.escape_debug()
                    );
                    faults.push(MatchFault { reason: Reason::InvalidValue, message });
                    continue;
                }
                ValueMatch::Regex(pattern)
            }
        };
        parsed.push(ValueCondition { name: name.into(), value });
    }
    parsed.sort_by(|one, other| one.name.cmp(&other.name));
    parsed.into()
}
