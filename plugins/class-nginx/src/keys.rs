//! The table of all annotations of ingress-nginx, and the verdict on those that no other module judges.

mod table;

pub use table::KEYS;

use crate::annotations::Annotations;
use crate::annotations::quote;
use crate::ruling::Ruling;

/// Greatest number of edits between a key and the known one that a message names.
const MAX_EDITS: usize = 2;

/// An annotation of ingress-nginx.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Key without prefix.
    pub name: &'static str,
    /// What it affects in ingress-nginx.
    pub scope: Scope,
    /// How far it is honoured.
    pub support: Support,
    /// Values that ask for nothing.
    pub off: &'static [&'static str],
    /// Differences, limits, and the reason of a refusal.
    pub note: &'static str,
}

/// What an annotation affects in ingress-nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The paths of its Ingress.
    Path,
    /// All Ingresses of a host.
    Host,
}

/// How far an annotation is honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As in ingress-nginx.
    Exact,
    /// With a difference.
    Differs,
    /// It has no effect.
    Ignored,
    /// It is not supported.
    Refused,
    /// It is not supported. Because it restricts access, the paths of its Ingress are closed.
    Closed,
}

impl Support {
    /// Returns the text of the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Differs => "differs",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Closed => "refused, paths closed",
        }
    }
}

/// Returns the verdict on an annotation by the table.
pub(crate) fn ruling(name: &str, value: &str, annotations: &Annotations<'_>) -> Ruling {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else { return unknown(name) };
    if key.off.contains(&value) {
        return Ruling::exact();
    }
    match key.support {
        Support::Exact if name.starts_with("canary") => canary(name, annotations),
        Support::Exact => Ruling::exact(),
        Support::Differs => Ruling::differs(plain(key.note)),
        Support::Ignored => Ruling::ignored(plain(key.note)),
        Support::Refused => Ruling::refused(plain(key.note)),
        Support::Closed => Ruling::closed(format!("{} Requests get a 503.", plain(key.note))),
    }
}

/// Returns the verdict on an annotation of canaries on another Ingress.
fn canary(name: &str, annotations: &Annotations<'_>) -> Ruling {
    match annotations.get("canary") {
        Some(_) if name == "canary" && annotations.flag("canary").is_none() => {
            Ruling::refused("the value is not a boolean; ingress-nginx ignores it, too")
        }
        Some(_) if name == "canary" => Ruling::exact(),
        _ => Ruling::ignored("it has no effect without canary: \"true\""),
    }
}

/// Returns a note without the marks of Markdown.
fn plain(note: &str) -> String {
    note.replace('`', "")
}

/// Returns the verdict on a key that ingress-nginx does not have, either.
fn unknown(name: &str) -> Ruling {
    let like = KEYS.iter().find(|key| edits(key.name, name) <= MAX_EDITS);
    let hint = like.map(|key| format!("; is it a misspelt {}?", key.name)).unwrap_or_default();
    Ruling::ignored(format!("ingress-nginx has no annotation {}{hint}", quote(name)))
}

/// Returns the number of characters to insert, remove or replace between two keys. Stops beyond [`MAX_EDITS`].
fn edits(known: &str, written: &str) -> usize {
    if known.len().abs_diff(written.len()) > MAX_EDITS {
        return MAX_EDITS + 1;
    }
    let mut row: Vec<usize> = (0..=written.len()).collect();
    for (above, own) in known.bytes().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, other) in row.iter_mut().skip(1).zip(written.bytes()) {
            let replaced = diagonal + usize::from(own != other);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(MAX_EDITS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (known, written, expected) in [
            ("use-regex", "use-regex", 0),
            ("use-regex", "use-regx", 1),
            ("auth-url", "auth-uri", 1),
            ("a", "abcd", 3),
        ] {
            assert_eq!(edits(known, written), expected, "{known} {written}");
        }
    }

    #[test]
    fn keys_are_sorted_and_unique() {
        assert!(KEYS.windows(2).all(|pair| matches!(pair, [one, other] if one.name < other.name)));
    }
}
