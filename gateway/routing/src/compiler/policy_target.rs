//! Targets of RoutePolicies and WasmPlugins: an Ingress, one host or path of it, or an IngressClass.
//!
//! Not here: the objects that have targets (`policy_entry`, `plugin_entry`).

use std::sync::Arc;

use api::TargetKind;
use api::TargetRef;

use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::path;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::PathMatch;

/// API group of the kinds that can be targets.
const TARGET_GROUP: &str = "networking.k8s.io";

/// A valid target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyTarget {
    /// Field path within the object: `spec.targetRefs[0]`.
    pub(super) field: String,
    pub(super) scope: TargetScope,
}

/// The Routes that a target selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TargetScope {
    /// All Ingresses of a class.
    Class(Arc<str>),
    /// One Ingress, or only one host or path of it.
    Ingress { name: Name, host: Option<HostName>, path: Option<String> },
}

/// Host and path of a Route.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteCondition<'a> {
    pub(super) host: &'a HostName,
    pub(super) path: &'a PathMatch,
}

/// Why a target has no effect.
#[derive(Debug)]
pub(super) enum TargetError {
    /// The object does not exist.
    NotFound,
    /// No served class takes the object. Holds the reason as a clause.
    NotServed(String),
}

/// Why a target reference is invalid.
struct InvalidTarget {
    /// Field below the reference: `.host`.
    field: &'static str,
    reason: Reason,
    message: String,
}

/// The targets of an object, and the Problems of its invalid ones.
#[derive(Debug, Default)]
pub(super) struct ParsedTargets {
    pub(super) targets: Vec<PolicyTarget>,
    pub(super) problems: Vec<Problem>,
}

/// Creates a Problem of an object.
pub(super) fn problem(object: &ObjectRef, field: String, reason: Reason, message: String) -> Problem {
    Problem { object: object.clone(), field, reason, message }
}

/// Parses the targets of an object.
pub(super) fn parse(owner: &ObjectRef, references: &[TargetRef], own_namespace: &str) -> ParsedTargets {
    let mut parsed = ParsedTargets::default();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("spec.targetRefs[{index}]");
        match parse_scope(owner, reference, own_namespace) {
            Ok(scope) => parsed.targets.push(PolicyTarget { field, scope }),
            Err(InvalidTarget { field: below, reason, message }) => {
                parsed.problems.push(problem(owner, format!("{field}{below}"), reason, message));
            }
        }
    }
    parsed
}

/// Returns what users call objects of a kind, in the singular.
fn noun(kind: Kind) -> &'static str {
    if kind == Kind::WasmPlugin { "plugin" } else { "policy" }
}

fn plural(kind: Kind) -> &'static str {
    if kind == Kind::WasmPlugin { "plugins" } else { "policies" }
}

fn parse_scope(
    owner: &ObjectRef,
    from: &TargetRef,
    own_namespace: &str,
) -> Result<TargetScope, InvalidTarget> {
    if from.group != TARGET_GROUP {
        let message = format!(
            "group \"{}\" has no kind that a {} can target; write {TARGET_GROUP}",
            from.group.escape_debug(),
            noun(owner.kind)
        );
        return Err(InvalidTarget { field: ".group", reason: Reason::TargetNotFound, message });
    }
    match from.kind {
        TargetKind::IngressClass => parse_class_scope(owner, from, own_namespace),
        TargetKind::Ingress => parse_ingress_scope(owner, from),
    }
}

fn parse_class_scope(
    owner: &ObjectRef,
    from: &TargetRef,
    own_namespace: &str,
) -> Result<TargetScope, InvalidTarget> {
    if *owner.name.namespace != *own_namespace {
        let message = format!(
            "only {} in namespace {own_namespace} may target an IngressClass; move the {} there",
            plural(owner.kind),
            noun(owner.kind)
        );
        return Err(InvalidTarget { field: "", reason: Reason::NotPermitted, message });
    }
    if from.host.is_some() || from.path.is_some() {
        let message = "an IngressClass has no hosts and paths; target an Ingress instead".to_owned();
        return Err(InvalidTarget { field: "", reason: Reason::Unsupported, message });
    }
    Ok(TargetScope::Class(from.name.as_str().into()))
}

fn parse_ingress_scope(owner: &ObjectRef, from: &TargetRef) -> Result<TargetScope, InvalidTarget> {
    // No object has a slash in its name. It usually means an attempt to name a namespace.
    if let Some((namespace, _)) = from.name.split_once('/') {
        let message = format!(
            "an Ingress of namespace {} cannot be a target; a {} targets Ingresses of its own namespace",
            namespace.escape_debug(),
            noun(owner.kind)
        );
        return Err(InvalidTarget { field: ".name", reason: Reason::NotPermitted, message });
    }
    let host = from.host.as_deref().map(HostName::parse).transpose();
    let host = host.map_err(|error| InvalidTarget {
        field: ".host",
        reason: Reason::InvalidHost,
        message: error.to_string(),
    })?;
    let path = from.path.as_deref().map(path::rule_path).transpose();
    let path = path.map_err(|error| InvalidTarget {
        field: ".path",
        reason: Reason::InvalidPath,
        message: error.to_string(),
    })?;
    let name = Name { namespace: owner.name.namespace.clone(), name: from.name.as_str().into() };
    Ok(TargetScope::Ingress { name, host, path: path.map(|path| path.into_owned()) })
}

// ===== impl TargetScope =====

impl TargetScope {
    /// Returns true if the scope is of this Ingress or this class.
    pub(super) fn is_of(&self, ingress: Option<&Name>, class: Option<&Arc<str>>) -> bool {
        match self {
            Self::Class(name) => class == Some(name),
            Self::Ingress { name, .. } => ingress == Some(name),
        }
    }

    /// Returns true if the scope selects a Route of its Ingress or class. `None` is the Route of a default backend.
    pub(super) fn selects(&self, route: Option<RouteCondition<'_>>) -> bool {
        let Self::Ingress { host, path, .. } = self else { return true };
        let Some(route) = route else { return host.is_none() && path.is_none() };
        host.as_ref().is_none_or(|host| host == route.host)
            && path.as_ref().is_none_or(|path| match route.path {
                PathMatch::Exact(exact) => **exact == **path,
                PathMatch::Prefix(_) => PathMatch::prefix(path) == *route.path,
                PathMatch::Regex(pattern) => **pattern.text() == **path,
            })
    }
}

// ===== impl PolicyTarget =====

impl PolicyTarget {
    /// Creates the Problem of a target that has no effect.
    pub(super) fn problem(&self, owner: &ObjectRef, error: TargetError) -> Problem {
        let (kind, name) = match &self.scope {
            TargetScope::Class(class) => ("IngressClass", class.to_string()),
            TargetScope::Ingress { name, .. } => ("Ingress", name.to_string()),
        };
        let name = name.escape_debug();
        let (reason, message) = match error {
            TargetError::NotFound => (Reason::TargetNotFound, format!("{kind} {name} does not exist")),
            TargetError::NotServed(why) => {
                let message = format!(
                    "this gateway does not serve {kind} {name} ({why}), so the {} has no effect on it",
                    noun(owner.kind)
                );
                (Reason::TargetNotServed, message)
            }
        };
        problem(owner, self.field.clone(), reason, message)
    }

    /// Creates the Problem of a target that selects no Route of its Ingress. Returns `None` if it selects all of them.
    pub(super) fn unmatched(&self, owner: &ObjectRef) -> Option<Problem> {
        let TargetScope::Ingress { name, host, path } = &self.scope else { return None };
        if host.is_none() && path.is_none() {
            return None;
        }
        let host = host.as_ref().map(|host| format!(" with host {host}")).unwrap_or_default();
        let path = path.as_ref().map(|path| format!(" with path {path}")).unwrap_or_default();
        let message = format!("Ingress {name} has no served rule{host}{path}");
        Some(problem(owner, self.field.clone(), Reason::TargetNotFound, message))
    }
}
