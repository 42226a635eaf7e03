//! `requestHeaders` and `responseHeaders`: edits of header fields.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::field::{is_field_name, is_field_value, is_reserved_field};

/// Edits of header fields, as HTTPRoute's `RequestHeaderModifier`: first `remove`, then `set`, then `add`.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderEdits {
    /// Fields to write in place of all fields of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<HeaderField>>,
    /// Fields to write besides those of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<HeaderField>>,
    /// Names of fields to drop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<Vec<String>>,
}

/// A field name and a value.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderField {
    /// The name, in any case.
    pub name: String,
    /// The value.
    pub value: String,
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

impl HeaderEdits {
    /// Is nothing to edit?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the entries of `set` or `add` that cannot be honoured.
    pub fn field_faults(fields: &[HeaderField]) -> Vec<Fault> {
        let faults = fields.iter().enumerate().filter_map(|(index, field)| {
            let name = name_fault(&field.name).map(|message| Fault::entry(index, ".name", message));
            let value = (!is_field_value(field.value.as_bytes())).then(|| {
                let message = format!(
                    "the value of {} has a control character, or white space at an end: remove it",
                    field.name.escape_debug()
                );
                Fault::entry(index, ".value", message)
            });
            name.or(value)
        });
        faults.collect()
    }

    /// Returns the entries of `remove` that cannot be honoured.
    pub fn name_faults(names: &[String]) -> Vec<Fault> {
        let faults = names.iter().enumerate();
        faults.filter_map(|(index, name)| Some(Fault::entry(index, "", name_fault(name)?))).collect()
    }
}

fn name_fault(name: &str) -> Option<String> {
    let shown = name.escape_debug();
    if !is_field_name(name) {
        return Some(format!("{shown} is not a field name: write letters, digits and `-`, such as X-Team"));
    }
    is_reserved_field(name).then(|| {
        format!(
            "only the gateway writes {shown}, as all fields that frame a message or describe its way: remove this entry"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_place() {
        let field = |name: &str, value: &str| HeaderField { name: name.to_owned(), value: value.to_owned() };
        let fields =
            [field("X-Team", "shop"), field("Content-Length", "1"), field("a b", "1"), field("x", "a\nb")];
        let places: Vec<_> =
            HeaderEdits::field_faults(&fields).into_iter().map(|fault| fault.place()).collect();
        assert_eq!(places, ["[1].name", "[2].name", "[3].value"]);
        let names = ["server".to_owned(), "te".to_owned()];
        let places: Vec<_> =
            HeaderEdits::name_faults(&names).into_iter().map(|fault| fault.place()).collect();
        assert_eq!(places, ["[1]"]);
    }
}
