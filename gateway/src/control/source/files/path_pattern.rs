//! Patterns of files that are not read: `charts/**`, `values*.yaml`.
//!
//! Not here: reading files.

use std::path::Path;

/// A pattern of paths below a folder. `*` matches within one name, `**` matches any number of names.
///
/// A pattern without a slash matches files of that name in every folder. A pattern that matches a folder matches all
/// files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<String>);

impl PathPattern {
    /// Creates a pattern.
    pub fn new(text: &str) -> Self {
        let text = text.trim_start_matches("./").trim_end_matches('/');
        let prefix = (!text.contains('/')).then(|| "**".to_owned());
        Self(prefix.into_iter().chain(text.split('/').map(ToOwned::to_owned)).collect())
    }

    /// Returns true if the pattern matches a path, or a folder above it.
    pub fn matches(&self, path: &Path) -> bool {
        let names: Vec<_> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        (1..=names.len()).any(|count| matches_names(&self.0, names.get(..count).unwrap_or_default()))
    }
}

fn matches_names(pattern: &[String], names: &[String]) -> bool {
    match (pattern, names) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == "**" => {
            (0..=names.len()).any(|skipped| matches_names(rest, names.get(skipped..).unwrap_or_default()))
        }
        ([first, rest @ ..], [name, names @ ..]) => {
            matches_name(first.as_bytes(), name.as_bytes()) && matches_names(rest, names)
        }
        ([], _) | (_, []) => false,
    }
}

fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            (0..=name.len()).any(|skipped| matches_name(rest, name.get(skipped..).unwrap_or_default()))
        }
        ([first, rest @ ..], [byte, name @ ..]) => first == byte && matches_name(rest, name),
        ([], _) | (_, []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_folders() {
        for (pattern, path, expected) in [
            ("values*.yaml", "apps/shop/values-prod.yaml", true),
            ("values*.yaml", "apps/shop/web.yaml", false),
            ("charts", "charts/shop/templates/ingress.yaml", true),
            ("charts/", "a/charts/x.yaml", true),
            ("./a/b.yaml", "a/b.yaml", true),
            ("a/b.yaml", "x/a/b.yaml", false),
            ("a/*/c.yaml", "a/b/c.yaml", true),
            ("a/*/c.yaml", "a/b/b/c.yaml", false),
            ("a/**/c.yaml", "a/b/b/c.yaml", true),
            ("**/templates/**", "charts/shop/templates/x.yaml", true),
        ] {
            assert_eq!(PathPattern::new(pattern).matches(Path::new(path)), expected, "{pattern} {path}");
        }
    }
}
