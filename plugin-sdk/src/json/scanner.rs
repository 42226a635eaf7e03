//! Splits JSON text into tokens.

use serde::de::Error;

use super::error::JsonError;

/// A string: part of the text, or a copy without escapes.
pub(super) enum Text<'de> {
    Borrowed(&'de str),
    Owned(String),
}

/// The characters of a number.
#[derive(Clone, Copy)]
pub(super) struct Number<'de>(&'de str);

/// A number without a fraction.
pub(super) enum Integer {
    Unsigned(u64),
    Signed(i64),
}

/// A token.
pub(super) enum Token<'de> {
    Null,
    Boolean(bool),
    Number(Number<'de>),
    String(Text<'de>),
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Colon,
    Comma,
    End,
}

/// Reads tokens from a text.
pub(super) struct Scanner<'de> {
    rest: &'de str,
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl Number<'_> {
    /// Returns the number, if it has no fraction and fits 64 bits.
    pub(super) fn to_integer(self) -> Option<Integer> {
        let unsigned = self.0.parse().ok().map(Integer::Unsigned);
        unsigned.or_else(|| self.0.parse().ok().map(Integer::Signed))
    }

    pub(super) fn to_f64(self) -> Result<f64, JsonError> {
        self.0.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| malformed(self.0))
    }

    /// Returns what a message calls the number.
    pub(super) fn describe(self) -> String {
        ["number `", self.0, "`"].concat()
    }
}

impl Token<'_> {
    /// Returns what a message calls the token.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::OpenBracket => "an array",
            Self::CloseBracket => "`]`",
            Self::OpenBrace => "an object",
            Self::CloseBrace => "`}`",
            Self::Colon => "`:`",
            Self::Comma => "`,`",
            Self::End => "the end of the text",
        }
    }
}

impl<'de> Scanner<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self { rest: text }
    }

    /// Reads a token.
    pub(super) fn next(&mut self) -> Result<Token<'de>, JsonError> {
        self.skip_space();
        let Some(first) = self.rest.bytes().next() else { return Ok(Token::End) };
        let token = match first {
            b'[' => Token::OpenBracket,
            b']' => Token::CloseBracket,
            b'{' => Token::OpenBrace,
            b'}' => Token::CloseBrace,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => {
                self.advance(1);
                return self.string().map(Token::String);
            }
            _ => return self.word(),
        };
        self.advance(1);
        Ok(token)
    }

    /// Reads `null`. Returns false and reads nothing if the next token is another one.
    pub(super) fn next_is_null(&mut self) -> Result<bool, JsonError> {
        self.skip_space();
        if !self.rest.starts_with('n') {
            return Ok(false);
        }
        self.next().map(|_| true)
    }

    /// Reads a character if it is next.
    pub(super) fn next_is(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_next = self.rest.bytes().next() == Some(wanted);
        if is_next {
            self.advance(1);
        }
        is_next
    }

    fn skip_space(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.advance(self.rest.as_bytes().iter().take_while(|byte| is_space(byte)).count());
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Reads a number or a name.
    fn word(&mut self) -> Result<Token<'de>, JsonError> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
        let len = self.rest.bytes().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        let word = self.rest.get(..len).unwrap_or_default();
        self.advance(len);
        Ok(match word {
            "null" => Token::Null,
            "true" => Token::Boolean(true),
            "false" => Token::Boolean(false),
            _ if is_number(word.as_bytes()) => Token::Number(Number(word)),
            "" => return Err(malformed(self.rest.get(..1).unwrap_or("a character"))),
            _ => return Err(malformed(word)),
        })
    }

    /// Reads a string behind its opening quote.
    fn string(&mut self) -> Result<Text<'de>, JsonError> {
        let mut copy: Option<String> = None;
        loop {
            let special = self.rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=31));
            let Some(len) = special else { return Err(JsonError::custom("a string does not end")) };
            let plain = self.rest.get(..len).unwrap_or_default();
            let byte = self.rest.as_bytes().get(len).copied();
            self.advance(len + 1);
            match (byte, &mut copy) {
                (Some(b'"'), None) => return Ok(Text::Borrowed(plain)),
                (Some(b'"'), Some(_)) => {
                    let mut text = copy.take().unwrap_or_default();
                    text.push_str(plain);
                    return Ok(Text::Owned(text));
                }
                (Some(b'\\'), _) => {
                    let text = copy.get_or_insert_default();
                    text.push_str(plain);
                    text.push(self.escape()?);
                }
                _ => return Err(JsonError::custom("a string contains a control character")),
            }
        }
    }

    /// Reads an escape behind its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self.rest.bytes().next();
        self.advance(1);
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(JsonError::custom("an escape is not valid")),
        })
    }

    /// Reads four hexadecimal digits, and another four if they are half of a pair.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hexadecimal()?;
        let code = match first {
            0xd800..=0xdbff if self.rest.starts_with("\\u") => {
                self.advance(2);
                match self.hexadecimal()? {
                    second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => first,
                }
            }
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| JsonError::custom("an escape is not valid"))
    }

    fn hexadecimal(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.advance(4);
        value.ok_or_else(|| JsonError::custom("an escape is not valid"))
    }
}

fn malformed(text: &str) -> JsonError {
    JsonError::message(["`", text, "` is not JSON"].concat())
}

/// Is it a number of JSON: a minus sign, an integer without leading zeros, a fraction, an exponent?
fn is_number(word: &[u8]) -> bool {
    let unsigned = word.strip_prefix(b"-").unwrap_or(word);
    let (integer, rest) = split_digits(unsigned);
    let has_leading_zero = integer.len() > 1 && integer.starts_with(b"0");
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => split_digits(rest),
        None => (integer, rest),
    };
    let (exponent, rest) = match rest {
        [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => split_digits(rest),
        _ => (integer, rest),
    };
    let is_complete = !integer.is_empty() && !fraction.is_empty() && !exponent.is_empty();
    is_complete && !has_leading_zero && rest.is_empty()
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(len).unwrap_or_default()
}
