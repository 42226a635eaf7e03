//! Merges the RoutePolicies of a Route field by field: path before host before Ingress before class, then the oldest.
//!
//! Not here: whether a policy is valid (`policy_entry`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::PolicyBackend;

use super::policy_entry;
use super::policy_entry::PolicyEntry;
use super::policy_entry::PolicyTarget;
use super::policy_entry::TargetScope;
use super::policy_interner::PolicyInterner;
use crate::host::HostName;
use crate::object::Name;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::BACKENDS;
use crate::table::FIELDS;
use crate::table::FieldConflict;
use crate::table::PathMatch;
use crate::table::Policy;
use crate::table::PolicyOrigin;
use crate::table::SelfRedirect;
use crate::table::conflicts;
use crate::table::redirect_to_itself;

/// How narrowly a target selects. The greater value takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Class,
    Ingress,
    Host,
    Path,
    HostAndPath,
}

/// Merges the policies that target one Ingress.
#[derive(Debug)]
pub(super) struct PolicyMerger<'a> {
    interner: &'a mut PolicyInterner,
    /// Most specific first, then by precedence.
    layers: Vec<Layer<'a>>,
    problems: BTreeSet<Problem>,
    /// Policies with a redirect, and whether it has an effect on a Route.
    redirects: BTreeMap<Name, SelfRedirect>,
}

/// One target of one policy.
#[derive(Debug)]
struct Layer<'a> {
    specificity: Specificity,
    entry: &'a PolicyEntry,
    target: &'a PolicyTarget,
    /// Whether the target selected at least one Route.
    has_matched: bool,
}

/// The host and path of a Route.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteKey<'a> {
    pub(super) host: &'a HostName,
    pub(super) path: &'a PathMatch,
    /// Whether `spec.tls` of the Ingress names the host.
    pub(super) is_tls_host: bool,
}

/// The value of a field that takes precedence, and its origin.
struct PickedField<T> {
    value: T,
    origin: PolicyOrigin,
}

/// The policies of a Route, merged.
#[derive(Debug)]
pub(super) struct MergedPolicy<'a> {
    pub(super) policy: Arc<Policy>,
    pub(super) backends: Option<BackendOverride<'a>>,
}

/// The Services that a policy sets in place of a Route's own.
#[derive(Debug)]
pub(super) struct BackendOverride<'a> {
    pub(super) backends: &'a [PolicyBackend],
    pub(super) origin: PolicyOrigin,
}

impl<'a> PolicyMerger<'a> {
    pub(super) fn new(interner: &'a mut PolicyInterner) -> Self {
        Self { interner, layers: Vec::new(), problems: BTreeSet::new(), redirects: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, entry: &'a PolicyEntry, target: &'a PolicyTarget) {
        let specificity = match &target.scope {
            TargetScope::Class(_) => Specificity::Class,
            TargetScope::Ingress { host: None, path: None, .. } => Specificity::Ingress,
            TargetScope::Ingress { host: Some(_), path: None, .. } => Specificity::Host,
            TargetScope::Ingress { host: None, path: Some(_), .. } => Specificity::Path,
            TargetScope::Ingress { host: Some(_), path: Some(_), .. } => Specificity::HostAndPath,
        };
        self.layers.push(Layer { specificity, entry, target, has_matched: false });
    }

    /// Sorts the layers by precedence. Must be called after the last [`PolicyMerger::add`]. Targets of one policy keep
    /// their order.
    pub(super) fn sort(&mut self) {
        self.layers.sort_by_key(|layer| (Reverse(layer.specificity), layer.entry.precedence.clone()));
    }

    /// Merges the policies of a Route. `None` is the Route of a default backend, for hosts without `spec.tls`.
    pub(super) fn merge(&mut self, route: Option<RouteKey<'_>>) -> MergedPolicy<'a> {
        self.merge_at(route, route.is_some_and(|route| route.is_tls_host))
    }

    /// Merges the policies of the Route of a default backend, for hosts that `spec.tls` names.
    pub(super) fn merge_default_for_tls(&mut self) -> Arc<Policy> {
        self.merge_at(None, true).policy
    }

    fn merge_at(&mut self, route: Option<RouteKey<'_>>, is_tls_host: bool) -> MergedPolicy<'a> {
        if self.layers.is_empty() {
            return MergedPolicy { policy: self.interner.empty(), backends: None };
        }
        let mut selected = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if selects(&layer.target.scope, route) {
                layer.has_matched = true;
                selected.push(index);
            }
        }
        let backends = self.pick(&selected, BACKENDS, |layer| {
            let backends = layer.entry.spec.backends.as_deref()?;
            (!backends.is_empty() && layer.specificity != Specificity::Class).then_some(backends)
        });
        let mut policy =
            Policy { backends: backends.as_ref().map(|field| field.origin.clone()), ..Policy::default() };
        for field in FIELDS.iter() {
            let picked = self.pick(&selected, field.path, |layer| {
                let spec = &*layer.entry.spec;
                field.is_set(spec).then_some(spec)
            });
            if let Some(PickedField { value, origin }) = picked {
                policy.set(field, value, origin);
            }
        }
        self.remove_conflicts(&mut policy);
        self.note_redirect(&policy, route);
        policy.is_tls_host = policy.depends_on_tls() && is_tls_host;
        let backends =
            backends.map(|PickedField { value, origin }| BackendOverride { backends: value, origin });
        MergedPolicy { policy: self.interner.intern(policy), backends }
    }

    /// Removes values that exclude each other. Each gets a Problem of the policy that set it.
    fn remove_conflicts(&mut self, policy: &mut Policy) {
        for FieldConflict { field, other, reason } in conflicts(policy) {
            let setter = policy.origins.iter().find(|origin| origin.field == other);
            let setter = setter.map(|origin| origin.policy.to_string()).unwrap_or_default();
            if let Some(origin) = policy.unset(field) {
                let message = format!("contradicts {other} of RoutePolicy {setter}: {reason}");
                let problem =
                    policy_entry::problem(&origin.policy, field.to_owned(), Reason::InvalidValue, message);
                self.problems.insert(problem);
            }
        }
    }

    /// Records whether the redirect of a Route has an effect. One that has none on any Route gets a Problem at the end.
    fn note_redirect(&mut self, policy: &Policy, route: Option<RouteKey<'_>>) {
        let result = redirect_to_itself(policy, route.map(|route| (route.host, route.path)));
        for origin in policy.origins.iter().filter(|origin| origin.field.starts_with("spec.redirect.")) {
            let known = self.redirects.entry(origin.policy.clone()).or_insert(result);
            if result == SelfRedirect::None {
                *known = result;
            }
        }
    }

    /// Returns the value of the first layer that sets a field. Other policies that set it with the same specificity
    /// get a Problem.
    fn pick<T>(
        &mut self,
        selected: &[usize],
        field: &'static str,
        value: impl Fn(&Layer<'a>) -> Option<T>,
    ) -> Option<PickedField<T>> {
        let layers = selected.iter().filter_map(|index| self.layers.get(*index));
        let mut setting = layers.filter_map(|layer| Some((value(layer)?, layer)));
        let (value, winner) = setting.next()?;
        for (_, loser) in setting.take_while(|(_, layer)| layer.specificity == winner.specificity) {
            if loser.entry.policy.name != winner.entry.policy.name {
                self.problems.insert(conflict(field, winner, loser));
            }
        }
        let origin = PolicyOrigin {
            policy: winner.entry.policy.name.clone(),
            field,
            target: winner.target.field.clone(),
        };
        Some(PickedField { value, origin })
    }

    /// Returns the Problems: conflicts, and hosts or paths of targets that no Route of the Ingress has.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
        for (policy, redirect) in self.redirects {
            let SelfRedirect::Field(field) = redirect else { continue };
            let message =
                "the redirect leads to the same URL: write another host, path, port or scheme".to_owned();
            problems.insert(policy_entry::problem(&policy, field.to_owned(), Reason::InvalidValue, message));
        }
        for layer in self.layers.iter().filter(|layer| !layer.has_matched) {
            problems.extend(unmatched(layer));
        }
        problems.into_iter().collect()
    }
}

fn conflict(field: &str, winner: &Layer<'_>, loser: &Layer<'_>) -> Problem {
    let (first, second) = (&winner.entry.policy.name, &loser.entry.policy.name);
    let message = format!(
        "RoutePolicy {first} ({}) sets this field for the same routes as RoutePolicy {second} ({}) and takes \
         precedence (older, or first by name); remove the field from one of them",
        winner.target.field, loser.target.field
    );
    policy_entry::problem(second, field.to_owned(), Reason::Conflict, message)
}

fn unmatched(layer: &Layer<'_>) -> Option<Problem> {
    let TargetScope::Ingress { name, host, path } = &layer.target.scope else { return None };
    if host.is_none() && path.is_none() {
        return None;
    }
    let host = host.as_ref().map(|host| format!(" with host {host}")).unwrap_or_default();
    let path = path.as_ref().map(|path| format!(" with path {path}")).unwrap_or_default();
    let message = format!("Ingress {name} has no served rule{host}{path}");
    let field = layer.target.field.clone();
    Some(policy_entry::problem(&layer.entry.policy.name, field, Reason::TargetNotFound, message))
}

fn selects(scope: &TargetScope, route: Option<RouteKey<'_>>) -> bool {
    let TargetScope::Ingress { host, path, .. } = scope else { return true };
    let Some(route) = route else { return host.is_none() && path.is_none() };
    host.as_ref().is_none_or(|host| host == route.host)
        && path.as_ref().is_none_or(|path| match route.path {
            PathMatch::Exact(exact) => **exact == **path,
            PathMatch::Prefix(_) => PathMatch::prefix(path) == *route.path,
        })
}
