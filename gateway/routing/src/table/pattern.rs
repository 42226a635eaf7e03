//! Regular expressions of path conditions and value conditions.
//!
//! Matching takes time in proportion to the text (crate `regex`). Not here: the order of conditions (`path_match`).

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

use regex::bytes::Regex;
use regex::bytes::RegexBuilder;

/// Maximum bytes of an expression. The longest of 374 published files of ingress-nginx users has 130.
pub(crate) const MAX_PATTERN_BYTES: usize = 1024;

/// Maximum bytes of a compiled expression. Larger ones are refused, because each host may have thousands.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// Maximum bytes of a matcher's cache in one thread. A full cache is cleared, which costs time but no memory.
const MAX_CACHE_BYTES: usize = 256 * 1024;

/// Maximum depth of groups.
const MAX_NESTING: u32 = 32;

/// A regular expression that occurs in a text.
///
/// Bytes beyond ASCII have no meaning: canonical paths are ASCII. So classes such as `\w` are those of ASCII, and the
/// compiled form is small.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    matcher: Matcher,
}

#[derive(Clone)]
enum Matcher {
    /// The compiled expression.
    Compiled(Regex),
    /// The expression is invalid. Every text that begins with this prefix matches, whatever the case, so that the Route
    /// closes all that the author may have meant.
    Closed(Box<str>),
}

/// Why an expression is invalid. The message fits after "the expression".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// Returns a [`PatternError`] if the syntax is invalid or needs more than linear time, or if a limit is exceeded.
    pub fn new(text: &Arc<str>) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError(format!(
                "has {} bytes; at most {MAX_PATTERN_BYTES} are allowed",
                text.len()
            )));
        }
        if let Some(quantifier) = possessive_quantifier(text) {
            return Err(PatternError(format!(
                "has the possessive quantifier {quantifier}, which needs backtracking; write {}",
                &quantifier.get(..1).unwrap_or_default()
            )));
        }
        let built = RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_CACHE_BYTES)
            .nest_limit(MAX_NESTING)
            .build();
        let regex = built.map_err(|error| PatternError(describe(&error)))?;
        Ok(Self { text: Arc::clone(text), matcher: Matcher::Compiled(regex) })
    }

    /// Creates the pattern of an invalid expression. It matches every text that begins with the literal characters before
    /// the first operator.
    pub fn closed(text: &Arc<str>) -> Self {
        Self { text: Arc::clone(text), matcher: Matcher::Closed(literal_prefix(text).into()) }
    }

    /// Returns the expression as written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns the literal characters that every match begins with. Empty if there are none.
    pub fn literal_prefix(&self) -> &str {
        literal_prefix(&self.text)
    }

    /// Returns true if the expression is invalid.
    pub fn is_closed(&self) -> bool {
        matches!(self.matcher, Matcher::Closed(_))
    }

    /// Returns true if the expression occurs in the text.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Compiled(regex) => regex.is_match(text),
            Matcher::Closed(prefix) => {
                text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            }
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// Describes an error of the crate in one line. Its own message draws the expression and an arrow.
fn describe(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("needs more than {limit} bytes when compiled; write it shorter")
        }
        other => {
            let message = other.to_string();
            let last = message.lines().last().unwrap_or_default();
            format!("cannot be matched in linear time, or is invalid: {}", last.trim_start_matches("error: "))
        }
    }
}

/// Returns the first possessive quantifier, such as `*+`. The crate reads `a*+` as `(a*)+`, which matches more.
fn possessive_quantifier(text: &str) -> Option<String> {
    let (mut escaped, mut in_class, mut quantifier) = (false, false, None);
    for character in text.chars() {
        if escaped {
            (escaped, quantifier) = (false, None);
            continue;
        }
        match character {
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '+' if !in_class && quantifier.is_some() => {
                return quantifier.map(|first: char| format!("{first}+"));
            }
            _ => {}
        }
        quantifier = (!in_class && matches!(character, '*' | '+' | '?' | '}')).then_some(character);
    }
    None
}

/// Returns the literal characters at the beginning of an expression, without a leading group of flags and `^`.
fn literal_prefix(text: &str) -> &str {
    let after_flags = match text.strip_prefix("(?").and_then(|rest| rest.split_once(')')) {
        Some((flags, rest)) if flags.bytes().all(|byte| byte.is_ascii_lowercase()) => rest,
        _ => text,
    };
    let Some(anchored) = after_flags.strip_prefix('^') else { return "" };
    if anchored.contains('|') {
        return "";
    }
    let is_literal = |character: char| {
        character.is_ascii_alphanumeric()
            || matches!(character, '/' | '-' | '_' | '~' | '%' | '=' | ',' | ':')
    };
    let end = anchored.find(|character| !is_literal(character)).unwrap_or(anchored.len());
    let literal = anchored.get(..end).unwrap_or_default();
    // A quantifier makes the last character optional.
    match anchored.get(end..).is_some_and(|rest| rest.starts_with(['?', '*', '{'])) {
        true => literal.get(..literal.len().saturating_sub(1)).unwrap_or_default(),
        false => literal,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn pattern_of_pcre_alone_is_refused() {
        for (text, reason) in [
            ("^/(?!admin)", "look-around"),
            ("^/(?<=a)b", "look-around"),
            (r"^/(a)\1", "backreferences"),
            ("^/(?>a|ab)c", "invalid"),
            ("^/a++b", "possessive quantifier ++"),
            ("^/a*+b", "possessive quantifier *+"),
            ("^/a{1,2}+", "possessive quantifier }+"),
            ("^/(", "unclosed group"),
            ("^/a{1000}{1000}", "bytes when compiled"),
        ] {
            let error = Pattern::new(&text.into()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN_BYTES + 1).into()).is_err());
    }

    #[test]
    fn pattern_with_plus_in_class_or_escape_is_accepted() {
        for text in [r"^/a\++", "^/[*+]+", "^/a+b+", r"^/\*+"] {
            assert!(Pattern::new(&text.into()).is_ok(), "{text}");
        }
    }

    #[test]
    fn closed_pattern_matches_its_literal_prefix() {
        for (text, literal) in [
            ("(?i)^/api/(?!v1)", "/api/"),
            ("^/a?(?=b)", "/"),
            ("^/a|/b(?=c)", ""),
            ("/a(?=b)", ""),
            ("^/a{2}+", "/"),
            (r"^/a\.b++", "/a"),
        ] {
            assert_eq!(literal_prefix(text), literal, "{text}");
        }
        let closed = Pattern::closed(&"(?i)^/api/(?!v1)".into());
        assert!(closed.is_closed() && closed.is_match(b"/API/v1") && !closed.is_match(b"/apiv1"));
    }
}
