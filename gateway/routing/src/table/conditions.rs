//! Conditions of a Route beside its path: method, header fields and query parameters.
//!
//! Not here: the order of Routes with different paths (`path_match`), and parsing (`compiler`).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use api::Method;

use super::pattern::Pattern;

/// The parts of a request that conditions read.
pub trait RequestParts {
    /// Returns the method.
    fn method(&self) -> &[u8];

    /// Returns true if a field line with this name, compared without case, has a value that meets the condition.
    fn has_field(&self, name: &str, is_met: &dyn Fn(&[u8]) -> bool) -> bool;

    /// Returns the query without the question mark.
    fn query(&self) -> &[u8];
}

/// A GET request without header fields and query.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainRequest;

impl RequestParts for PlainRequest {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn has_field(&self, _: &str, _: &dyn Fn(&[u8]) -> bool) -> bool {
        false
    }

    fn query(&self) -> &[u8] {
        b""
    }
}

/// Conditions of a Route beside its path. A request must meet all. The lesser value takes precedence: one with a method,
/// then more fields, then more parameters (Gateway API).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// The method. `None`: any.
    pub method: Option<Method>,
    /// Header fields, sorted by name. Names are in lower case.
    pub fields: Box<[ValueCondition]>,
    /// Query parameters, sorted by name.
    pub parameters: Box<[ValueCondition]>,
}

/// A condition on the value of a header field or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueCondition {
    /// Name of the field or the parameter.
    pub name: Arc<str>,
    /// Condition on its value.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// The value is equal.
    Exact(Arc<str>),
    /// The expression occurs in the value.
    Regex(Arc<Pattern>),
}

// ===== impl Conditions =====

impl Conditions {
    /// Returns true if there is no condition.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if a request meets all conditions.
    pub fn are_met(&self, request: &dyn RequestParts) -> bool {
        self.method.is_none_or(|method| method.as_str().as_bytes() == request.method())
            && self
                .fields
                .iter()
                .all(|field| request.has_field(&field.name, &|value| field.value.is_met(value)))
            && self.parameters.iter().all(|parameter| {
                let value = parameter_value(request.query(), parameter.name.as_bytes());
                value.is_some_and(|value| parameter.value.is_met(&value))
            })
    }

    /// Returns the number of conditions of each kind, most decisive first.
    fn counts(&self) -> [usize; 3] {
        [usize::from(self.method.is_some()), self.fields.len(), self.parameters.len()]
    }
}

impl Ord for Conditions {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_content = || {
            let content = |of: &Self| (of.method, of.to_string());
            content(self).cmp(&content(other))
        };
        Reverse(self.counts()).cmp(&Reverse(other.counts())).then_with(by_content)
    }
}

impl PartialOrd for Conditions {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(method) = self.method {
            write!(f, "method {method}")?;
            separator = ", ";
        }
        let fields = self.fields.iter().map(|field| ("header", field));
        for (kind, ValueCondition { name, value }) in
            fields.chain(self.parameters.iter().map(|parameter| ("query", parameter)))
        {
            let (operator, text) = match value {
                ValueMatch::Exact(text) => ("=", text),
                ValueMatch::Regex(pattern) => ("~", pattern.text()),
            };
            write!(f, "{separator}{kind} {} {operator} {}", name.escape_debug(), text.escape_debug())?;
            separator = ", ";
        }
        Ok(())
    }
}

// ===== impl ValueMatch =====

impl ValueMatch {
    fn is_met(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => expected.as_bytes() == value,
            Self::Regex(pattern) => pattern.is_match(value),
        }
    }
}

// ===== query parameters =====

/// Returns the decoded value of the first parameter with this name. A parameter without `=` has an empty value.
fn parameter_value<'q>(query: &'q [u8], name: &[u8]) -> Option<Cow<'q, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let (key, value) = (parts.next()?, parts.next().unwrap_or_default());
        (*decode(key) == *name).then(|| decode(value))
    })
}

/// Decodes `%XX`, and `+` as a space. Other bytes stay.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => match digit(*high).zip(digit(*low)) {
                Some((high, low)) => {
                    decoded.push(high * 16 + low);
                    rest = after;
                }
                None => decoded.push(b'%'),
            },
            (byte, _) => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_value_is_the_first_decoded() {
        for (query, name, expected) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&a=2", "a", Some("1")),
            ("a", "a", Some("")),
            ("%61=x%20y+z", "a", Some("x y z")),
            ("a=%zz", "a", Some("%zz")),
            ("a=%4", "a", Some("%4")),
            ("ab=1", "a", None),
            ("", "a", None),
        ] {
            let found = parameter_value(query.as_bytes(), name.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{query} {name}");
        }
    }

    #[test]
    fn conditions_with_method_then_more_fields_precede() {
        let value = |name: &str| ValueCondition { name: name.into(), value: ValueMatch::Exact("1".into()) };
        let method = Conditions { method: Some(Method::Get), ..Conditions::default() };
        let two = Conditions { fields: [value("a"), value("b")].into(), ..Conditions::default() };
        let one = Conditions { fields: [value("a")].into(), ..Conditions::default() };
        let query = Conditions { parameters: [value("a"), value("b")].into(), ..Conditions::default() };
        let mut sorted = [&query, &one, &two, &method];
        sorted.sort();
        assert_eq!(sorted, [&method, &two, &one, &query]);
    }
}
