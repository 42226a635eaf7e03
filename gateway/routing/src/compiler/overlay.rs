//! Which policy wins on which Route, field by field: path before host before Ingress before class; among equals
//! the oldest.
//!
//! Not here: whether a policy may say anything at all (`policy`).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::PolicyBackend;

use super::policy;
use super::policy::PolicyEntry;
use super::policy::Scope;
use super::policy::Target;
use crate::host::HostName;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::PathMatch;
use crate::table::Policy;
use crate::table::PolicyOrigin;
use crate::table::Sourced;

/// How much a target narrows down; more goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Class,
    Ingress,
    Host,
    Path,
    HostAndPath,
}

/// All that policies say about one Ingress.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    none: Arc<Policy>,
    /// Most specific first, then by seniority.
    layers: Vec<Layer<'a>>,
    problems: BTreeSet<Problem>,
}

#[derive(Debug)]
struct Layer<'a> {
    rank: Rank,
    entry: &'a PolicyEntry,
    target: &'a Target,
    matched: Matched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matched {
    Never,
    Some,
}

/// The Services that serve a Route in place of its own, and who says so.
#[derive(Debug)]
pub(super) struct Split<'a> {
    pub(super) backends: &'a [PolicyBackend],
    pub(super) origin: PolicyOrigin,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(none: Arc<Policy>) -> Self {
        Self { none, layers: Vec::new(), problems: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, entry: &'a PolicyEntry, target: &'a Target) {
        let rank = match &target.scope {
            Scope::Class(_) => Rank::Class,
            Scope::Ingress { host: None, path: None, .. } => Rank::Ingress,
            Scope::Ingress { host: Some(_), path: None, .. } => Rank::Host,
            Scope::Ingress { host: None, path: Some(_), .. } => Rank::Path,
            Scope::Ingress { host: Some(_), path: Some(_), .. } => Rank::HostAndPath,
        };
        self.layers.push(Layer { rank, entry, target, matched: Matched::Never });
    }

    /// To be called when all layers are there; targets of one policy keep their order.
    pub(super) fn sort(&mut self) {
        self.layers.sort_by_key(|layer| (Reverse(layer.rank), layer.entry.seniority.clone()));
    }

    /// What holds for a Route: by its host and condition, or nothing for a default backend.
    pub(super) fn of_route(
        &mut self,
        at: Option<(&HostName, &PathMatch)>,
    ) -> (Arc<Policy>, Option<Split<'a>>) {
        if self.layers.is_empty() {
            return (Arc::clone(&self.none), None);
        }
        let mut covering = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if covers(&layer.target.scope, at) {
                layer.matched = Matched::Some;
                covering.push(index);
            }
        }
        let split = self.pick(&covering, "spec.backends", |layer| {
            let backends = layer.entry.policy.spec.backends.as_deref()?;
            (!backends.is_empty() && layer.rank != Rank::Class).then_some(backends)
        });
        let body_size = self.pick(&covering, "spec.bodySize", |layer| layer.entry.policy.spec.body_size);
        let policy = Policy {
            backends: split.as_ref().map(|(_, origin)| origin.clone()),
            body_size: body_size.map(|(size, origin)| Sourced { value: size.0, origin }),
        };
        let policy = if policy == *self.none { Arc::clone(&self.none) } else { Arc::new(policy) };
        (policy, split.map(|(backends, origin)| Split { backends, origin }))
    }

    /// The first layer that has the field. Later ones of the same rank wanted to decide the same, and are told.
    fn pick<T>(
        &mut self,
        covering: &[usize],
        field: &'static str,
        value: impl Fn(&Layer<'a>) -> Option<T>,
    ) -> Option<(T, PolicyOrigin)> {
        let layers = covering.iter().filter_map(|index| self.layers.get(*index));
        let mut holding = layers.filter_map(|layer| Some((value(layer)?, layer)));
        let (value, winner) = holding.next()?;
        for (_, loser) in holding.take_while(|(_, layer)| layer.rank == winner.rank) {
            if loser.entry.policy.name == winner.entry.policy.name {
                continue;
            }
            let message = format!(
                "RoutePolicy {} {field} decides here (older, or first by name), by {}; so {} has no effect there",
                winner.entry.policy.name, winner.target.field, loser.target.field
            );
            let loser = &loser.entry.policy.name;
            self.problems.insert(policy::problem(loser, field.to_owned(), Reason::Conflict, message));
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
            let Scope::Ingress { name, host, path } = &layer.target.scope else { continue };
            if host.is_none() && path.is_none() {
                continue;
            }
            let host = host.as_ref().map(|host| format!(" with host {host}")).unwrap_or_default();
            let path = path.as_ref().map(|path| format!(" with path {path}")).unwrap_or_default();
            let message = format!("Ingress {name} has no rule{host}{path} that is served");
            let field = layer.target.field.clone();
            problems.insert(policy::problem(
                &layer.entry.policy.name,
                field,
                Reason::TargetNotFound,
                message,
            ));
        }
        problems.into_iter().collect()
    }
}

fn covers(scope: &Scope, at: Option<(&HostName, &PathMatch)>) -> bool {
    let Scope::Ingress { host, path, .. } = scope else { return true };
    let Some((at_host, at_path)) = at else { return host.is_none() && path.is_none() };
    host.as_ref().is_none_or(|host| host == at_host)
        && path.as_ref().is_none_or(|path| match at_path {
            PathMatch::Exact(exact) => **exact == **path,
            PathMatch::Prefix(_) => PathMatch::prefix(path) == *at_path,
        })
}
