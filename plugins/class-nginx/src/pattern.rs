//! Translates regular expressions of nginx (PCRE) to those of the gateway, which match in linear time.
//!
//! The gateway compares the percent-encoded form of a path, nginx the decoded one. Characters that a path holds encoded are
//! therefore encoded here. Not here: the syntax that both have in common, which the gateway checks.

/// Maximum bytes of an expression.
const MAX_BYTES: usize = 1000;

/// Characters that have a meaning outside of classes.
const META: &str = r"\.+*?()|[]{}^$";

/// Why an expression cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The reason, as the end of a sentence.
    pub(crate) reason: &'static str,
    /// Whether the gateway refuses the expression as written, too.
    pub(crate) is_refused_as_written: bool,
}

/// Characters that browsers encode in a path and other clients do not.
const MAY_BE_ENCODED: &str = "\"<>\\^`{|}";

/// Translates an expression.
///
/// # Errors
///
/// Returns a [`Refusal`] if the expression needs PCRE.
pub(crate) fn translate(pattern: &str) -> Result<String, Refusal> {
    if pattern.len() > MAX_BYTES {
        return Err(other("is longer than 1000 bytes"));
    }
    let mut translation =
        Translation { rest: pattern, text: String::with_capacity(pattern.len()), after: None };
    while !translation.rest.is_empty() {
        translation.step()?;
    }
    Ok(translation.text)
}

/// Returns an expression that matches at least what another one may match that cannot be translated. It is not shorter, so
/// that it has the same place among the expressions of its host or an earlier one.
pub(crate) fn closing(pattern: &str, refusal: Refusal) -> String {
    if refusal.is_refused_as_written {
        return pattern.to_owned();
    }
    let mut text = literal(literal_beginning(pattern));
    while text.len() < pattern.len().min(MAX_BYTES) {
        text.push_str("(?:)");
    }
    text
}

fn other(reason: &'static str) -> Refusal {
    Refusal { reason, is_refused_as_written: false }
}

fn backtracks(reason: &'static str) -> Refusal {
    Refusal { reason, is_refused_as_written: true }
}

/// Returns an expression that matches a text alone.
pub(crate) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        push_literal(&mut escaped, character);
    }
    escaped
}

/// Returns the literal characters at the beginning of an expression that cannot be translated.
fn literal_beginning(pattern: &str) -> &str {
    let is_literal = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '/' | '-' | '_' | '~' | '=' | ',' | ':')
    };
    if pattern.contains('|') {
        return "";
    }
    let end = pattern.find(|character| !is_literal(character)).unwrap_or(pattern.len()).min(MAX_BYTES / 2);
    let literal = pattern.get(..end).unwrap_or_default();
    // A quantifier makes the last character optional.
    match pattern.get(end..).is_some_and(|rest| rest.starts_with(['?', '*', '{'])) {
        true => literal.get(..literal.len().saturating_sub(1)).unwrap_or_default(),
        false => literal,
    }
}

/// Adds a literal character: encoded if paths hold it encoded, else escaped if it has a meaning. Some characters may be in a
/// path in both forms.
fn push_literal(text: &mut String, character: char) {
    if MAY_BE_ENCODED.contains(character) {
        let escape = if META.contains(character) { "\\" } else { "" };
        text.push_str(&format!("(?:{escape}{character}|%{:02X})", u32::from(character)));
        return;
    }
    if is_encoded(character) {
        let mut buffer = [0; 4];
        text.push_str("(?:");
        for byte in character.encode_utf8(&mut buffer).bytes() {
            text.push_str(&format!("%{byte:02X}"));
        }
        text.push(')');
        return;
    }
    if META.contains(character) {
        text.push('\\');
    }
    text.push(character);
}

/// Returns true if a path holds the character percent-encoded.
fn is_encoded(character: char) -> bool {
    !character.is_ascii_graphic() || matches!(character, '?' | '#')
}

struct Translation<'a> {
    rest: &'a str,
    text: String,
    /// The quantifier before the rest.
    after: Option<char>,
}

impl Translation<'_> {
    /// Translates the next part.
    fn step(&mut self) -> Result<(), Refusal> {
        let Some(character) = self.take() else { return Ok(()) };
        let after = self.after.take();
        match character {
            '\\' => self.escape(false),
            '(' => self.group(),
            '[' => self.class(),
            '+' if after.is_some() => {
                Err(backtracks("has a possessive quantifier, which needs backtracking"))
            }
            '*' | '+' | '?' => {
                self.text.push(character);
                // A second quantifier makes the first one lazy.
                self.after = after.is_none().then_some(character);
                Ok(())
            }
            '{' => {
                self.braces();
                Ok(())
            }
            // Without a bracket before it, each is a literal in PCRE.
            '}' | ']' => {
                push_literal(&mut self.text, character);
                Ok(())
            }
            '.' | ')' | '|' | '^' | '$' => {
                self.text.push(character);
                Ok(())
            }
            _ => {
                push_literal(&mut self.text, character);
                Ok(())
            }
        }
    }

    fn take(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn escape(&mut self, is_in_class: bool) -> Result<(), Refusal> {
        let Some(character) = self.take() else { return Err(other("ends in a backslash")) };
        match character {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                self.text.push('\\');
                self.text.push(character);
                Ok(())
            }
            'b' | 'B' | 'A' | 'z' if !is_in_class => {
                self.text.push('\\');
                self.text.push(character);
                Ok(())
            }
            '1'..='9' if !is_in_class => Err(backtracks("has a back reference, which needs backtracking")),
            'a'..='z' | 'A'..='Z' | '0'..='9' => Err(other("has an escape of PCRE alone")),
            _ if is_in_class && is_encoded(character) => Err(other(ENCODED_IN_CLASS)),
            _ if is_encoded(character) || MAY_BE_ENCODED.contains(character) => {
                push_literal(&mut self.text, character);
                Ok(())
            }
            // The length of an expression decides its place, so the backslash stays.
            _ => {
                self.text.push('\\');
                self.text.push(character);
                Ok(())
            }
        }
    }

    fn group(&mut self) -> Result<(), Refusal> {
        if self.rest.starts_with('*') {
            return Err(other("has a verb of PCRE"));
        }
        let Some(after) = self.rest.strip_prefix('?') else {
            self.text.push('(');
            return Ok(());
        };
        if ["=", "!", "<=", "<!"].iter().any(|begin| after.starts_with(begin)) {
            return Err(backtracks("has a look-around, which needs backtracking"));
        }
        if after.starts_with('>') {
            return Err(backtracks("has an atomic group, which needs backtracking"));
        }
        let flags = after.find(|character: char| !matches!(character, 'i' | 'm' | 's' | 'x' | '-'));
        let end = flags.filter(|end| after.get(*end..).is_some_and(|rest| rest.starts_with([':', ')'])));
        let is_name =
            |begin: &str| after.strip_prefix(begin).is_some_and(|name| name.starts_with(char::is_alphabetic));
        match end {
            Some(end) => {
                self.text.push_str("(?");
                self.text.push_str(after.get(..=end).unwrap_or_default());
                self.rest = after.get(end + 1..).unwrap_or_default();
                Ok(())
            }
            None if is_name("<") || is_name("P<") => {
                self.text.push_str("(?");
                self.rest = after;
                while let Some(character) = self.take() {
                    self.text.push(character);
                    if character == '>' {
                        break;
                    }
                }
                Ok(())
            }
            None => Err(other("has a group of PCRE alone")),
        }
    }

    /// Translates a brace: a quantifier, or else a literal.
    fn braces(&mut self) {
        let quantifier = self.rest.split_once('}').map(|(inside, _)| inside).filter(|inside| {
            let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
            let is_number = |text: &str| text.len() < 4 && text.bytes().all(|byte| byte.is_ascii_digit());
            !least.is_empty() && is_number(least) && is_number(most)
        });
        match quantifier {
            Some(inside) => {
                self.text.push('{');
                self.text.push_str(inside);
                self.text.push('}');
                self.rest = self.rest.get(inside.len() + 1..).unwrap_or_default();
                self.after = Some('}');
            }
            None => push_literal(&mut self.text, '{'),
        }
    }

    fn class(&mut self) -> Result<(), Refusal> {
        self.text.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.text.push('^');
            self.rest = rest;
        }
        if let Some(rest) = self.rest.strip_prefix(']') {
            self.text.push_str("\\]");
            self.rest = rest;
        }
        loop {
            let Some(character) = self.take() else { return Err(other("has a class without an end")) };
            match character {
                ']' => {
                    self.text.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.rest.starts_with(':') => {
                    let Some((name, rest)) = self.rest.split_once(":]") else {
                        return Err(other("has a class without an end"));
                    };
                    self.text.push('[');
                    self.text.push_str(name);
                    self.text.push_str(":]");
                    self.rest = rest;
                }
                '[' if self.rest.starts_with(['=', '.']) => return Err(other("has a collating element")),
                '-' => self.text.push('-'),
                '[' | '&' | '~' => {
                    self.text.push('\\');
                    self.text.push(character);
                }
                _ if is_encoded(character) => return Err(other(ENCODED_IN_CLASS)),
                _ => self.text.push(character),
            }
        }
    }
}

const ENCODED_IN_CLASS: &str = "has a class with a character that paths hold percent-encoded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_keeps_its_meaning() {
        for (pattern, expected) in [
            ("/a(/|$)(.*)", "/a(/|$)(.*)"),
            ("/a{b}", r"/a(?:\{|%7B)b(?:\}|%7D)"),
            ("/a{2,3}x", "/a{2,3}x"),
            (r"/a\.php$", r"/a\.php$"),
            (r"/\/x\-y", r"/\/x\-y"),
            ("/[a-z&&[b]]", r"/[a-z\&\&\[b]\]"),
            ("/[[:alpha:]]+?", "/[[:alpha:]]+?"),
            ("/[]x]", r"/[\]x]"),
            ("/a b", "/a(?:%20)b"),
            ("/é+", "/(?:%C3%A9)+"),
            ("/(?<id>[0-9]+)", "/(?<id>[0-9]+)"),
            ("/(?i:a)b", "/(?i:a)b"),
        ] {
            let translated = translate(pattern);
            assert_eq!(translated.as_deref(), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn pattern_of_pcre_alone_is_refused() {
        for (pattern, reason) in [
            ("/(?!admin)", "look-around"),
            ("/(?<=a)b", "look-around"),
            (r"/(a)\1", "back reference"),
            ("/(?>a)", "atomic"),
            ("/a++", "possessive"),
            ("/a{1}+", "possessive"),
            ("/(?R)", "group of PCRE"),
            ("/(?#c)", "group of PCRE"),
            ("/(*FAIL)", "verb"),
            (r"/\Qa\E", "escape"),
            (r"/\pL", "escape"),
            ("/[é]", "percent-encoded"),
            ("/[a", "without an end"),
            ("/a\\", "backslash"),
        ] {
            let refusal = translate(pattern).err();
            assert!(refusal.is_some_and(|refusal| refusal.reason.contains(reason)), "{pattern}: {refusal:?}");
        }
    }

    #[test]
    fn literal_has_no_operators() {
        assert_eq!(literal("/a.b(c)*"), r"/a\.b\(c\)\*");
        assert_eq!(literal_beginning("/api/(?!v1)"), "/api/");
        assert_eq!(literal_beginning("/a|/b(?=c)"), "");
        assert_eq!(closing("/api/(?R)", other("")), "/api/(?:)");
    }
}
