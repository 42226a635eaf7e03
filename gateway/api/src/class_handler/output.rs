//! What a handler writes: routes and policies, verdicts on annotations, and the objects that it still needs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::http_route::HttpRoute;
use crate::http_route::HttpRouteRule;
use crate::route_policy::RoutePolicySpec;
use crate::route_policy::TargetKind;
use crate::route_policy::TargetRef;

use super::input::ClassIngress;
use super::input::ListKind;
use super::input::ListVersion;

/// The output of one call: a `ResourceList`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassOutput {
    /// `config.kubernetes.io/v1`.
    #[serde(default)]
    pub api_version: ListVersion,
    /// `ResourceList`.
    #[serde(default)]
    pub kind: ListKind,
    /// Routes and policies. Each comes from one Ingress of the input, and is in its namespace.
    #[serde(default)]
    pub items: Vec<EmittedItem>,
    /// One entry for each annotation of the dialect on each Ingress of the input.
    #[serde(default)]
    pub results: Vec<AnnotationResult>,
    /// Objects that the handler needs. If one was not in the input, the gateway adds it and calls again; then only the
    /// output of the last call counts. At most three calls are made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<Requirement>,
}

/// An object that a handler emits.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind")]
pub enum EmittedItem {
    /// Routes of one Ingress on the host.
    #[serde(rename = "HTTPRoute")]
    HttpRoute(EmittedRoute),
    /// Settings of routes of one Ingress on the host.
    RoutePolicy(Box<EmittedPolicy>),
}

/// Routes of one Ingress.
///
/// Each rule for a path of the Ingress has the name of [`super::rule_name`]. A path without such a rule, and
/// without a result that names it, is closed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmittedRoute {
    /// `gateway.networking.k8s.io/v1`.
    #[serde(default = "route_version")]
    pub api_version: String,
    /// Name and source.
    pub metadata: EmittedMetadata,
    /// Rules. Empty `hostnames`: the host of the call. Other hosts are served only if no Ingress rule names them.
    pub spec: HttpRoute,
}

/// Settings of routes of one Ingress.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmittedPolicy {
    /// `wasm-gateway.dev/v1alpha1`.
    #[serde(default = "policy_version")]
    pub api_version: String,
    /// Name and source.
    pub metadata: EmittedMetadata,
    /// Settings. They apply to the host of the call alone. Each target must be the source Ingress.
    pub spec: RoutePolicySpec,
}

impl EmittedPolicy {
    /// Adds the Ingress as the target, if the handler names none.
    pub fn set_default_target(&mut self, ingress: &str) {
        if self.spec.target_refs.is_empty() {
            self.spec.target_refs.push(TargetRef {
                group: "networking.k8s.io".to_owned(),
                kind: TargetKind::Ingress,
                name: ingress.to_owned(),
                host: None,
                path: None,
            });
        }
    }
}

/// Metadata of an object that a handler emits.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EmittedMetadata {
    /// Namespace of the source Ingress.
    pub namespace: String,
    /// Name. Unique among the items of one kind.
    pub name: String,
    /// [`super::SOURCE_INGRESS_ANNOTATION`] and [`super::SOURCE_KEYS_ANNOTATION`].
    pub annotations: BTreeMap<String, String>,
}

/// An Ingress of the input.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IngressRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The verdict on an annotation, or on a path that needs no rule of its own.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnnotationResult {
    /// The Ingress.
    pub ingress: IngressRef,
    /// Key of the annotation. Absent if the result is about `rule` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
    /// A path, as [`super::rule_name`]. Without `annotation`: another route serves its requests, so that it needs no rule.
    /// With one: only this path is closed, if any is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The verdict.
    pub verdict: AnnotationVerdict,
    /// How it differs, why it has no effect, or what is wrong with it. Empty for [`AnnotationVerdict::Exact`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether requests get a 503, because the annotation restricts access and is not honoured.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closes: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// How far an annotation is honoured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum AnnotationVerdict {
    /// As its own controller honours it.
    #[default]
    Exact,
    /// With a difference, which the message names.
    Differs,
    /// Not at all. It has no effect here.
    Ignored,
    /// Not at all. Its value is invalid, or what it asks for is not supported.
    Refused,
}

/// An object that a handler needs.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Kind.
    pub kind: RequirementKind,
    /// Namespace. It must be that of an Ingress of the input.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Kinds that a handler can require.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RequirementKind {
    /// A ConfigMap, with its text.
    ConfigMap,
    /// A Secret: whether it exists.
    Secret,
}

fn route_version() -> String {
    "gateway.networking.k8s.io/v1".to_owned()
}

fn policy_version() -> String {
    format!("{}/{}", crate::GROUP, crate::VERSION)
}

// ===== impl ClassOutput =====

impl ClassOutput {
    /// Adds routes of an Ingress, for the host of the call, unless there are none. `keys` are the annotations that shaped
    /// them.
    pub fn route(&mut self, ingress: &ClassIngress, rules: Vec<HttpRouteRule>, keys: &[&str]) {
        if rules.is_empty() {
            return;
        }
        let metadata = self.metadata(ingress, keys);
        let spec = HttpRoute { hostnames: Vec::new(), rules };
        let route = EmittedRoute { api_version: route_version(), metadata, spec };
        self.items.push(EmittedItem::HttpRoute(route));
    }

    /// Adds settings of the routes of an Ingress on the host of the call. `keys` are the annotations that they come from.
    /// Without `targetRefs`, they apply to all of these routes.
    pub fn policy(&mut self, ingress: &ClassIngress, spec: RoutePolicySpec, keys: &[&str]) {
        let metadata = self.metadata(ingress, keys);
        let policy = EmittedPolicy { api_version: policy_version(), metadata, spec };
        self.items.push(EmittedItem::RoutePolicy(Box::new(policy)));
    }

    /// Adds the verdict on an annotation.
    pub fn result(
        &mut self,
        ingress: &ClassIngress,
        key: &str,
        verdict: AnnotationVerdict,
        message: impl Into<String>,
    ) -> &mut AnnotationResult {
        self.results.push_mut(AnnotationResult {
            ingress: IngressRef::from(ingress),
            annotation: Some(key.to_owned()),
            verdict,
            message: message.into(),
            ..AnnotationResult::default()
        })
    }

    /// Adds that a path needs no rule of its own, because another route serves its requests.
    pub fn absorbed(&mut self, ingress: &ClassIngress, rule: &str) {
        let (ingress, rule) = (IngressRef::from(ingress), Some(rule.to_owned()));
        self.results.push(AnnotationResult { ingress, rule, ..AnnotationResult::default() });
    }

    /// Requires an object.
    pub fn require(&mut self, kind: RequirementKind, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.requirements.push(Requirement { kind, namespace, name });
    }

    fn metadata(&self, ingress: &ClassIngress, keys: &[&str]) -> EmittedMetadata {
        let from = &ingress.metadata;
        let mut annotations =
            BTreeMap::from([(super::SOURCE_INGRESS_ANNOTATION.to_owned(), from.name.clone())]);
        if !keys.is_empty() {
            annotations.insert(super::SOURCE_KEYS_ANNOTATION.to_owned(), keys.join(","));
        }
        let name = format!("{}-{}", from.name, self.items.len());
        EmittedMetadata { namespace: from.namespace.clone(), name, annotations }
    }
}

impl From<&ClassIngress> for IngressRef {
    fn from(ingress: &ClassIngress) -> Self {
        let from = &ingress.metadata;
        Self { namespace: from.namespace.clone(), name: from.name.clone() }
    }
}

// ===== impl AnnotationResult =====

impl AnnotationResult {
    /// Lets the annotation close all paths of its Ingress on the host.
    pub fn close(&mut self) -> &mut Self {
        self.closes = true;
        self
    }

    /// Limits the closing to one path.
    pub fn at(&mut self, rule: &str) -> &mut Self {
        self.rule = Some(rule.to_owned());
        self
    }
}

// ===== impl EmittedMetadata =====

impl EmittedMetadata {
    /// Returns the name of the source Ingress.
    pub fn source_ingress(&self) -> Option<&str> {
        self.annotations.get(super::SOURCE_INGRESS_ANNOTATION).map(String::as_str)
    }

    /// Returns the keys of the annotations that the item comes from.
    pub fn source_keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.annotations.get(super::SOURCE_KEYS_ANNOTATION).map(String::as_str);
        keys.into_iter().flat_map(|keys| keys.split(',')).map(str::trim).filter(|key| !key.is_empty())
    }
}
