//! The subset of Gateway API's `HTTPRoute` spec that routing compiles through, field names as there.
//!
//! Not here: metadata, parents and status. Provenance rides beside these types, not in them.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;

/// Hosts, and what happens to requests for them (`HTTPRouteSpec`).
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRoute {
    /// DNS names in lower case, without port.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// What may match. Precedence comes from the matches, not from the order.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// Matches and where matching requests go (`HTTPRouteRule`).
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteRule {
    /// A request is taken if any of these holds.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// Where requests go, by weight. None at all: the rule matches, but nothing can serve it.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
}

/// One condition on a request (`HTTPRouteMatch`).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteMatch {
    /// What the path has to look like.
    pub path: HttpPathMatch,
}

/// A condition on the path (`HTTPPathMatch`).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPathMatch {
    /// How `value` is compared.
    #[serde(rename = "type")]
    pub kind: PathMatchType,
    /// An absolute path. Shared: of 100,000 Ingresses most have the same few paths.
    pub value: Arc<str>,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PathMatchType {
    /// The whole path is equal, case-sensitively.
    Exact,
    /// The first path elements are equal, case-sensitively.
    PathPrefix,
}

/// A Service port that serves a rule (`HTTPBackendRef`); its namespace is the route's own.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpBackendRef {
    /// The Service's name. Shared, as paths are.
    pub name: Arc<str>,
    /// The Service's port.
    pub port: Port,
    /// The share of requests, relative to the sum of all weights of the rule; 0 takes none.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// How a backend names a Service port. Gateway API knows numbers only; names are our extension, for Ingress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Port {
    /// The name of the Service port.
    Name(Arc<str>),
    /// The number of the Service port.
    Number(NonZeroU16),
}

// ===== impl Port =====

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Number(number) => serializer.serialize_u16(number.get()),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "minLength": 1 },
            ],
            "x-kubernetes-int-or-string": true,
        })
    }
}

/// Reads a number or a string. Written out because serde's `untagged` loses the reason of a failure.
struct PortVisitor;

impl de::Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port number from 1 to 65535 or the name of a Service port")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
        u16::try_from(number)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Port::Number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Port, E> {
        if name.is_empty() {
            return Err(E::invalid_value(de::Unexpected::Str(name), &self));
        }
        Ok(Port::Name(name.into()))
    }
}
