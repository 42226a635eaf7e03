//! Recognises paths that other controllers read as patterns. This gateway matches them literally.
//!
//! Not here: matching. A path with a plain parenthesis, plus sign or dollar sign is no pattern.

/// Returns what to write in place of a path that looks like a pattern, as a clause. Returns `None` for other paths.
pub(super) fn advice(path: &str) -> Option<String> {
    let start = pattern_start(path)?;
    let (literal, pattern) = path.split_at_checked(start)?;
    let literal = literal.trim_start_matches('^');
    let stem = literal.trim_end_matches('/');
    if covers_everything(pattern) && (stem.is_empty() || literal.starts_with('/')) {
        let stem = if stem.is_empty() { "/" } else { stem };
        return Some(format!(
            "write \"path: {stem}\" with \"pathType: Prefix\", which covers all paths below it"
        ));
    }
    if pattern == "$" {
        return Some(format!("write \"path: {literal}\" with \"pathType: Exact\""));
    }
    Some("write each path, or a prefix of them, as a path of its own".to_owned())
}

/// Returns where the pattern of a path begins.
fn pattern_start(path: &str) -> Option<usize> {
    // Kong marks a pattern by this start, other controllers by the anchor.
    if path.starts_with("/~/") || path.starts_with('^') || path.starts_with("~") {
        let anchor = path.len() - path.trim_start_matches(['^', '~', '/']).len();
        return Some(pattern_within(path).unwrap_or(anchor.min(path.len())));
    }
    pattern_within(path)
}

fn pattern_within(path: &str) -> Option<usize> {
    let bytes = path.as_bytes();
    let next = |at: usize| bytes.get(at + 1).copied();
    bytes.iter().enumerate().position(|(at, byte)| match byte {
        b'*' => at > 0,
        b'.' => matches!(next(at), Some(b'*' | b'+')),
        b'(' => is_group(path.get(at..).unwrap_or_default()),
        b'[' => path.get(at..).is_some_and(|rest| rest.contains(']')),
        b'\\' => true,
        b'?' => matches!(next(at), None | Some(b'(' | b'$' | b'/')),
        b'$' => at + 1 == bytes.len() && at > 0 && bytes.get(at - 1) != Some(&b'/'),
        b'|' => true,
        _ => false,
    })
}

/// Returns true if a parenthesis begins a group of a pattern, such as `(a|b)`, `(.*)` and `(?i)`.
fn is_group(rest: &str) -> bool {
    let inside = rest.split(')').next().unwrap_or_default();
    inside.contains(['|', '*', '?', '[', '\\', '+']) && rest.contains(')')
}

/// Returns true if a pattern covers all paths below the literal part, and nothing beside them.
fn covers_everything(pattern: &str) -> bool {
    const ALL: &[&str] =
        &["*", "**", "(.*)", ".*", "(/|$)(.*)", "(/|$).*", "/?(.*)", "?(.*)", "(/.*)?", "(|/.*)", "(/(.*))?"];
    let pattern = pattern.trim_end_matches('$');
    ALL.iter().any(|all| all.trim_end_matches('$') == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_differ_from_literal_paths() {
        let prefix = |path: &str| {
            Some(format!("write \"path: {path}\" with \"pathType: Prefix\", which covers all paths below it"))
        };
        let each = || Some("write each path, or a prefix of them, as a path of its own".to_owned());
        for (path, expected) in [
            ("/api/*", prefix("/api")),
            ("/*", prefix("/")),
            ("/api(/|$)(.*)", prefix("/api")),
            ("/api/(.*)", prefix("/api")),
            ("/(.*)", prefix("/")),
            ("/api/?(.*)", prefix("/api")),
            ("^/api/.*", prefix("/api")),
            ("/api.*", prefix("/api")),
            ("/v[0-9]+", each()),
            ("/v[0-9]+/users", each()),
            ("/(api|web)/x", each()),
            ("/a/*/b", each()),
            ("/~/foo/\\d{3}", each()),
            ("/(?i)shop", each()),
            ("/foo$", Some("write \"path: /foo\" with \"pathType: Exact\"".to_owned())),
            ("/", None),
            ("/c++/", None),
            ("/$metadata", None),
            ("/wiki/Foo_(bar)", None),
            ("/users/{id}", None),
            ("/v1/x:reset", None),
            ("/a.b/c,d;e=f", None),
            ("/~user", None),
        ] {
            assert_eq!(advice(path), expected, "{path}");
        }
    }
}
