//! Merges the RoutePolicies of a Route field by field: path before host before Ingress before class, then the oldest.
//!
//! Not here: whether a policy is valid (`policy_entry`).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::PolicyBackend;
use api::RoutePolicySpec;

use super::policy_entry;
use super::policy_entry::PolicyEntry;
use super::policy_entry::PolicyTarget;
use super::policy_entry::TargetScope;
use super::policy_interner::PolicyInterner;
use crate::host::HostName;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::PathMatch;
use crate::table::Policy;
use crate::table::PolicyLimits;
use crate::table::PolicyOrigin;
use crate::table::PolicyRetries;
use crate::table::PolicyTimeouts;
use crate::table::PolicyValue;

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
        Self { interner, layers: Vec::new(), problems: BTreeSet::new() }
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

    /// Merges the policies of a Route. `None` is the Route of a default backend.
    pub(super) fn merge(&mut self, route: Option<RouteKey<'_>>) -> MergedPolicy<'a> {
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
        let backends = self.pick(&selected, "spec.backends", |layer| {
            let backends = layer.entry.policy.spec.backends.as_deref()?;
            (!backends.is_empty() && layer.specificity != Specificity::Class).then_some(backends)
        });
        let policy = Policy {
            backends: backends.as_ref().map(|field| field.origin.clone()),
            body_size: self.field(&selected, "spec.bodySize", |spec| Some(spec.body_size?.0)),
            timeouts: self.timeouts(&selected),
            retries: self.retries(&selected),
            load_balancing: self
                .field(&selected, "spec.loadBalancing.type", |spec| Some(spec.load_balancing?.kind)),
            limits: self.limits(&selected),
        };
        let backends =
            backends.map(|PolicyValue { value, origin }| BackendOverride { backends: value, origin });
        MergedPolicy { policy: self.interner.intern(policy), backends }
    }

    fn timeouts(&mut self, selected: &[usize]) -> PolicyTimeouts {
        let mut timeout = |field, value: fn(api::Timeouts) -> Option<api::Duration>| {
            self.field(selected, field, |spec| Some(value(spec.timeouts?)?.into()))
        };
        PolicyTimeouts {
            request: timeout("spec.timeouts.request", |timeouts| timeouts.request),
            connect: timeout("spec.timeouts.connect", |timeouts| timeouts.connect),
            connect_total: timeout("spec.timeouts.connectTotal", |timeouts| timeouts.connect_total),
            first_byte: timeout("spec.timeouts.firstByte", |timeouts| timeouts.first_byte),
            stall: timeout("spec.timeouts.stall", |timeouts| timeouts.stall),
            tunnel_idle: timeout("spec.timeouts.tunnelIdle", |timeouts| timeouts.tunnel_idle),
        }
    }

    fn retries(&mut self, selected: &[usize]) -> PolicyRetries {
        let retries = |spec: &'a RoutePolicySpec| spec.retries.as_ref();
        PolicyRetries {
            attempts: self.field(selected, "spec.retries.attempts", |spec| retries(spec)?.attempts),
            on: self.field(selected, "spec.retries.on", |spec| Some(retries(spec)?.on.as_deref()?.into())),
            methods: self.field(selected, "spec.retries.methods", |spec| {
                Some(retries(spec)?.methods.as_deref()?.into())
            }),
        }
    }

    fn limits(&mut self, selected: &[usize]) -> PolicyLimits {
        PolicyLimits {
            upstream_connections: self
                .field(selected, "spec.limits.upstreamConnections", |spec| spec.limits?.upstream_connections),
            pending_requests: self
                .field(selected, "spec.limits.pendingRequests", |spec| spec.limits?.pending_requests),
        }
    }

    /// Picks a field of the spec.
    fn field<T>(
        &mut self,
        selected: &[usize],
        field: &'static str,
        value: impl Fn(&'a RoutePolicySpec) -> Option<T>,
    ) -> Option<PolicyValue<T>> {
        self.pick(selected, field, |layer| value(&layer.entry.policy.spec))
    }

    /// Returns the value of the first layer that sets a field. Other policies that set it with the same specificity
    /// get a Problem.
    fn pick<T>(
        &mut self,
        selected: &[usize],
        field: &'static str,
        value: impl Fn(&Layer<'a>) -> Option<T>,
    ) -> Option<PolicyValue<T>> {
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
        Some(PolicyValue { value, origin })
    }

    /// Returns the Problems: conflicts, and hosts or paths of targets that no Route of the Ingress has.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
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
