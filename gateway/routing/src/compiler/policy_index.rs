//! RoutePolicies: what each is about, and whether it may be.
//!
//! Not here: which policy wins on which Route (`merger`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::TargetKind;
use api::TargetRef;

use super::policy_interner::PolicyInterner;
use super::policy_merge::PolicyMerger;
use super::precedence::Lifecycle;
use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::RoutePolicy;
use crate::path;
use crate::problem::Problem;
use crate::problem::Reason;

/// The group of the kinds that a policy can be about.
const TARGET_GROUP: &str = "networking.k8s.io";

/// The known policies, and what they are about.
#[derive(Debug)]
pub(super) struct PolicyIndex {
    /// The gateway's own namespace: policies of it may be about classes.
    namespace: Arc<str>,
    entries: BTreeMap<Name, PolicyEntry>,
    by_ingress: BTreeMap<Name, BTreeSet<Name>>,
    by_class: BTreeMap<Arc<str>, BTreeSet<Name>>,
    /// Problems that several Ingresses may have with one policy, and how many do.
    shared: BTreeMap<Problem, usize>,
    interned: PolicyInterner,
}

/// A policy as far as it can be judged alone.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) policy: RoutePolicy,
    pub(super) precedence: Precedence,
    pub(super) targets: Vec<PolicyTarget>,
    problems: Vec<Problem>,
    /// The targets that do not exist or are not ours.
    target_problems: Vec<Problem>,
}

/// One thing that a policy is about and may be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyTarget {
    /// Where in the policy, as a field path.
    pub(super) field: String,
    pub(super) scope: TargetScope,
}

/// What a target stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TargetScope {
    /// All Ingresses of a class.
    Class(Arc<str>),
    /// One Ingress, or what it says about one host or path.
    Ingress { name: Name, host: Option<HostName>, path: Option<String> },
}

/// Why a policy has no effect on what it is about.
#[derive(Debug)]
pub(super) enum TargetError {
    /// There is no such object.
    NotFound,
    /// It is another controller's, or nobody's; why, for people.
    NotServed(String),
}

/// What changed policies are, or were, about.
#[derive(Debug, Default)]
pub(super) struct AffectedTargets {
    pub(super) ingresses: BTreeSet<Name>,
    pub(super) classes: BTreeSet<Arc<str>>,
    pub(super) policies: BTreeSet<Name>,
}

// ===== impl Policies =====

impl PolicyIndex {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            entries: BTreeMap::new(),
            by_ingress: BTreeMap::new(),
            by_class: BTreeMap::new(),
            shared: BTreeMap::new(),
            interned: PolicyInterner::default(),
        }
    }

    pub(super) fn update(
        &mut self,
        changes: BTreeMap<Name, Option<RoutePolicy>>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> AffectedTargets {
        let mut affected = AffectedTargets::default();
        for (name, policy) in changes {
            if self.entries.get(&name).map(|entry| &entry.policy) == policy.as_ref() {
                continue;
            }
            if let Some(old) = self.entries.remove(&name) {
                problem_delta.remove(old.problems);
                problem_delta.remove(old.target_problems);
                for target in old.targets {
                    affected.insert(&target.scope);
                    self.unindex(&name, &target.scope);
                }
            }
            if let Some(policy) = policy {
                let entry = PolicyEntry::parse(policy, &self.namespace);
                problem_delta.add(entry.problems.iter().cloned());
                for target in &entry.targets {
                    affected.insert(&target.scope);
                    self.index(&name, &target.scope);
                }
                self.entries.insert(name.clone(), entry);
            }
            affected.policies.insert(name);
        }
        affected
    }

    fn index(&mut self, policy: &Name, scope: &TargetScope) {
        let users = match scope {
            TargetScope::Class(class) => self.by_class.entry(class.clone()).or_default(),
            TargetScope::Ingress { name, .. } => self.by_ingress.entry(name.clone()).or_default(),
        };
        users.insert(policy.clone());
    }

    fn unindex(&mut self, policy: &Name, scope: &TargetScope) {
        match scope {
            TargetScope::Class(class) => remove_from(&mut self.by_class, class, policy),
            TargetScope::Ingress { name, .. } => remove_from(&mut self.by_ingress, name, policy),
        }
    }

    pub(super) fn targeting_ingress(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.by_ingress.get(name).into_iter().flatten()
    }

    pub(super) fn targeting_class(&self, class: &str) -> impl Iterator<Item = &Name> {
        self.by_class.get(class).into_iter().flatten()
    }

    /// Tells the given policies again which of their targets do not exist or are not ours.
    pub(super) fn check_targets(
        &mut self,
        policies: BTreeSet<Name>,
        target_error: impl Fn(&TargetScope) -> Option<TargetError>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for name in policies {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let target_problems =
                entry.targets.iter().filter_map(|target| Some((target, target_error(&target.scope)?)));
            let target_problems: Vec<Problem> = target_problems
                .map(|(target, target_error)| target_problem(&name, target, target_error))
                .collect();
            problem_delta.remove(std::mem::replace(&mut entry.target_problems, target_problems));
            problem_delta.add(entry.target_problems.iter().cloned());
        }
    }

    /// What policies say about an Ingress of a class, or about the class alone.
    pub(super) fn merger(&mut self, ingress: Option<&Name>, class: Option<&Arc<str>>) -> PolicyMerger<'_> {
        let by_class = class.and_then(|class| self.by_class.get(class));
        let by_ingress = ingress.and_then(|ingress| self.by_ingress.get(ingress));
        let names: BTreeSet<&Name> = by_class.into_iter().chain(by_ingress).flatten().collect();
        let mut merger = PolicyMerger::new(&mut self.interned);
        for entry in names.into_iter().filter_map(|name| self.entries.get(name)) {
            for target in &entry.targets {
                let is_meant = match &target.scope {
                    TargetScope::Class(name) => class == Some(name),
                    TargetScope::Ingress { name, .. } => ingress == Some(name),
                };
                if is_meant {
                    merger.add(entry, target);
                }
            }
        }
        merger.sort();
        merger
    }

    /// Counts Problems that one Ingress has with policies; others may have the same.
    pub(super) fn add_shared(&mut self, problems: &[Problem], problem_delta: &mut ProblemDeltaBuilder) {
        for problem in problems {
            let count = self.shared.entry(problem.clone()).or_default();
            *count += 1;
            if *count == 1 {
                problem_delta.add([problem.clone()]);
            }
        }
    }

    pub(super) fn remove_shared(&mut self, problems: Vec<Problem>, problem_delta: &mut ProblemDeltaBuilder) {
        for problem in problems {
            let Some(count) = self.shared.get_mut(&problem) else { continue };
            *count -= 1;
            if *count == 0 {
                self.shared.remove(&problem);
                problem_delta.remove([problem]);
            }
        }
    }
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Name>>, key: &K, policy: &Name) {
    let Some(users) = index.get_mut(key) else { return };
    users.remove(policy);
    if users.is_empty() {
        index.remove(key);
    }
}

fn target_problem(policy: &Name, target: &PolicyTarget, target_error: TargetError) -> Problem {
    let (kind, name) = match &target.scope {
        TargetScope::Class(class) => ("IngressClass", class.to_string()),
        TargetScope::Ingress { name, .. } => ("Ingress", name.to_string()),
    };
    let name = name.escape_debug();
    let (reason, message) = match target_error {
        TargetError::NotFound => (Reason::TargetNotFound, format!("there is no {kind} {name}")),
        TargetError::NotServed(why) => {
            let message =
                format!("{kind} {name} is not served by this gateway ({why}), so this has no effect");
            (Reason::TargetNotServed, message)
        }
    };
    problem(policy, target.field.clone(), reason, message)
}

pub(super) fn problem(policy: &Name, field: String, reason: Reason, message: String) -> Problem {
    Problem { object: ObjectRef { kind: Kind::RoutePolicy, name: policy.clone() }, field, reason, message }
}

// ===== impl AffectedTargets =====

impl AffectedTargets {
    fn insert(&mut self, scope: &TargetScope) {
        match scope {
            TargetScope::Class(class) => self.classes.insert(class.clone()),
            TargetScope::Ingress { name, .. } => self.ingresses.insert(name.clone()),
        };
    }
}

// ===== impl PolicyEntry =====

impl PolicyEntry {
    fn parse(policy: RoutePolicy, own_namespace: &str) -> Self {
        let precedence = Precedence::new(Lifecycle::Active, policy.created, policy.name.clone());
        let mut entry = Self {
            policy,
            precedence,
            targets: Vec::new(),
            problems: Vec::new(),
            target_problems: Vec::new(),
        };
        for index in 0..entry.policy.spec.target_refs.len() {
            let Some(reference) = entry.policy.spec.target_refs.get(index) else { continue };
            let field = format!("spec.targetRefs[{index}]");
            match parse_scope(&entry.policy.name, reference, own_namespace) {
                Ok(scope) => entry.targets.push(PolicyTarget { field, scope }),
                Err((below, reason, message)) => {
                    entry.problems.push(problem(
                        &entry.policy.name,
                        format!("{field}{below}"),
                        reason,
                        message,
                    ));
                }
            }
        }
        entry.check_backends();
        entry
    }

    fn check_backends(&mut self) {
        let Some(backends) = &self.policy.spec.backends else { return };
        let of_class = self.targets.iter().any(|target| matches!(target.scope, TargetScope::Class(_)));
        let (reason, message) = if backends.is_empty() {
            (Reason::InvalidBackend, "an empty list has no effect; name Services, or leave the field out")
        } else if of_class {
            (Reason::Unsupported, "backends are not set for a whole class; name Ingresses as targets")
        } else {
            return;
        };
        let field = "spec.backends".to_owned();
        self.problems.push(problem(&self.policy.name, field, reason, message.to_owned()));
    }
}

/// Reads a target, or says below which field, why and how it cannot be one.
fn parse_scope(
    policy: &Name,
    from: &TargetRef,
    own_namespace: &str,
) -> Result<TargetScope, (&'static str, Reason, String)> {
    if from.group != TARGET_GROUP {
        let message =
            format!("no kind of group \"{}\" can be meant, only {TARGET_GROUP}", from.group.escape_debug());
        return Err((".group", Reason::TargetNotFound, message));
    }
    match from.kind {
        TargetKind::IngressClass if *policy.namespace != *own_namespace => {
            let message = format!("policies about a class are read from namespace {own_namespace} only");
            Err(("", Reason::NotPermitted, message))
        }
        TargetKind::IngressClass if from.host.is_some() || from.path.is_some() => {
            let message = "a class has no host and no path of its own; name an Ingress".to_owned();
            Err(("", Reason::Unsupported, message))
        }
        TargetKind::IngressClass => Ok(TargetScope::Class(from.name.as_str().into())),
        TargetKind::Ingress => {
            // A slash would let a name reach into another namespace when it is printed, never when it is looked up.
            if let Some((namespace, _)) = from.name.split_once('/') {
                let message = format!(
                    "an Ingress of namespace {} is out of reach; policies are about Ingresses of their own namespace",
                    namespace.escape_debug()
                );
                return Err((".name", Reason::NotPermitted, message));
            }
            let host = from.host.as_deref().map(HostName::parse).transpose();
            let host = host.map_err(|error| (".host", Reason::InvalidHost, error.to_string()))?;
            let path = from.path.as_deref().map(path::rule_path).transpose();
            let path = path.map_err(|error| (".path", Reason::InvalidPath, error.to_string()))?;
            let name = Name { namespace: policy.namespace.clone(), name: from.name.as_str().into() };
            Ok(TargetScope::Ingress { name, host, path: path.map(|path| path.into_owned()) })
        }
    }
}
