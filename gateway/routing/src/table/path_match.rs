//! The path condition of a Route, and the precedence of conditions.
//!
//! Expresses Kubernetes' path types as a type and an order. Not here: fast lookup (`host`).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A condition on a canonical path. The lesser value takes precedence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path is equal.
    Exact(Arc<str>),
    /// The first elements are equal. Created by [`PathMatch::prefix`]. Held without a trailing slash, because `/a` and
    /// `/a/` are equal; the root is `/`.
    Prefix(Arc<str>),
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

    /// Returns the path.
    pub fn path(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }

    /// Returns `Exact` or `Prefix`, the path type of Ingress.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "Exact",
            Self::Prefix(_) => "Prefix",
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
        }
    }

    /// Returns the number of path elements. `/` has none.
    pub(super) fn elements(&self) -> usize {
        self.path().split('/').filter(|element| !element.is_empty()).count()
    }
}

impl Ord for PathMatch {
    /// Exact precedes Prefix, and more elements precede fewer. The text decides between conditions that never match the
    /// same path, so that the order is total.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Exact(_), Self::Prefix(_)) => Ordering::Less,
            (Self::Prefix(_), Self::Exact(_)) => Ordering::Greater,
            (Self::Exact(_), Self::Exact(_)) | (Self::Prefix(_), Self::Prefix(_)) => {
                other.elements().cmp(&self.elements()).then_with(|| self.path().cmp(other.path()))
            }
        }
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
