//! Reads configurations from JSON.
//!
//! `serde_json` would do, but costs 40 KiB of a module, most of it for printing numbers with a fraction. Errors name the member
//! that they are about.

mod access;
mod error;
mod scanner;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::Visitor;
use serde::forward_to_deserialize_any;

use self::access::Items;
use self::access::Members;
use self::access::TaggedVariant;
use self::access::UnitVariant;
pub(crate) use self::error::JsonError;
use self::scanner::Integer;
use self::scanner::Scanner;
use self::scanner::Text;
use self::scanner::Token;

/// Maximum depth of arrays and objects. Deeper ones could exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Reads a value from all of a text.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(text).map_err(|_| JsonError::custom("the text is not UTF-8"))?;
    let mut reader = Reader { scanner: Scanner::new(text), depth: 0 };
    let value = T::deserialize(&mut reader)?;
    match reader.scanner.next()? {
        Token::End => Ok(value),
        other => Err(JsonError::unexpected(other.kind(), &"the end of the text")),
    }
}

/// Reads values.
struct Reader<'de> {
    scanner: Scanner<'de>,
    depth: usize,
}

impl<'de> Reader<'de> {
    /// Reads an array behind its opening bracket.
    fn array<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        self.nested(|reader| {
            let mut items = Items::new(reader);
            let value = visitor.visit_seq(&mut items)?;
            items.end()?;
            Ok(value)
        })
    }

    /// Reads an object behind its opening brace.
    fn object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        self.nested(|reader| {
            let mut members = Members::new(reader);
            let value = visitor.visit_map(&mut members)?;
            members.end()?;
            Ok(value)
        })
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, JsonError>) -> Result<T, JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(JsonError::custom("arrays and objects are nested too deeply"));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            match self.scanner.next()? {
                Token::Number(number) => match number.to_integer() {
                    Some(Integer::Unsigned(value)) => visitor.visit_u64(value),
                    Some(Integer::Signed(value)) => visitor.visit_i64(value),
                    None => Err(JsonError::unexpected(&number.describe(), &visitor)),
                },
                other => Err(JsonError::unexpected(other.kind(), &visitor)),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::Null => visitor.visit_unit(),
            Token::Boolean(value) => visitor.visit_bool(value),
            Token::Number(number) => match number.to_integer() {
                Some(Integer::Unsigned(value)) => visitor.visit_u64(value),
                Some(Integer::Signed(value)) => visitor.visit_i64(value),
                None => visitor.visit_f64(number.to_f64()?),
            },
            Token::String(Text::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Token::String(Text::Owned(text)) => visitor.visit_string(text),
            Token::OpenBracket => self.array(visitor),
            Token::OpenBrace => self.object(visitor),
            other => Err(JsonError::unexpected(other.kind(), &"a value")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::Boolean(value) => visitor.visit_bool(value),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::Number(number) => visitor.visit_f64(number.to_f64()?),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::String(Text::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Token::String(Text::Owned(text)) => visitor.visit_string(text),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.scanner.next_is_null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::Null => visitor.visit_unit(),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::OpenBracket => self.array(visitor),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::OpenBrace => self.object(visitor),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::String(name) => visitor.visit_enum(UnitVariant(name)),
            Token::OpenBrace => self.nested(|reader| {
                let mut members = Members::new(reader);
                let value = visitor.visit_enum(TaggedVariant(&mut members))?;
                members.end()?;
                Ok(value)
            }),
            other => Err(JsonError::unexpected(other.kind(), &visitor)),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scanner.next()? {
            Token::OpenBracket => self.array(visitor),
            Token::OpenBrace => self.object(visitor),
            Token::Null | Token::Boolean(_) | Token::Number(_) | Token::String(_) => visitor.visit_unit(),
            other => Err(JsonError::unexpected(other.kind(), &"a value")),
        }
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf tuple tuple_struct }
}

#[cfg(test)]
mod tests;
