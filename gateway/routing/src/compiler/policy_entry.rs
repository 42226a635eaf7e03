//! One RoutePolicy: its targets, and everything that can be judged without other objects.
//!
//! Not here: the index of policies (`policy_index`), and merging (`policy_merge`).

use std::sync::Arc;

use api::RoutePolicySpec;
use api::policy::Redirect;

use super::policy_target;
use super::policy_target::ParsedTargets;
use super::policy_target::PolicyTarget;
use super::policy_target::TargetScope;
use super::precedence::Lifecycle;
use super::precedence::Precedence;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::RoutePolicy;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FIELDS;

/// A policy with its valid targets.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) policy: RoutePolicy,
    /// The spec without the values that cannot be honoured.
    pub(super) spec: Box<RoutePolicySpec>,
    pub(super) precedence: Precedence,
    pub(super) targets: Vec<PolicyTarget>,
    pub(super) plugins: Vec<NamedPlugin>,
    /// Problems of the policy alone.
    pub(super) problems: Vec<Problem>,
    /// Problems of targets that do not exist or are not served, and of plugins that do not exist.
    pub(super) target_problems: Vec<Problem>,
}

/// A plugin that a policy names.
#[derive(Debug)]
pub(super) struct NamedPlugin {
    pub(super) plugin: Name,
    /// Field path within the policy: `spec.plugins[0]`.
    pub(super) field: Arc<str>,
    pub(super) config: Option<NamedConfig>,
}

/// The configuration that a policy gives a plugin.
#[derive(Debug)]
pub(super) struct NamedConfig {
    pub(super) text: Arc<str>,
    /// Field path within the policy: `spec.plugins[0].config`.
    pub(super) field: Arc<str>,
}

/// Creates a Problem of a policy.
pub(super) fn problem(policy: &Name, field: String, reason: Reason, message: String) -> Problem {
    policy_target::problem(&reference(policy), field, reason, message)
}

/// Returns the reference to a policy.
pub(super) fn reference(policy: &Name) -> ObjectRef {
    ObjectRef { kind: Kind::RoutePolicy, name: policy.clone() }
}

// ===== impl PolicyEntry =====

impl PolicyEntry {
    /// Parses the targets of a policy and collects its Problems.
    pub(super) fn parse(policy: RoutePolicy, own_namespace: &str) -> Self {
        let name = &policy.name;
        let ParsedTargets { targets, mut problems } =
            policy_target::parse(&reference(name), &policy.spec.target_refs, own_namespace);
        problems.extend(backends_problem(&policy, &targets));
        let mut spec = policy.spec.clone();
        problems.extend(take_faults(name, &mut spec));
        let plugins = named_plugins(&policy, &mut problems);
        let precedence = Precedence::new(Lifecycle::Active, policy.created, name.clone());
        Self { policy, spec, precedence, targets, plugins, problems, target_problems: Vec::new() }
    }
}

/// Returns the plugins that a policy names. If it names one twice, the first entry counts.
fn named_plugins(policy: &RoutePolicy, problems: &mut Vec<Problem>) -> Vec<NamedPlugin> {
    let mut plugins: Vec<NamedPlugin> = Vec::with_capacity(policy.spec.plugins.len());
    for (index, from) in policy.spec.plugins.iter().enumerate() {
        let field = format!("spec.plugins[{index}]");
        let name = Name { namespace: policy.name.namespace.clone(), name: from.name.as_str().into() };
        if let Some((namespace, _)) = from.name.split_once('/') {
            let message = format!(
                "a plugin of namespace {} cannot be named; a policy names plugins of its own namespace",
                namespace.escape_debug()
            );
            problems.push(problem(&policy.name, format!("{field}.name"), Reason::NotPermitted, message));
        } else if let Some(first) = plugins.iter().find(|known| known.plugin == name) {
            let message = format!("{} names the same plugin and is used; remove one of them", first.field);
            problems.push(problem(&policy.name, format!("{field}.name"), Reason::Conflict, message));
            continue;
        }
        let config = from.config.as_ref().map(|config| NamedConfig {
            text: config.text().into(),
            field: format!("{field}.config").into(),
        });
        plugins.push(NamedPlugin { plugin: name, field: field.into(), config });
    }
    plugins
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
