//! The path condition of a Route, and the precedence of conditions.
//!
//! Expresses Kubernetes' path types as a type and an order. Not here: fast lookup (`host`).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::pattern::Pattern;

/// A condition on a canonical path. The lesser value takes precedence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path is equal.
    Exact(Arc<str>),
    /// The first elements are equal. Created by [`PathMatch::prefix`]. Held without a trailing slash, because `/a` and
    /// `/a/` are equal; the root is `/`.
    Prefix(Arc<str>),
    /// The regular expression occurs in the path.
    Regex(Arc<Pattern>),
}

impl PathMatch {
    /// Creates a condition that matches one canonical path.
    pub fn exact(path: &str) -> Self {
        Self::Exact(path.into())
    }

    /// Creates a condition that matches a canonical path and all paths below it. A trailing slash is ignored.
    pub fn prefix(path: &str) -> Self {
        let stem = path.strip_suffix('/').unwrap_or(path);
        Self::Prefix(if stem.is_empty() { "/" } else { stem }.into())
    }

    /// Creates a condition like [`PathMatch::prefix`], and shares the text if it has no trailing slash.
    pub(crate) fn shared_prefix(path: &Arc<str>) -> Self {
        if path.ends_with('/') && **path != *"/" {
            Self::prefix(path)
        } else {
            Self::Prefix(Arc::clone(path))
        }
    }

    /// Returns the path, or the regular expression.
    pub fn path(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
            Self::Regex(pattern) => pattern.text(),
        }
    }

    /// Returns a path to ask a table about. For a regular expression, it is the literal beginning, which may not match.
    pub fn sample(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
            Self::Regex(pattern) => match pattern.literal_prefix() {
                path if path.starts_with('/') => path,
                _ => "/",
            },
        }
    }

    /// Returns `Exact` or `Prefix`, the path type of Ingress, or `RegularExpression`, that of HTTPRoute.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "Exact",
            Self::Prefix(_) => "Prefix",
            Self::Regex(_) => "RegularExpression",
        }
    }

    /// Returns true if a canonical path meets the condition. Lookup in a table must agree with this definition.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) if **prefix == *"/" => path.starts_with('/'),
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(pattern) => pattern.is_match(path.as_bytes()),
        }
    }

    /// Returns the number of path elements. `/` has none.
    pub(super) fn elements(&self) -> usize {
        self.path().split('/').filter(|element| !element.is_empty()).count()
    }

    /// Returns the position of the kind of condition: Exact, then Prefix, then regular expressions.
    fn rank(&self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Prefix(_) => 1,
            Self::Regex(_) => 2,
        }
    }
}

impl Ord for PathMatch {
    /// Exact precedes Prefix, and more elements precede fewer. The text decides between conditions that never match the
    /// same path, so that the order is total. Regular expressions follow: the longer text precedes, then the greater one,
    /// as in ingress-nginx.
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.path(), other.path());
        self.rank().cmp(&other.rank()).then_with(|| match self {
            Self::Exact(_) | Self::Prefix(_) => {
                other.elements().cmp(&self.elements()).then_with(|| own.cmp(others))
            }
            Self::Regex(_) => others.len().cmp(&own.len()).then_with(|| others.cmp(own)),
        })
    }
}

impl PartialOrd for PathMatch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.path())
    }
}
