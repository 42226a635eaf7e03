//! Configurations of plugins: any JSON value, and the text that the plugin receives.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Serialize;

/// The configuration of a plugin. It is opaque to the gateway.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PluginConfig(pub serde_json::Value);

impl PluginConfig {
    /// Returns the text for the plugin: a string as it is, every other value as compact JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            serde_json::Value::String(text) => Cow::Borrowed(text),
            value => Cow::Owned(value.to_string()),
        }
    }
}

impl JsonSchema for PluginConfig {
    fn schema_name() -> Cow<'static, str> {
        "PluginConfig".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}
