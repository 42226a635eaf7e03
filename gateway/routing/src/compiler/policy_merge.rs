//! Which policy wins on which Route, field by field: path before host before Ingress before class; among equals
//! the oldest.
//!
//! Not here: whether a policy may say anything at all (`policy`).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::PolicyBackend;
use api::RoutePolicySpec;

use super::policy_index;
use super::policy_index::PolicyEntry;
use super::policy_index::PolicyTarget;
use super::policy_index::TargetScope;
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

/// How much a target narrows down; more goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Class,
    Ingress,
    Host,
    Path,
    HostAndPath,
}

/// All that policies say about one Ingress.
#[derive(Debug)]
pub(super) struct PolicyMerger<'a> {
    interned: &'a mut PolicyInterner,
    /// Most specific first, then by precedence.
    layers: Vec<Layer<'a>>,
    problems: BTreeSet<Problem>,
}

#[derive(Debug)]
struct Layer<'a> {
    specificity: Specificity,
    entry: &'a PolicyEntry,
    target: &'a PolicyTarget,
    matched: Matched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matched {
    Never,
    Some,
}

/// The Services that serve a Route in place of its own, and who says so.
#[derive(Debug)]
pub(super) struct BackendOverride<'a> {
    pub(super) backends: &'a [PolicyBackend],
    pub(super) origin: PolicyOrigin,
}

impl<'a> PolicyMerger<'a> {
    pub(super) fn new(interned: &'a mut PolicyInterner) -> Self {
        Self { interned, layers: Vec::new(), problems: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, entry: &'a PolicyEntry, target: &'a PolicyTarget) {
        let specificity = match &target.scope {
            TargetScope::Class(_) => Specificity::Class,
            TargetScope::Ingress { host: None, path: None, .. } => Specificity::Ingress,
            TargetScope::Ingress { host: Some(_), path: None, .. } => Specificity::Host,
            TargetScope::Ingress { host: None, path: Some(_), .. } => Specificity::Path,
            TargetScope::Ingress { host: Some(_), path: Some(_), .. } => Specificity::HostAndPath,
        };
        self.layers.push(Layer { specificity, entry, target, matched: Matched::Never });
    }

    /// To be called when all layers are there; targets of one policy keep their order.
    pub(super) fn sort(&mut self) {
        self.layers.sort_by_key(|layer| (Reverse(layer.specificity), layer.entry.precedence.clone()));
    }

    /// What holds for a Route: by its host and condition, or nothing for a default backend.
    pub(super) fn merge_for_route(
        &mut self,
        at: Option<(&HostName, &PathMatch)>,
    ) -> (Arc<Policy>, Option<BackendOverride<'a>>) {
        if self.layers.is_empty() {
            return (self.interned.none(), None);
        }
        let mut covering = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if covers(&layer.target.scope, at) {
                layer.matched = Matched::Some;
                covering.push(index);
            }
        }
        let backend_override = self.pick(&covering, "spec.backends", |layer| {
            let backends = layer.entry.policy.spec.backends.as_deref()?;
            (!backends.is_empty() && layer.specificity != Specificity::Class).then_some(backends)
        });
        let policy = Policy {
            backends: backend_override.as_ref().map(|(_, origin)| origin.clone()),
            body_size: self.field(&covering, "spec.bodySize", |spec| Some(spec.body_size?.0)),
            timeouts: self.timeouts(&covering),
            retries: self.retries(&covering),
            load_balancing: self
                .field(&covering, "spec.loadBalancing.type", |spec| Some(spec.load_balancing?.kind)),
            limits: PolicyLimits {
                upstream_connections: self.field(&covering, "spec.limits.upstreamConnections", |spec| {
                    spec.limits?.upstream_connections
                }),
                pending_requests: self
                    .field(&covering, "spec.limits.pendingRequests", |spec| spec.limits?.pending_requests),
            },
        };
        (
            self.interned.intern(policy),
            backend_override.map(|(backends, origin)| BackendOverride { backends, origin }),
        )
    }

    fn timeouts(&mut self, covering: &[usize]) -> PolicyTimeouts {
        let mut limit = |field, value: fn(api::Timeouts) -> Option<api::Duration>| {
            self.field(covering, field, |spec| Some(value(spec.timeouts?)?.into()))
        };
        PolicyTimeouts {
            request: limit("spec.timeouts.request", |timeouts| timeouts.request),
            connect: limit("spec.timeouts.connect", |timeouts| timeouts.connect),
            connect_total: limit("spec.timeouts.connectTotal", |timeouts| timeouts.connect_total),
            first_byte: limit("spec.timeouts.firstByte", |timeouts| timeouts.first_byte),
            stall: limit("spec.timeouts.stall", |timeouts| timeouts.stall),
            tunnel_idle: limit("spec.timeouts.tunnelIdle", |timeouts| timeouts.tunnel_idle),
        }
    }

    fn retries(&mut self, covering: &[usize]) -> PolicyRetries {
        let spec = |spec: &'a RoutePolicySpec| spec.retries.as_ref();
        PolicyRetries {
            attempts: self.field(covering, "spec.retries.attempts", |from| spec(from)?.attempts),
            on: self.field(covering, "spec.retries.on", |from| Some(spec(from)?.on.as_deref()?.into())),
            methods: self
                .field(covering, "spec.retries.methods", |from| Some(spec(from)?.methods.as_deref()?.into())),
        }
    }

    /// The value of a field of the spec that wins, with its origin.
    fn field<T>(
        &mut self,
        covering: &[usize],
        field: &'static str,
        value: impl Fn(&'a RoutePolicySpec) -> Option<T>,
    ) -> Option<PolicyValue<T>> {
        let (value, origin) = self.pick(covering, field, |layer| value(&layer.entry.policy.spec))?;
        Some(PolicyValue { value, origin })
    }

    /// The first layer that has the field. Later ones of the same specificity wanted to decide the same, and are told.
    fn pick<T>(
        &mut self,
        covering: &[usize],
        field: &'static str,
        value: impl Fn(&Layer<'a>) -> Option<T>,
    ) -> Option<(T, PolicyOrigin)> {
        let layers = covering.iter().filter_map(|index| self.layers.get(*index));
        let mut holding = layers.filter_map(|layer| Some((value(layer)?, layer)));
        let (value, winner) = holding.next()?;
        for (_, loser) in holding.take_while(|(_, layer)| layer.specificity == winner.specificity) {
            if loser.entry.policy.name == winner.entry.policy.name {
                continue;
            }
            let message = format!(
                "RoutePolicy {} {field} decides here (older, or first by name), by {}; so {} has no effect there",
                winner.entry.policy.name, winner.target.field, loser.target.field
            );
            let loser = &loser.entry.policy.name;
            self.problems.insert(policy_index::problem(loser, field.to_owned(), Reason::Conflict, message));
        }
        let origin = PolicyOrigin {
            policy: winner.entry.policy.name.clone(),
            field,
            target: winner.target.field.clone(),
        };
        Some((value, origin))
    }

    /// What went wrong: conflicts, and targets in this Ingress that no Route came up for.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
        for layer in self.layers.iter().filter(|layer| layer.matched == Matched::Never) {
            let TargetScope::Ingress { name, host, path } = &layer.target.scope else { continue };
            if host.is_none() && path.is_none() {
                continue;
            }
            let host = host.as_ref().map(|host| format!(" with host {host}")).unwrap_or_default();
            let path = path.as_ref().map(|path| format!(" with path {path}")).unwrap_or_default();
            let message = format!("Ingress {name} has no rule{host}{path} that is served");
            let field = layer.target.field.clone();
            problems.insert(policy_index::problem(
                &layer.entry.policy.name,
                field,
                Reason::TargetNotFound,
                message,
            ));
        }
        problems.into_iter().collect()
    }
}

fn covers(scope: &TargetScope, at: Option<(&HostName, &PathMatch)>) -> bool {
    let TargetScope::Ingress { host, path, .. } = scope else { return true };
    let Some((at_host, at_path)) = at else { return host.is_none() && path.is_none() };
    host.as_ref().is_none_or(|host| host == at_host)
        && path.as_ref().is_none_or(|path| match at_path {
            PathMatch::Exact(exact) => **exact == **path,
            PathMatch::Prefix(_) => PathMatch::prefix(path) == *at_path,
        })
}
