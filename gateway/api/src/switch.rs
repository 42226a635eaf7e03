//! A switch of a spec, written as `on` or `off`.

use std::fmt;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error;
use serde::de::Visitor;

/// A switch. YAML 1.1, which kubectl reads, has `on` and `off` as booleans. YAML 1.2, which files are read as, has them
/// as texts. Both are accepted, and the schema is a boolean.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Switch {
    /// `on` or `true`.
    #[default]
    On,
    /// `off` or `false`.
    Off,
}

impl Switch {
    /// Returns true for [`Switch::On`].
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl From<bool> for Switch {
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

impl Serialize for Switch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.is_on())
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchVisitor)
    }
}

struct SwitchVisitor;

impl Visitor<'_> for SwitchVisitor {
    type Value = Switch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on or off")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Switch, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Switch, E> {
        match value {
            "on" | "true" => Ok(Switch::On),
            "off" | "false" => Ok(Switch::Off),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }
}

impl JsonSchema for Switch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_is_read_as_boolean_or_word() {
        for (json, expected) in [
            ("true", Some(Switch::On)),
            ("\"on\"", Some(Switch::On)),
            ("false", Some(Switch::Off)),
            ("\"off\"", Some(Switch::Off)),
            ("\"no\"", None),
            ("1", None),
            ("null", None),
        ] {
            assert_eq!(serde_json::from_str(json).ok(), expected, "{json}");
        }
        assert_eq!(serde_json::to_string(&[Switch::On, Switch::Off]).unwrap(), "[true,false]");
    }
}
