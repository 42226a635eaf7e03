//! What a Route asks of a path, and which of two Routes goes first.
//!
//! Purpose: Kubernetes' path types as a type and an order. Not here: finding the best match fast (`host`).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A condition on a canonical path. The order is the precedence: what is less is tried first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path is equal.
    Exact(Arc<str>),
    /// The first elements are equal. Held without a trailing slash, because `/a` and `/a/` mean the same; the
    /// root is `/`. Make it with [`PathMatch::prefix`].
    Prefix(Arc<str>),
}

impl PathMatch {
    /// Matches one canonical path.
    pub fn exact(path: &str) -> Self {
        Self::Exact(path.into())
    }

    /// Matches a canonical path and all below it; one trailing slash makes no difference.
    pub fn prefix(path: &str) -> Self {
        let stem = path.strip_suffix('/').unwrap_or(path);
        Self::Prefix(if stem.is_empty() { "/" } else { stem }.into())
    }

    /// The same as [`PathMatch::prefix`], but holds on to the text if that is in the right form already.
    pub(crate) fn shared_prefix(path: &Arc<str>) -> Self {
        if path.ends_with('/') && **path != *"/" {
            Self::prefix(path)
        } else {
            Self::Prefix(Arc::clone(path))
        }
    }

    /// The path as text.
    pub fn path(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }

    /// `Exact` or `Prefix`, as an Ingress calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "Exact",
            Self::Prefix(_) => "Prefix",
        }
    }

    /// Whether a canonical path fulfils the condition. The definition that the table's tree must agree with.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) if **prefix == *"/" => path.starts_with('/'),
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// How many elements the path has; `/` has none.
    pub(super) fn elements(&self) -> usize {
        self.path().split('/').filter(|element| !element.is_empty()).count()
    }
}

impl Ord for PathMatch {
    /// Exact before Prefix, then more elements before fewer. The text decides the rest, where at most one of
    /// two can match, so that the order is total.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Exact(_), Self::Prefix(_)) => Ordering::Less,
            (Self::Prefix(_), Self::Exact(_)) => Ordering::Greater,
            _ => other.elements().cmp(&self.elements()).then_with(|| self.path().cmp(other.path())),
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
