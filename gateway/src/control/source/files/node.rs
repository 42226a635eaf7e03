//! A YAML document as a tree of nodes with lines, and a `serde` deserializer for it.
//!
//! Deserializing Kubernetes types from this tree yields line and field of an error, and the unknown fields. The types
//! themselves report no position and ignore unknown fields. Not here: parsing (`yaml`), and which type a document has
//! (`document`).

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::Spanned;

use crate::control::source::location::{FieldLines, FieldPathHash};

/// Maximum errors of one document that are reported.
const MAX_ERRORS: usize = 20;

/// A value and its first line, from 1.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// A YAML value. Scalars have the same types as in `kubectl`: an unquoted `true` is no string.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(Box<str>),
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

/// One entry of a map.
#[derive(Debug)]
pub(crate) struct MapEntry {
    pub(crate) key: Box<str>,
    /// The line of the key, from 1.
    pub(crate) line: u64,
    pub(crate) value: Node,
}

/// An error in a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    /// From 1; `None` if it is unknown.
    pub(crate) line: Option<u64>,
    /// The field path; empty for the whole document.
    pub(super) field: String,
    pub(super) message: String,
}

impl ParseError {
    /// Returns an error without a field.
    pub(super) fn new(line: Option<u64>, message: String) -> Self {
        Self { line, field: String::new(), message }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

impl de::Error for ParseError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(None, message.to_string())
    }
}

/// A value of a type, and the fields of the document that the type does not have.
#[derive(Debug)]
pub(super) struct Deserialized<T> {
    pub(super) value: T,
    pub(super) unknown_fields: Vec<UnknownField>,
}

/// A field that the type does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownField {
    pub(super) field: String,
    pub(super) line: u64,
}

// ===== impl Node =====

impl Node {
    /// Deserializes a type, and returns the fields that it does not have.
    ///
    /// # Errors
    /// Returns the first value of the wrong type, with its field and line.
    pub(super) fn deserialize_as<T: DeserializeOwned>(&self) -> Result<Deserialized<T>, ParseError> {
        self.deserialize_without(&[])
    }

    /// Deserializes a Secret. Line breaks in its base64 values are left out, as the API server does.
    ///
    /// # Errors
    /// As [`Node::deserialize_as`].
    pub(super) fn deserialize_secret<T: DeserializeOwned>(&self) -> Result<Deserialized<T>, ParseError> {
        self.deserialize_with(&[], DataText::Base64)
    }

    /// Returns all values of the wrong type, each with its field and line: the first one is left out, then the next.
    pub(super) fn type_errors<T: DeserializeOwned>(&self) -> Vec<ParseError> {
        let (mut skipped, mut errors) = (Vec::new(), Vec::new());
        while errors.len() < MAX_ERRORS
            && let Err(error) = self.deserialize_without::<T>(&skipped)
        {
            // A part of a list or of a required field cannot be left out: another error would follow from that.
            let follows = skipped
                .iter()
                .any(|field: &String| is_within(field, &error.field) || is_within(&error.field, field));
            if follows || error.field.is_empty() {
                break;
            }
            skipped.push(error.field.clone());
            errors.push(error);
        }
        errors
    }

    fn deserialize_without<T: DeserializeOwned>(
        &self,
        skipped: &[String],
    ) -> Result<Deserialized<T>, ParseError> {
        self.deserialize_with(skipped, DataText::AsWritten)
    }

    fn deserialize_with<T: DeserializeOwned>(
        &self,
        skipped: &[String],
        data_text: DataText,
    ) -> Result<Deserialized<T>, ParseError> {
        let unknown_fields = RefCell::default();
        let value = T::deserialize(NodeDeserializer {
            node: self,
            line: self.line,
            path: FieldPath::Root,
            unknown_fields: &unknown_fields,
            skipped,
            data_text,
        })?;
        Ok(Deserialized { value, unknown_fields: unknown_fields.into_inner() })
    }

    /// Returns the entry of a key. Returns `None` if this is no map or has no such key.
    pub(super) fn get(&self, key: &str) -> Option<&MapEntry> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| &*entry.key == key)
    }

    /// Returns the string of a key. Returns `None` if this is no map, or the key is missing or no string.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let Value::Text(text) = &self.get(key)?.value.value else { return None };
        Some(text)
    }

    /// Returns the line of a field path such as `spec.rules[0].host`, or of its deepest existing prefix.
    pub(super) fn line_of(&self, path: &str) -> u64 {
        self.lines().find(path).map_or(self.line, u64::from)
    }

    /// Returns the lines of all fields.
    pub(super) fn lines(&self) -> FieldLines {
        let mut lines = Vec::new();
        self.collect_lines(self.line, FieldPathHash::ROOT, &mut lines);
        FieldLines::new(lines)
    }

    /// Collects the lines of all fields below `path`, which is on line `parent`.
    fn collect_lines(&self, parent: u64, path: FieldPathHash, lines: &mut Vec<(FieldPathHash, u32)>) {
        let mut collect = |line: u64, path: FieldPathHash, child: &Self| {
            if line != parent {
                lines.push((path, u32::try_from(line).unwrap_or(u32::MAX)));
            }
            child.collect_lines(line, path, lines);
        };
        match &self.value {
            Value::List(items) => {
                let items = items.iter().enumerate();
                items.for_each(|(index, item)| collect(item.line, path.child(&index.to_string()), item));
            }
            Value::Map(entries) => {
                entries.iter().for_each(|entry| collect(entry.line, path.child(&entry.key), &entry.value));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Signed(_)
            | Value::Unsigned(_)
            | Value::Float(_)
            | Value::Text(_) => {}
        }
    }

    /// Returns the bytes of all keys and strings.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.value {
            Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(Self::text_bytes).sum(),
            Value::Map(entries) => {
                entries.iter().map(|entry| entry.key.len() + entry.value.text_bytes()).sum()
            }
            Value::Null | Value::Bool(_) | Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) => 0,
        }
    }
}

impl<'de> de::Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> de::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<Box<str>>>()? {
            let line = key.referenced.line();
            entries.push(MapEntry { key: key.value, line, value: access.next_value()? });
        }
        Ok(Value::Map(entries))
    }
}

/// Returns true if a field path is another one, or below it.
fn is_within(field: &str, ancestor: &str) -> bool {
    field.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

// ===== deserializer =====

/// The path of a node, as a list up to the root. It is formatted only if an error occurs.
#[derive(Clone, Copy)]
enum FieldPath<'a> {
    Root,
    Key(&'a FieldPath<'a>, &'a str),
    Index(&'a FieldPath<'a>, usize),
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) if key.contains(['.', '/']) => write!(f, "{parent}[{key}]"),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'a> {
    node: &'a Node,
    /// The line for errors: the line of the key, if there is one.
    line: u64,
    path: FieldPath<'a>,
    unknown_fields: &'a RefCell<Vec<UnknownField>>,
    /// Paths of map entries that are treated as absent.
    skipped: &'a [String],
    data_text: DataText,
}

/// How the texts below `data` are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataText {
    AsWritten,
    /// Without line breaks.
    Base64,
}

impl NodeDeserializer<'_> {
    fn is_base64(self) -> bool {
        let is_in_data = matches!(self.path, FieldPath::Key(FieldPath::Key(FieldPath::Root, "data"), _));
        self.data_text == DataText::Base64 && is_in_data
    }

    /// Adds line and field to an error that has none yet. The innermost node adds them first.
    fn with_position(self, mut error: ParseError) -> ParseError {
        if error.line.is_none() {
            error.line = Some(self.line);
            error.field = self.path.to_string();
        }
        error
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = ParseError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParseError> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) if self.is_base64() && value.contains(['\r', '\n']) => {
                visitor.visit_string(value.replace(['\r', '\n'], ""))
            }
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => {
                visitor.visit_seq(SeqItems { parent: self, items: items.iter().enumerate() })
            }
            Value::Map(entries) => {
                visitor.visit_map(MapEntries { parent: self, entries: entries.iter(), entry: None })
            }
        };
        result.map_err(|error| self.with_position(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParseError> {
        if matches!(self.node.value, Value::Null) {
            return visitor.visit_none();
        }
        visitor.visit_some(self).map_err(|error| self.with_position(error))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ParseError> {
        visitor.visit_newtype_struct(self).map_err(|error| self.with_position(error))
    }

    /// Supports enums without data only: no kind has others.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParseError> {
        let Value::Text(word) = &self.node.value else { return self.deserialize_any(visitor) };
        let word: de::value::StrDeserializer<'_, ParseError> = de::value::StrDeserializer::new(word);
        visitor.visit_enum(word).map_err(|error| self.with_position(error))
    }

    /// Kubernetes types call this for unknown keys only.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParseError> {
        self.unknown_fields.borrow_mut().push(UnknownField { field: self.path.to_string(), line: self.line });
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct SeqItems<'a> {
    parent: NodeDeserializer<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for SeqItems<'_> {
    type Error = ParseError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ParseError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = FieldPath::Index(&self.parent.path, index);
        seed.deserialize(NodeDeserializer { node, line: node.line, path, ..self.parent }).map(Some)
    }
}

struct MapEntries<'a> {
    parent: NodeDeserializer<'a>,
    entries: std::slice::Iter<'a, MapEntry>,
    /// The entry whose key was read, and whose value is next.
    entry: Option<&'a MapEntry>,
}

impl<'de> de::MapAccess<'de> for MapEntries<'_> {
    type Error = ParseError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ParseError> {
        let Self { parent, entries, .. } = self;
        let is_skipped = |entry: &&MapEntry| {
            // Formats a path only after a first error.
            !parent.skipped.is_empty()
                && parent.skipped.contains(&FieldPath::Key(&parent.path, &entry.key).to_string())
        };
        self.entry = entries.find(|entry| !is_skipped(entry));
        let Some(entry) = self.entry else { return Ok(None) };
        // Types with `deny_unknown_fields` return their error here.
        let path = FieldPath::Key(&self.parent.path, &entry.key);
        let deserializer = NodeDeserializer { node: &entry.value, line: entry.line, path, ..self.parent };
        seed.deserialize(de::value::StrDeserializer::new(&entry.key))
            .map(Some)
            .map_err(|error| deserializer.with_position(error))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ParseError> {
        let Some(entry) = self.entry.take() else {
            return Err(de::Error::custom("value requested before its key"));
        };
        let path = FieldPath::Key(&self.parent.path, &entry.key);
        seed.deserialize(NodeDeserializer { node: &entry.value, line: entry.line, path, ..self.parent })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;

    use super::*;

    fn parse(text: &str) -> Node {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn unknown_fields_have_path_and_line_of_the_key() {
        let text = "kind: Ingress\nspec:\n  rules:\n  - host: a\n    http:\n      path:\n        x: 1\n      paths: []\nextra: 1\n";
        let Deserialized { unknown_fields, .. } = parse(text).deserialize_as::<Ingress>().unwrap();
        let expected = [("spec.rules[0].http.path", 6), ("extra", 9)];
        assert_eq!(
            unknown_fields,
            expected.map(|(field, line)| UnknownField { field: field.to_owned(), line })
        );
    }

    #[test]
    fn wrong_types_have_path_and_line() {
        let error =
            parse("kind: Ingress\nspec:\n  rules:\n  - host: 5\n").deserialize_as::<Ingress>().unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (Some(4), "spec.rules[0].host"));
        assert_eq!(error.message, "invalid type: integer `5`, expected a string");
        let error = parse("metadata:\n  annotations:\n    example.com/a: true\n")
            .deserialize_as::<Ingress>()
            .unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (Some(3), "metadata.annotations[example.com/a]"));
    }

    #[test]
    fn all_wrong_types_of_a_document_are_found() {
        let text = "metadata: {name: 1}\nspec:\n  rules:\n  - host: 5\n    http: {paths: [{path: 1, pathType: 2}]}\n  - host: 6\n";
        let errors = parse(text).type_errors::<Ingress>();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let path = "spec.rules[0].http.paths[0]";
        let expected =
            ["metadata.name", "spec.rules[0].host", &format!("{path}.path"), &format!("{path}.pathType")];
        assert_eq!(fields[..4], expected, "{fields:?}");
        assert!(fields.contains(&"spec.rules[1].host"), "{fields:?}");
        assert!(parse("metadata: {name: a}").type_errors::<Ingress>().is_empty());
    }

    #[test]
    fn line_of_a_field_path_is_found() {
        let node = parse("metadata:\n  annotations:\n    b.c/d: x\nspec:\n  ports:\n  - a: 1\n  - a: 2\n");
        assert_eq!(node.line_of("metadata.annotations[b.c/d]"), 3);
        assert_eq!(node.line_of("spec.ports[1].a"), 7);
        assert_eq!(node.line_of("spec.ports[9].a"), 5);
        assert_eq!(node.line_of(""), 1);
    }

    #[test]
    fn null_is_an_absent_value() {
        let text = "metadata:\n  creationTimestamp: null\nspec: ~\n";
        let Deserialized { value, unknown_fields } = parse(text).deserialize_as::<Ingress>().unwrap();
        assert!(value.spec.is_none() && unknown_fields.is_empty());
    }
}
