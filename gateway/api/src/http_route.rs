//! Subset of Gateway API's `HTTPRoute` spec that routing compiles, with the same field names.
//!
//! Not here: metadata, parents, status and provenance. `routing` keeps the provenance beside these types.

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

use crate::method::Method;
use crate::policy::HeaderEdits;
use crate::policy::Redirect;
use crate::policy::RedirectScheme;
use crate::policy::RedirectStatus;

/// Host names and the rules for their requests (`HTTPRouteSpec`).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRoute {
    /// Lower-case DNS names without port.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Rules. The matches decide their precedence, not the order of this list.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// Matches, and the backends of matching requests (`HTTPRouteRule`).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteRule {
    /// Name, unique among the rules of a route. That of a class handler names the path of an Ingress that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Conditions. A request matches the rule if it meets at least one.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// Edits and redirects of matching requests. They precede the same fields of a RoutePolicy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Weighted backends. If empty, matching requests get a 503.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
}

/// A condition on a request (`HTTPRouteMatch`). A request must meet all parts.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteMatch {
    /// Condition on the path. By default the prefix `/`, which all paths have.
    #[serde(default)]
    pub path: HttpPathMatch,
    /// Conditions on header fields. Names are compared without case. Of entries with one name only the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpValueMatch>,
    /// Conditions on query parameters. Of entries with one name only the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HttpValueMatch>,
    /// The method. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

impl HttpRouteMatch {
    /// Creates a condition on the path alone.
    pub const fn path(path: HttpPathMatch) -> Self {
        Self { path, headers: Vec::new(), query_params: Vec::new(), method: None }
    }
}

/// A condition on the path (`HTTPPathMatch`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPathMatch {
    /// Comparison of `value` with the request path.
    #[serde(rename = "type")]
    pub kind: PathMatchType,
    /// Absolute path, or regular expression. Shared, because most of 100,000 Ingresses have the same few paths.
    pub value: Arc<str>,
}

impl Default for HttpPathMatch {
    fn default() -> Self {
        Self { kind: PathMatchType::PathPrefix, value: "/".into() }
    }
}

/// Comparison of a path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum PathMatchType {
    /// The whole path is equal. Case matters.
    Exact,
    /// The first path elements are equal. Case matters.
    PathPrefix,
    /// The regular expression occurs in the canonical path. `^` and `$` are the ends of the path. Syntax of the Rust
    /// crate `regex`, without Unicode classes. Look-around, back references, and possessive or atomic groups are errors.
    RegularExpression,
}

/// A condition on the value of a header field or a query parameter (`HTTPHeaderMatch`, `HTTPQueryParamMatch`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpValueMatch {
    /// Comparison of `value` with that of the request.
    #[serde(default, rename = "type")]
    pub kind: ValueMatchType,
    /// Name of the field or the parameter.
    pub name: Arc<str>,
    /// Value, or regular expression.
    pub value: Arc<str>,
}

/// Comparison of a value.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum ValueMatchType {
    /// The values are equal. Case matters.
    #[default]
    Exact,
    /// The regular expression occurs in the value, as for [`PathMatchType::RegularExpression`].
    RegularExpression,
}

/// An edit or a redirect of requests (`HTTPRouteFilter`). The field with the name of the type must be set.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteFilter {
    /// The type.
    #[serde(rename = "type")]
    pub kind: HttpRouteFilterType,
    /// Edits of the fields that endpoints receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HeaderEdits>,
    /// Edits of the fields that clients receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderEdits>,
    /// Redirect of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<HttpRequestRedirect>,
}

/// Types of filters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each is the name of a field of `HttpRouteFilter`")]
pub enum HttpRouteFilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestRedirect,
}

/// Redirect of the client (`HTTPRequestRedirectFilter`).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRequestRedirect {
    /// The scheme of the target. Absent: that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<RedirectScheme>,
    /// The host of the target. Absent: that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path of the target. Absent: that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
    /// The port of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// The status. Absent: 302.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<RedirectStatus>,
}

/// A new path (`HTTPPathModifier`). `ReplacePrefixMatch` is not supported.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum HttpPathModifier {
    /// Replaces the whole path. The query stays.
    ReplaceFullPath {
        /// The new path.
        replace_full_path: String,
    },
}

impl From<&HttpRequestRedirect> for Redirect {
    fn from(from: &HttpRequestRedirect) -> Self {
        let path = from
            .path
            .as_ref()
            .map(|HttpPathModifier::ReplaceFullPath { replace_full_path }| replace_full_path.clone());
        Self {
            scheme: from.scheme,
            host: from.hostname.clone(),
            port: from.port,
            path,
            status: from.status_code,
            ..Self::default()
        }
    }
}

/// A Service port that serves a rule (`HTTPBackendRef`), in the namespace of the route.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpBackendRef {
    /// Name of the Service. Shared, as paths are.
    pub name: Arc<str>,
    /// Port of the Service.
    pub port: Port,
    /// Share of requests, relative to the sum of all weights of the rule. 0 receives none.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// A Service port, by name or by number. Gateway API has numbers only; Ingress needs the names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Port {
    /// Name of the Service port.
    Name(Arc<str>),
    /// Number of the Service port.
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

/// Reads a number or a string. serde's `untagged` would lose the reason of a failure.
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
