//! Names and values that a filter may write.

use bytes::Bytes;

/// A field name that a filter may set: a token (RFC 9110 §5.6.2) in lower case that frames nothing, is not
/// hop-by-hop, and does not describe the hops before the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldName(Bytes);

/// A field value without CR, LF, NUL and surrounding white space (RFC 9110 §5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldValue(Bytes);

/// Why a text is no name or value that a filter may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The name is not a token.
    #[error("the name is not a token")]
    Name,
    /// Only the gateway itself writes this field.
    #[error("only the gateway writes this field")]
    Reserved,
    /// The value has a control character, or white space at an end.
    #[error("the value has a control character, or white space at an end")]
    Value,
}

impl FieldName {
    /// Parses a name and folds it to lower case.
    ///
    /// # Errors
    /// [`FieldError::Name`] or [`FieldError::Reserved`].
    pub fn parse(name: &str) -> Result<Self, FieldError> {
        if !api::policy::is_field_name(name) {
            return Err(FieldError::Name);
        }
        if api::policy::is_reserved_field(name) {
            return Err(FieldError::Reserved);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// Names one of the fields that the gateway's own filters write. `name` is in lower case and not reserved.
    pub(crate) const fn from_static(name: &'static str) -> Self {
        Self(Bytes::from_static(name.as_bytes()))
    }

    /// Returns the name in lower case.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Is this the name, in any case?
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl FieldValue {
    /// Parses a value.
    ///
    /// # Errors
    /// [`FieldError::Value`].
    pub fn parse(value: impl Into<Bytes>) -> Result<Self, FieldError> {
        let value = value.into();
        let is_valid = api::policy::is_field_value(&value);
        is_valid.then_some(Self(value)).ok_or(FieldError::Value)
    }

    /// Returns a value that is known to be valid.
    pub(crate) const fn from_static(value: &'static str) -> Self {
        Self(Bytes::from_static(value.as_bytes()))
    }

    /// Returns the value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_that_are_not_reserved() {
        for (name, expected) in [
            ("X-Team", Ok("x-team")),
            ("Server", Ok("server")),
            ("", Err(FieldError::Name)),
            ("a b", Err(FieldError::Name)),
            (":path", Err(FieldError::Name)),
            ("Transfer-Encoding", Err(FieldError::Reserved)),
            ("Content-Length", Err(FieldError::Reserved)),
            ("connection", Err(FieldError::Reserved)),
            ("X-Forwarded-Prefix", Err(FieldError::Reserved)),
            ("host", Err(FieldError::Reserved)),
        ] {
            let parsed = FieldName::parse(name);
            let text = parsed.as_ref().map(|name| str::from_utf8(name.as_bytes()).unwrap());
            assert_eq!(text.map_err(|error| *error), expected, "{name}");
        }
    }

    #[test]
    fn values_hold_no_line_end() {
        for (value, is_valid) in
            [("a, b", true), ("", true), ("é", true), ("a\r\nb: c", false), (" a", false)]
        {
            assert_eq!(FieldValue::parse(value.to_owned()).is_ok(), is_valid, "{value:?}");
        }
    }
}
