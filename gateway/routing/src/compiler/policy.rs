//! RoutePolicies: what each is about, and whether it may be.
//!
//! Not here: which policy wins on which Route (`overlay`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::TargetKind;
use api::TargetRef;

use super::interned::Interned;
use super::ledger::Ledger;
use super::overlay::Overlay;
use super::seniority::Presence;
use super::seniority::Seniority;
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
pub(super) struct Policies {
    /// The gateway's own namespace: policies of it may be about classes.
    namespace: Arc<str>,
    entries: BTreeMap<Name, PolicyEntry>,
    by_ingress: BTreeMap<Name, BTreeSet<Name>>,
    by_class: BTreeMap<Arc<str>, BTreeSet<Name>>,
    /// Problems that several Ingresses may have with one policy, and how many do.
    shared: BTreeMap<Problem, usize>,
    interned: Interned,
}

/// A policy as far as it can be judged alone.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) policy: RoutePolicy,
    pub(super) seniority: Seniority,
    pub(super) targets: Vec<Target>,
    problems: Vec<Problem>,
    /// The targets that do not exist or are not ours.
    lacking: Vec<Problem>,
}

/// One thing that a policy is about and may be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Where in the policy, as a field path.
    pub(super) field: String,
    pub(super) scope: Scope,
}

/// What a target stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All Ingresses of a class.
    Class(Arc<str>),
    /// One Ingress, or what it says about one host or path.
    Ingress { name: Name, host: Option<HostName>, path: Option<String> },
}

/// Why a policy has no effect on what it is about.
#[derive(Debug)]
pub(super) enum Lack {
    /// There is no such object.
    Absent,
    /// It is another controller's, or nobody's; why, for people.
    Foreign(String),
}

/// What changed policies are, or were, about.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) ingresses: BTreeSet<Name>,
    pub(super) classes: BTreeSet<Arc<str>>,
    pub(super) policies: BTreeSet<Name>,
}

// ===== impl Policies =====

impl Policies {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            entries: BTreeMap::new(),
            by_ingress: BTreeMap::new(),
            by_class: BTreeMap::new(),
            shared: BTreeMap::new(),
            interned: Interned::default(),
        }
    }

    pub(super) fn update(
        &mut self,
        changes: BTreeMap<Name, Option<RoutePolicy>>,
        ledger: &mut Ledger,
    ) -> Touched {
        let mut touched = Touched::default();
        for (name, policy) in changes {
            if self.entries.get(&name).map(|entry| &entry.policy) == policy.as_ref() {
                continue;
            }
            if let Some(old) = self.entries.remove(&name) {
                ledger.remove(old.problems);
                ledger.remove(old.lacking);
                for target in old.targets {
                    touched.take(&target.scope);
                    self.unlist(&name, &target.scope);
                }
            }
            if let Some(policy) = policy {
                let entry = PolicyEntry::judge(policy, &self.namespace);
                ledger.add(entry.problems.iter().cloned());
                for target in &entry.targets {
                    touched.take(&target.scope);
                    self.list(&name, &target.scope);
                }
                self.entries.insert(name.clone(), entry);
            }
            touched.policies.insert(name);
        }
        touched
    }

    fn list(&mut self, policy: &Name, scope: &Scope) {
        let users = match scope {
            Scope::Class(class) => self.by_class.entry(class.clone()).or_default(),
            Scope::Ingress { name, .. } => self.by_ingress.entry(name.clone()).or_default(),
        };
        users.insert(policy.clone());
    }

    fn unlist(&mut self, policy: &Name, scope: &Scope) {
        match scope {
            Scope::Class(class) => remove_from(&mut self.by_class, class, policy),
            Scope::Ingress { name, .. } => remove_from(&mut self.by_ingress, name, policy),
        }
    }

    pub(super) fn about_ingress(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.by_ingress.get(name).into_iter().flatten()
    }

    pub(super) fn about_class(&self, class: &str) -> impl Iterator<Item = &Name> {
        self.by_class.get(class).into_iter().flatten()
    }

    /// Tells the given policies again which of their targets do not exist or are not ours.
    pub(super) fn look_for_targets(
        &mut self,
        policies: BTreeSet<Name>,
        lack: impl Fn(&Scope) -> Option<Lack>,
        ledger: &mut Ledger,
    ) {
        for name in policies {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let lacking = entry.targets.iter().filter_map(|target| Some((target, lack(&target.scope)?)));
            let lacking: Vec<Problem> =
                lacking.map(|(target, lack)| without_effect(&name, target, lack)).collect();
            ledger.remove(std::mem::replace(&mut entry.lacking, lacking));
            ledger.add(entry.lacking.iter().cloned());
        }
    }

    /// What policies say about an Ingress of a class, or about the class alone.
    pub(super) fn overlay(&mut self, ingress: Option<&Name>, class: Option<&Arc<str>>) -> Overlay<'_> {
        let by_class = class.and_then(|class| self.by_class.get(class));
        let by_ingress = ingress.and_then(|ingress| self.by_ingress.get(ingress));
        let names: BTreeSet<&Name> = by_class.into_iter().chain(by_ingress).flatten().collect();
        let mut overlay = Overlay::new(&mut self.interned);
        for entry in names.into_iter().filter_map(|name| self.entries.get(name)) {
            for target in &entry.targets {
                let is_meant = match &target.scope {
                    Scope::Class(name) => class == Some(name),
                    Scope::Ingress { name, .. } => ingress == Some(name),
                };
                if is_meant {
                    overlay.add(entry, target);
                }
            }
        }
        overlay.sort();
        overlay
    }

    /// Counts Problems that one Ingress has with policies; others may have the same.
    pub(super) fn add_shared(&mut self, problems: &[Problem], ledger: &mut Ledger) {
        for problem in problems {
            let count = self.shared.entry(problem.clone()).or_default();
            *count += 1;
            if *count == 1 {
                ledger.add([problem.clone()]);
            }
        }
    }

    pub(super) fn remove_shared(&mut self, problems: Vec<Problem>, ledger: &mut Ledger) {
        for problem in problems {
            let Some(count) = self.shared.get_mut(&problem) else { continue };
            *count -= 1;
            if *count == 0 {
                self.shared.remove(&problem);
                ledger.remove([problem]);
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

fn without_effect(policy: &Name, target: &Target, lack: Lack) -> Problem {
    let (kind, name) = match &target.scope {
        Scope::Class(class) => ("IngressClass", class.to_string()),
        Scope::Ingress { name, .. } => ("Ingress", name.to_string()),
    };
    let name = name.escape_debug();
    let (reason, message) = match lack {
        Lack::Absent => (Reason::TargetNotFound, format!("there is no {kind} {name}")),
        Lack::Foreign(why) => {
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

// ===== impl Touched =====

impl Touched {
    fn take(&mut self, scope: &Scope) {
        match scope {
            Scope::Class(class) => self.classes.insert(class.clone()),
            Scope::Ingress { name, .. } => self.ingresses.insert(name.clone()),
        };
    }
}

// ===== impl PolicyEntry =====

impl PolicyEntry {
    fn judge(policy: RoutePolicy, own_namespace: &str) -> Self {
        let seniority = Seniority::new(Presence::Live, policy.created, policy.name.clone());
        let mut entry =
            Self { policy, seniority, targets: Vec::new(), problems: Vec::new(), lacking: Vec::new() };
        for index in 0..entry.policy.spec.target_refs.len() {
            let Some(reference) = entry.policy.spec.target_refs.get(index) else { continue };
            let field = format!("spec.targetRefs[{index}]");
            match scope(&entry.policy.name, reference, own_namespace) {
                Ok(scope) => entry.targets.push(Target { field, scope }),
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
        entry.judge_backends();
        entry
    }

    fn judge_backends(&mut self) {
        let Some(backends) = &self.policy.spec.backends else { return };
        let of_class = self.targets.iter().any(|target| matches!(target.scope, Scope::Class(_)));
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
fn scope(
    policy: &Name,
    from: &TargetRef,
    own_namespace: &str,
) -> Result<Scope, (&'static str, Reason, String)> {
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
        TargetKind::IngressClass => Ok(Scope::Class(from.name.as_str().into())),
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
            Ok(Scope::Ingress { name, host, path: path.map(|path| path.into_owned()) })
        }
    }
}
