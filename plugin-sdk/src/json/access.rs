//! Items of arrays, members of objects, and variants, as serde asks for them.

use serde::de::DeserializeSeed;
use serde::de::EnumAccess;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::VariantAccess;
use serde::de::Visitor;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::value::StringDeserializer;

use super::Reader;
use super::error::JsonError;
use super::scanner::Text;
use super::scanner::Token;

/// The items of an array.
pub(super) struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    index: usize,
    has_ended: bool,
}

/// The members of an object.
pub(super) struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    key: Option<Text<'de>>,
    is_first: bool,
    has_ended: bool,
}

/// A variant that is a string.
pub(super) struct UnitVariant<'de>(pub(super) Text<'de>);

/// A variant that is the only member of an object.
pub(super) struct TaggedVariant<'m, 'a, 'de>(pub(super) &'m mut Members<'a, 'de>);

impl<'a, 'de> Items<'a, 'de> {
    pub(super) fn new(reader: &'a mut Reader<'de>) -> Self {
        Self { reader, index: 0, has_ended: false }
    }

    /// Checks that no item is left.
    pub(super) fn end(self) -> Result<(), JsonError> {
        if self.has_ended || self.reader.scanner.next_is(b']') {
            return Ok(());
        }
        Err(JsonError::custom("the array has too many items"))
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        let scanner = &mut self.reader.scanner;
        if scanner.next_is(b']') {
            self.has_ended = true;
            return Ok(None);
        }
        if self.index > 0 && !scanner.next_is(b',') {
            return Err(JsonError::unexpected(scanner.next()?.kind(), &"`,` or `]`"));
        }
        let value = seed.deserialize(&mut *self.reader).map_err(|error| error.within_item(self.index))?;
        self.index += 1;
        Ok(Some(value))
    }
}

impl<'a, 'de> Members<'a, 'de> {
    pub(super) fn new(reader: &'a mut Reader<'de>) -> Self {
        Self { reader, key: None, is_first: true, has_ended: false }
    }

    /// Checks that no member is left.
    pub(super) fn end(self) -> Result<(), JsonError> {
        if self.has_ended || self.reader.scanner.next_is(b'}') {
            return Ok(());
        }
        Err(JsonError::custom("the object has too many members"))
    }

    /// Reads a key and the colon behind it.
    fn read_key(&mut self) -> Result<Option<Text<'de>>, JsonError> {
        let scanner = &mut self.reader.scanner;
        if scanner.next_is(b'}') {
            self.has_ended = true;
            return Ok(None);
        }
        if !self.is_first && !scanner.next_is(b',') {
            return Err(JsonError::unexpected(scanner.next()?.kind(), &"`,` or `}`"));
        }
        self.is_first = false;
        let key = match scanner.next()? {
            Token::String(key) => key,
            other => return Err(JsonError::unexpected(other.kind(), &"a key")),
        };
        match scanner.next()? {
            Token::Colon => Ok(Some(key)),
            other => Err(JsonError::unexpected(other.kind(), &"`:`").within_key(key.as_str())),
        }
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        let Some(key) = self.read_key()? else { return Ok(None) };
        let value = seed_from_text(seed, &key).map_err(|error| error.within_key(key.as_str()))?;
        self.key = Some(key);
        Ok(Some(value))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, JsonError> {
        let value = seed.deserialize(&mut *self.reader);
        value.map_err(|error| match &self.key {
            Some(key) => error.within_key(key.as_str()),
            None => error,
        })
    }
}

fn seed_from_text<'de, S: DeserializeSeed<'de>>(seed: S, text: &Text<'de>) -> Result<S::Value, JsonError> {
    match text {
        Text::Borrowed(text) => seed.deserialize(BorrowedStrDeserializer::new(text)),
        Text::Owned(text) => seed.deserialize(StringDeserializer::new(text.clone())),
    }
}

impl<'de> EnumAccess<'de> for UnitVariant<'de> {
    type Error = JsonError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), JsonError> {
        Ok((seed_from_text(seed, &self.0)?, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant<'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, JsonError> {
        Err(JsonError::unexpected("a string", &"an object with a value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, JsonError> {
        Err(JsonError::unexpected("a string", &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        Err(JsonError::unexpected("a string", &visitor))
    }
}

impl<'de> EnumAccess<'de> for TaggedVariant<'_, '_, 'de> {
    type Error = JsonError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), JsonError> {
        let mut members = &mut *self.0;
        match members.next_key_seed(seed)? {
            Some(variant) => Ok((variant, self)),
            None => Err(JsonError::unexpected("an empty object", &"the name of a variant")),
        }
    }
}

impl<'de> VariantAccess<'de> for TaggedVariant<'_, '_, 'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        let mut members = self.0;
        members.next_value()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, JsonError> {
        let mut members = self.0;
        members.next_value_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, JsonError> {
        Err(JsonError::unexpected("an array", &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let mut members = self.0;
        members.next_value_seed(Fields(visitor))
    }
}

/// Reads an object with a visitor.
struct Fields<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Fields<V> {
    type Value = V::Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(self.0)
    }
}
