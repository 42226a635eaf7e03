//! Merges the RoutePolicies of a Route field by field: path before host before Ingress before class, then the oldest.
//! Policies of a class handler come between those of the Ingress and those of the class.
//!
//! Not here: whether a policy is valid (`policy_entry`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::HttpBackendRef;
use api::PolicyBackend;

use super::answered_policy::AnsweredPolicy;
use super::plugin_index::UsedConfig;
use super::plugin_merge::NamedUse;
use super::plugin_merge::PluginMerger;
use super::plugin_merge::RoutePlugins;
use super::plugin_rules::RuleSubject;
use super::policy_entry;
use super::policy_entry::NamedPlugin;
use super::policy_entry::PolicyEntry;
use super::policy_interner::PolicyInterner;
use super::policy_target::PolicyTarget;
use super::policy_target::RouteCondition;
use super::policy_target::TargetScope;
use super::rule_filters::RuleFilters;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
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
    /// A policy of the class handler, for all paths of a host.
    Answer,
    /// A policy of the class handler, for one path.
    AnswerPath,
    Ingress,
    Host,
    Path,
    HostAndPath,
}

/// Merges the policies that target one Ingress.
#[derive(Debug)]
pub(super) struct PolicyMerger<'a> {
    interner: &'a mut PolicyInterner,
    plugins: PluginMerger<'a>,
    /// `None` for a class alone.
    ingress: Option<&'a Name>,
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
    /// Where a policy of the class handler comes from. `None` for a RoutePolicy.
    answer: Option<AnswerLayer<'a>>,
}

/// The answer that a policy of a class handler is from.
#[derive(Clone, Copy, Debug)]
struct AnswerLayer<'a> {
    /// The host of the call. The policy applies to the routes of this answer alone.
    host: &'a HostName,
    /// The annotations that it comes from.
    keys: Option<&'a Arc<str>>,
}

/// The host and path of a Route.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteKey<'a> {
    /// The condition by which policies select the Route.
    pub(super) condition: RouteCondition<'a>,
    /// The condition of the Route itself.
    pub(super) matched: &'a PathMatch,
    /// Whether `spec.tls` of the Ingress names the host.
    pub(super) is_tls_host: bool,
    /// The host of the call of the class handler. `None` without a handler.
    pub(super) answer: Option<&'a HostName>,
    /// Filters of the rule.
    pub(super) filters: Option<&'a RuleFilters>,
}

/// The Route whose policies are merged.
#[derive(Clone, Copy)]
struct Selected<'a> {
    /// `None` is the Route of a default backend.
    key: Option<RouteKey<'a>>,
    is_tls_host: bool,
    answer: Option<&'a HostName>,
}

/// The Services of a Route, by its rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteServices<'a> {
    pub(super) namespace: &'a str,
    pub(super) references: &'a [HttpBackendRef],
}

/// Everything that a merger found beside the policies.
#[derive(Debug, Default)]
pub(super) struct MergeReport {
    pub(super) problems: Box<[Problem]>,
    pub(super) used_configs: Box<[UsedConfig]>,
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
    /// Creates a merger without policies. `ingress` is `None` for a class alone.
    pub(super) fn new(
        interner: &'a mut PolicyInterner,
        plugins: PluginMerger<'a>,
        ingress: Option<&'a Name>,
    ) -> Self {
        let (layers, problems, redirects) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self { interner, plugins, ingress, layers, problems, redirects }
    }

    pub(super) fn add(&mut self, entry: &'a PolicyEntry, target: &'a PolicyTarget) {
        let specificity = match &target.scope {
            TargetScope::Class(_) => Specificity::Class,
            TargetScope::Ingress { host: None, path: None, .. } => Specificity::Ingress,
            TargetScope::Ingress { host: Some(_), path: None, .. } => Specificity::Host,
            TargetScope::Ingress { host: None, path: Some(_), .. } => Specificity::Path,
            TargetScope::Ingress { host: Some(_), path: Some(_), .. } => Specificity::HostAndPath,
        };
        self.layers.push(Layer { specificity, entry, target, has_matched: false, answer: None });
    }

    /// Adds a policy that the class handler emitted for a host.
    pub(super) fn add_answered(&mut self, host: &'a HostName, policy: &'a AnsweredPolicy) {
        let answer = Some(AnswerLayer { host, keys: policy.keys.as_ref() });
        let entry = &policy.entry;
        for target in &entry.targets {
            let specificity = match &target.scope {
                TargetScope::Ingress { path: Some(_), .. } => Specificity::AnswerPath,
                TargetScope::Ingress { path: None, .. } | TargetScope::Class(_) => Specificity::Answer,
            };
            self.layers.push(Layer { specificity, entry, target, has_matched: false, answer });
        }
    }

    /// Sorts the layers by precedence. Must be called after the last [`PolicyMerger::add`]. Targets of one policy keep
    /// their order.
    pub(super) fn sort(&mut self) {
        self.layers.sort_by_key(|layer| (Reverse(layer.specificity), layer.entry.precedence.clone()));
    }

    /// Merges the policies of a Route. `None` is the Route of a default backend, for hosts without `spec.tls`.
    pub(super) fn merge(
        &mut self,
        route: Option<RouteKey<'_>>,
        services: RouteServices<'_>,
    ) -> MergedPolicy<'a> {
        let selected = Selected {
            key: route,
            is_tls_host: route.is_some_and(|route| route.is_tls_host),
            // Default backends are in the call about no host.
            answer: route.map_or(Some(&HostName::Any), |route| route.answer),
        };
        self.merge_at(selected, services)
    }

    /// Merges the policies of the Route of a default backend, for hosts that `spec.tls` names.
    pub(super) fn merge_default_for_tls(&mut self, services: RouteServices<'_>) -> Arc<Policy> {
        let selected = Selected { key: None, is_tls_host: true, answer: Some(&HostName::Any) };
        self.merge_at(selected, services).policy
    }

    fn merge_at(&mut self, route: Selected<'_>, services: RouteServices<'_>) -> MergedPolicy<'a> {
        let Selected { key, is_tls_host, .. } = route;
        let filters = key.and_then(|key| key.filters);
        if self.layers.is_empty() && self.plugins.is_empty() && filters.is_none() {
            return MergedPolicy { policy: self.interner.empty(), backends: None };
        }
        let selected = self.select(route);
        let route = key.map(|key| key.condition);
        let backends = self.pick(&selected, BACKENDS, |layer| {
            let backends = layer.entry.spec.backends.as_deref()?;
            (!backends.is_empty() && layer.specificity != Specificity::Class).then_some(backends)
        });
        let namespace = services.namespace;
        let mut policy =
            Policy { backends: backends.as_ref().map(|field| field.origin.clone()), ..Policy::default() };
        for field in FIELDS.iter() {
            if let Some(filters) = filters.filter(|filters| field.is_set(&filters.spec)) {
                policy.set(field, &filters.spec, filters.origin(self.ingress, field.path));
                continue;
            }
            let picked = self.pick(&selected, field.path, |layer| {
                let spec = &*layer.entry.spec;
                field.is_set(spec).then_some(spec)
            });
            if let Some(PickedField { value, origin }) = picked {
                policy.set(field, value, origin);
            }
        }
        self.remove_conflicts(&mut policy);
        self.note_redirect(&policy, key);
        policy.is_tls_host = policy.depends_on_tls() && is_tls_host;
        let backends =
            backends.map(|PickedField { value, origin }| BackendOverride { backends: value, origin });
        let services: Vec<&str> = match &backends {
            Some(BackendOverride { backends, .. }) => backends.iter().map(|share| &*share.service).collect(),
            None => services.references.iter().map(|reference| &*reference.name).collect(),
        };
        let subject = RuleSubject {
            ingress: self.ingress,
            host: route.map(|route| route.host),
            namespace,
            services: &services,
        };
        let named = self.named_plugins(&selected);
        let RoutePlugins { plugins, missing } = self.plugins.merge(subject, route, &named);
        (policy.plugins, policy.missing_plugin) = (plugins, missing);
        MergedPolicy { policy: self.interner.intern(policy), backends }
    }

    /// Returns the layers that select a Route.
    fn select(&mut self, route: Selected<'_>) -> Vec<usize> {
        let condition = route.key.map(|key| key.condition);
        let mut selected = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let is_of_answer = layer.answer.is_none_or(|answer| Some(answer.host) == route.answer);
            if is_of_answer && layer.target.scope.selects(condition) {
                layer.has_matched = true;
                selected.push(index);
            }
        }
        selected
    }

    /// Returns the plugins that the policies of a Route name. The first layer that names a plugin wins. Another policy
    /// that gives it another configuration with the same specificity gets a Problem.
    fn named_plugins(&mut self, selected: &[usize]) -> Vec<NamedUse<'a>> {
        let mut found: Vec<(&Layer<'a>, NamedUse<'a>)> = Vec::new();
        for layer in selected.iter().filter_map(|index| self.layers.get(*index)) {
            for plugin in &layer.entry.plugins {
                let known = found.iter().find(|(_, known)| known.plugin.plugin == plugin.plugin);
                let Some((winner, known)) = known else {
                    found.push((layer, NamedUse { policy: &layer.entry.policy.name, plugin }));
                    continue;
                };
                let config = |of: &NamedPlugin| of.config.as_ref().map(|config| Arc::clone(&config.text));
                if winner.specificity == layer.specificity
                    && layer.answer.is_none()
                    && winner.entry.policy.name != layer.entry.policy.name
                    && config(known.plugin) != config(plugin)
                {
                    self.problems.insert(conflict(&plugin.field, winner, layer));
                }
            }
        }
        found.into_iter().map(|(_, named)| named).collect()
    }

    /// Removes values that exclude each other. Each gets a Problem of the policy that set it.
    fn remove_conflicts(&mut self, policy: &mut Policy) {
        for FieldConflict { field, other, reason } in conflicts(policy) {
            let setter = policy.origins.iter().find(|origin| origin.field == other);
            let setter = setter.map(PolicyOrigin::to_string).unwrap_or_default();
            if let Some(origin) = policy.unset(field) {
                let message = format!("contradicts {other} of {setter}: {reason}");
                self.problems.insert(origin_problem(&origin, self.ingress, field, message));
            }
        }
    }

    /// Records whether the redirect of a Route has an effect. One that has none on any Route gets a Problem at the end.
    fn note_redirect(&mut self, policy: &Policy, route: Option<RouteKey<'_>>) {
        let result = redirect_to_itself(policy, route.map(|route| (route.condition.host, route.matched)));
        let is_redirect = |origin: &&PolicyOrigin| {
            origin.annotations.is_none() && origin.field.starts_with("spec.redirect.")
        };
        for origin in policy.origins.iter().filter(is_redirect) {
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
            if loser.answer.is_none() && loser.entry.policy.name != winner.entry.policy.name {
                self.problems.insert(conflict(field, winner, loser));
            }
        }
        let origin = PolicyOrigin {
            policy: winner.entry.policy.name.clone(),
            field,
            target: winner.target.field.clone(),
            annotations: winner.answer.map(|answer| match answer.keys {
                Some(keys) => Arc::clone(keys),
                None => Arc::default(),
            }),
        };
        Some(PickedField { value, origin })
    }

    /// Returns the configurations of plugins, and the Problems: conflicts, and hosts or paths of targets that no Route of
    /// the Ingress has.
    pub(super) fn finish(self) -> MergeReport {
        let mut problems = self.problems;
        for (policy, redirect) in self.redirects {
            let SelfRedirect::Field(field) = redirect else { continue };
            let message =
                "the redirect leads to the same URL: write another host, path, port or scheme".to_owned();
            problems.insert(policy_entry::problem(&policy, field.to_owned(), Reason::InvalidValue, message));
        }
        for layer in self.layers.iter().filter(|layer| !layer.has_matched && layer.answer.is_none()) {
            problems.extend(layer.target.unmatched(&policy_entry::reference(&layer.entry.policy.name)));
        }
        problems.extend(self.plugins.unmatched());
        MergeReport {
            problems: problems.into_iter().collect(),
            used_configs: self.plugins.into_used_configs(),
        }
    }
}

/// Creates a Problem of the object that set a field: a RoutePolicy, or the Ingress of a class handler.
fn origin_problem(origin: &PolicyOrigin, ingress: Option<&Name>, field: &str, message: String) -> Problem {
    match (&origin.annotations, ingress) {
        (Some(keys), Some(ingress)) => Problem {
            object: ObjectRef { kind: Kind::Ingress, name: ingress.clone() },
            field: format!("metadata.annotations[{}]", keys.escape_debug()),
            reason: Reason::InvalidValue,
            message: format!("{field} {message}"),
        },
        _ => policy_entry::problem(&origin.policy, field.to_owned(), Reason::InvalidValue, message),
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
