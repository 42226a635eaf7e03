//! One RoutePolicy: its targets, and everything that can be judged without other objects.
//!
//! Not here: the index of policies (`policy_index`), and merging (`policy_merge`).

use std::sync::Arc;

use api::RoutePolicySpec;
use api::TargetKind;
use api::TargetRef;
use api::policy::Redirect;

use super::precedence::Lifecycle;
use super::precedence::Precedence;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::RoutePolicy;
use crate::path;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FIELDS;

/// API group of the kinds that a policy can target.
const TARGET_GROUP: &str = "networking.k8s.io";

/// A policy with its valid targets.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) policy: RoutePolicy,
    /// The spec without the values that cannot be honoured.
    pub(super) spec: Box<RoutePolicySpec>,
    pub(super) precedence: Precedence,
    pub(super) targets: Vec<PolicyTarget>,
    /// Problems of the policy alone.
    pub(super) problems: Vec<Problem>,
    /// Problems of targets that do not exist or are not served.
    pub(super) target_problems: Vec<Problem>,
}

/// A valid target of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyTarget {
    /// Field path within the policy: `spec.targetRefs[0]`.
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

/// Creates a Problem of a policy.
pub(super) fn problem(policy: &Name, field: String, reason: Reason, message: String) -> Problem {
    Problem { object: ObjectRef { kind: Kind::RoutePolicy, name: policy.clone() }, field, reason, message }
}

// ===== impl PolicyEntry =====

impl PolicyEntry {
    /// Parses the targets of a policy and collects its Problems.
    pub(super) fn parse(policy: RoutePolicy, own_namespace: &str) -> Self {
        let name = &policy.name;
        let (mut targets, mut problems) = (Vec::new(), Vec::new());
        for (index, reference) in policy.spec.target_refs.iter().enumerate() {
            let field = format!("spec.targetRefs[{index}]");
            match parse_scope(name, reference, own_namespace) {
                Ok(scope) => targets.push(PolicyTarget { field, scope }),
                Err(InvalidTarget { field: below, reason, message }) => {
                    problems.push(problem(name, format!("{field}{below}"), reason, message));
                }
            }
        }
        problems.extend(backends_problem(&policy, &targets));
        let mut spec = policy.spec.clone();
        problems.extend(take_faults(name, &mut spec));
        let precedence = Precedence::new(Lifecycle::Active, policy.created, name.clone());
        Self { policy, spec, precedence, targets, problems, target_problems: Vec::new() }
    }
}

/// Removes values that cannot be honoured, and returns a Problem for each.
fn take_faults(policy: &Name, spec: &mut RoutePolicySpec) -> Vec<Problem> {
    let faults = FIELDS.iter().flat_map(|field| {
        let faults = field.take_faults(spec).into_iter();
        faults.map(|fault| (format!("{}{}", field.path, fault.place()), fault.message))
    });
    let faults: Vec<_> =
        faults.map(|(place, message)| problem(policy, place, Reason::InvalidValue, message)).collect();
    if let Some(redirect) = &mut spec.redirect
        && faults.iter().any(|fault| fault.field.starts_with("spec.redirect."))
    {
        // A part of a redirect leads to a URL that its author did not write. The upgrade to HTTPS stays.
        *redirect = Redirect {
            https: redirect.https,
            acme_challenges: redirect.acme_challenges,
            ..Redirect::default()
        };
    }
    faults
}

fn backends_problem(policy: &RoutePolicy, targets: &[PolicyTarget]) -> Option<Problem> {
    let backends = policy.spec.backends.as_ref()?;
    let targets_class = targets.iter().any(|target| matches!(target.scope, TargetScope::Class(_)));
    let (reason, message) = if backends.is_empty() {
        (Reason::InvalidBackend, "the list is empty and has no effect; add Services, or remove the field")
    } else if targets_class {
        (Reason::Unsupported, "backends cannot be set for an IngressClass; target Ingresses instead")
    } else {
        return None;
    };
    Some(problem(&policy.name, "spec.backends".to_owned(), reason, message.to_owned()))
}

fn parse_scope(policy: &Name, from: &TargetRef, own_namespace: &str) -> Result<TargetScope, InvalidTarget> {
    if from.group != TARGET_GROUP {
        let message = format!(
            "group \"{}\" has no kind that a policy can target; write {TARGET_GROUP}",
            from.group.escape_debug()
        );
        return Err(InvalidTarget { field: ".group", reason: Reason::TargetNotFound, message });
    }
    match from.kind {
        TargetKind::IngressClass => parse_class_scope(policy, from, own_namespace),
        TargetKind::Ingress => parse_ingress_scope(policy, from),
    }
}

fn parse_class_scope(
    policy: &Name,
    from: &TargetRef,
    own_namespace: &str,
) -> Result<TargetScope, InvalidTarget> {
    if *policy.namespace != *own_namespace {
        let message = format!(
            "only policies in namespace {own_namespace} may target an IngressClass; move the policy there"
        );
        return Err(InvalidTarget { field: "", reason: Reason::NotPermitted, message });
    }
    if from.host.is_some() || from.path.is_some() {
        let message = "an IngressClass has no hosts and paths; target an Ingress instead".to_owned();
        return Err(InvalidTarget { field: "", reason: Reason::Unsupported, message });
    }
    Ok(TargetScope::Class(from.name.as_str().into()))
}

fn parse_ingress_scope(policy: &Name, from: &TargetRef) -> Result<TargetScope, InvalidTarget> {
    // No object has a slash in its name. It usually means an attempt to name a namespace.
    if let Some((namespace, _)) = from.name.split_once('/') {
        let message = format!(
            "an Ingress of namespace {} cannot be a target; a policy targets Ingresses of its own namespace",
            namespace.escape_debug()
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
    let name = Name { namespace: policy.namespace.clone(), name: from.name.as_str().into() };
    Ok(TargetScope::Ingress { name, host, path: path.map(|path| path.into_owned()) })
}

// ===== impl PolicyTarget =====

impl PolicyTarget {
    /// Creates the Problem of a target that has no effect.
    pub(super) fn problem(&self, policy: &Name, error: TargetError) -> Problem {
        let (kind, name) = match &self.scope {
            TargetScope::Class(class) => ("IngressClass", class.to_string()),
            TargetScope::Ingress { name, .. } => ("Ingress", name.to_string()),
        };
        let name = name.escape_debug();
        let (reason, message) = match error {
            TargetError::NotFound => (Reason::TargetNotFound, format!("{kind} {name} does not exist")),
            TargetError::NotServed(why) => {
                let message = format!(
                    "this gateway does not serve {kind} {name} ({why}), so the policy has no effect on it"
                );
                (Reason::TargetNotServed, message)
            }
        };
        problem(policy, self.field.clone(), reason, message)
    }
}
