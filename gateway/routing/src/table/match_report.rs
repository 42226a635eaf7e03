//! The lookup of one request step by step, as plain values for `explain`.
//!
//! The report uses the structures of [`RoutingTable::find`], and [`Route::matches`] for Routes that were not chosen.
//! Not here: listeners and classes before the lookup, and the health of endpoints after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::conditions::RequestParts;
use super::host::Host;
use super::host::HostRole;
use super::path_match::PathMatch;
use super::route::MatchKey;
use super::route::Route;
use super::routing_table;
use super::routing_table::Defaults;
use super::routing_table::RoutingTable;
use super::view;
use super::view::OwnerView;
use super::view::RouteView;
use crate::host;
use crate::host::HostName;

/// The lookup of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchReport {
    /// Host in normal form. Empty for a request without one.
    pub host: String,
    /// Canonical path.
    pub path: String,
    /// Owner of the host.
    pub owner: Option<OwnerView>,
    /// Candidate hosts, in the order of lookup.
    pub hosts: Vec<HostCandidate>,
    /// Routes of the chosen host in match order. Each is followed by those that lost its path to it. For an owned host
    /// come first the Routes of its owners, then those of other namespaces under the same host.
    pub routes: Vec<RouteCandidate>,
    /// Default backends, in the order of lookup. Used only if no Route is chosen.
    pub defaults: Vec<DefaultCandidate>,
    /// The Route that serves. `None`: the request gets a 404.
    pub chosen: Option<RouteView>,
}

/// A candidate host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostCandidate {
    /// Kind of host.
    pub kind: HostKind,
    /// Name of the host, as in a rule.
    pub host: String,
    /// Result.
    pub verdict: HostVerdict,
}

/// Kinds of hosts, in the order of lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostKind {
    /// The rules for the host itself.
    Exact,
    /// The rules of the wildcard one label up.
    Wildcard,
    /// The rules without a host.
    HostLess,
}

/// Result for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostVerdict {
    /// Chosen: its rules serve the request.
    Chosen,
    /// Rules name it, but an earlier host was chosen. Lookup never falls back to the next host.
    Hidden,
    /// Rules name it, but none of them belongs to the owners of the request's host.
    HostNotOwned,
    /// No rule names it.
    NotNamed,
}

/// A Route of the chosen host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteCandidate {
    /// The Route.
    pub route: RouteView,
    /// Result.
    pub verdict: RouteVerdict,
}

/// Result for a Route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteVerdict {
    /// Chosen: it serves the request.
    Chosen,
    /// Matches, but the chosen Route matches the whole path.
    LostToExact,
    /// Matches, but the chosen Route has more path elements, or a longer regular expression.
    LostToLonger,
    /// Matches by a regular expression, but the chosen Route has a Prefix path.
    LostToPrefix,
    /// Matches, but the chosen Route has the same path and more conditions.
    LostToConditions,
    /// Matches, but an older Ingress, or an earlier rule of this one, has the same path. The table does not hold the
    /// Route.
    LostToOlder,
    /// Matches, but other namespaces own the request's host.
    HostNotOwned,
    /// Matches the path, but the request does not meet its other conditions.
    ConditionsNotMet,
    /// Does not match the path.
    NoMatch,
}

/// A candidate default backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultCandidate {
    /// Why it is a candidate.
    pub because: &'static str,
    /// Its Route.
    pub route: RouteView,
    /// Result.
    pub verdict: DefaultVerdict,
}

/// Result for a default backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DefaultVerdict {
    /// Chosen: it serves the request.
    Chosen,
    /// Other namespaces own the request's host.
    HostNotOwned,
    /// Rules of other namespaces name the request's host.
    HostNamedElsewhere,
    /// An earlier default backend serves.
    LostToEarlier,
    /// A rule serves.
    NotNeeded,
}

/// Why default backends are candidates for a host that no rule names.
const UNNAMED_REASONS: [&str; 3] =
    ["the oldest Ingress without rules", "the oldest other Ingress", "the class"];

/// Why default backends are candidates for a host that rules name.
const NAMED_REASONS: [&str; 3] = [
    "the oldest Ingress without rules in the namespaces naming this host",
    "the oldest other Ingress in the namespaces naming this host",
    "the class naming this host",
];

/// The arguments of a lookup.
#[derive(Clone, Copy)]
struct Lookup<'a> {
    host: &'a str,
    path: &'a str,
    request: &'a dyn RequestParts,
}

impl Lookup<'_> {
    /// Returns why a Route does not match, judged by its conditions alone. Returns `None` if it matches.
    fn mismatch(&self, route: &Route) -> Option<RouteVerdict> {
        if !route.path.matches(self.path) {
            return Some(RouteVerdict::NoMatch);
        }
        (!route.matches(self.path, self.request)).then_some(RouteVerdict::ConditionsNotMet)
    }

    /// Returns the result for a Route of the table.
    fn judge(&self, route: &Arc<Route>, chosen: Option<&Arc<Route>>) -> RouteVerdict {
        match (self.mismatch(route), chosen) {
            (_, Some(chosen)) if Arc::ptr_eq(chosen, route) => RouteVerdict::Chosen,
            (Some(mismatch), _) => mismatch,
            (None, None) => RouteVerdict::NoMatch,
            (None, Some(chosen)) if chosen.path == route.path => RouteVerdict::LostToConditions,
            (None, Some(chosen)) => match (&chosen.path, &route.path) {
                (PathMatch::Exact(_), _) => RouteVerdict::LostToExact,
                (PathMatch::Prefix(_), PathMatch::Regex(_)) => RouteVerdict::LostToPrefix,
                (PathMatch::Prefix(_) | PathMatch::Regex(_), _) => RouteVerdict::LostToLonger,
            },
        }
    }
}

impl RoutingTable {
    /// Reports the lookup of [`RoutingTable::find_request`], with the same arguments: the chosen Route, and why no other
    /// was.
    ///
    /// `candidates` are all Routes of the serving host ([`crate::Compiler::candidate_routes`]). The table does not hold
    /// those that lost their path to an older Ingress, so the report lists them only if they are given here.
    pub fn match_report(
        &self,
        host: &str,
        path: &str,
        request: &dyn RequestParts,
        candidates: &[&Arc<Route>],
    ) -> MatchReport {
        let chosen = self.find_request(host, path, request);
        let serving = self.serving_host(host);
        let by_rule = serving.and_then(|host| host.find(path, request));
        let lookup = Lookup { host, path, request };
        let view = |route: &Arc<Route>| match by_rule {
            Some(_) => view::route_view(route),
            None => view::default_view(route),
        };
        MatchReport {
            host: host.to_owned(),
            path: path.to_owned(),
            owner: self.ownership().owner_of(host).map(view::owner_view),
            hosts: self.explain_hosts(host),
            routes: serving
                .map(|serving| self.explain_routes(lookup, serving, candidates))
                .unwrap_or_default(),
            defaults: self.explain_defaults(host, serving, by_rule),
            chosen: chosen.map(view),
        }
    }

    fn explain_hosts(&self, host: &str) -> Vec<HostCandidate> {
        let serving = self.serving_host(host);
        let exact = (!host.is_empty()).then(|| (HostKind::Exact, HostName::Exact(host.into())));
        let wildcard =
            host::parent(host).map(|parent| (HostKind::Wildcard, HostName::Wildcard(parent.into())));
        let names = exact.into_iter().chain(wildcard).chain([(HostKind::HostLess, HostName::Any)]);
        let candidate = |(kind, name): (HostKind, HostName)| {
            let found = self.host(&name).filter(|found| found.role() == HostRole::Routed);
            let verdict = match (found, serving) {
                (None, _) => HostVerdict::NotNamed,
                (Some(_), Some(serving)) if *serving.name() == name => HostVerdict::Chosen,
                (Some(_), Some(serving)) if *serving.name() < name => HostVerdict::Hidden,
                (Some(_), _) => HostVerdict::HostNotOwned,
            };
            HostCandidate { kind, host: name.to_string(), verdict }
        };
        names.map(candidate).collect()
    }

    fn explain_defaults(
        &self,
        host: &str,
        serving: Option<&Arc<Host>>,
        by_rule: Option<&Arc<Route>>,
    ) -> Vec<DefaultCandidate> {
        let owner = self.ownership().owner_of(host);
        let [of_host, without_rules, with_rules, class] = self.default_candidates(host, serving);
        let is_named = serving.is_some_and(|serving| *serving.name() != HostName::Any);
        // Reports also the default backend that would serve if the host had no owner, and no rule named it.
        let foreign = |route: &Option<Arc<Route>>, own: Option<&Arc<Route>>| {
            let route = route.as_ref()?;
            let verdict = match routing_table::may_serve(route, owner) {
                false => DefaultVerdict::HostNotOwned,
                true if is_named && own.is_none_or(|own| !Arc::ptr_eq(own, route)) => {
                    DefaultVerdict::HostNamedElsewhere
                }
                true => return None,
            };
            let is_of_host = of_host.is_some_and(|of_host| Arc::ptr_eq(of_host, route));
            (!is_of_host).then(|| (view::default_view(route), verdict))
        };
        let Defaults { without_rules: any_without, with_rules: any_with, .. } = self.defaults();
        let (any_without, any_with) = (foreign(any_without, without_rules), foreign(any_with, with_rules));
        let [by_none, by_other, by_class] = match is_named {
            true => NAMED_REASONS,
            false => UNNAMED_REASONS,
        };
        let rows = [
            ("the oldest Ingress naming this host", None, of_host),
            (by_none, any_without, without_rules),
            (by_other, any_with, with_rules),
            (by_class, None, class),
        ];
        let mut verdict = match by_rule {
            Some(_) => DefaultVerdict::NotNeeded,
            None => DefaultVerdict::Chosen,
        };
        let mut candidates = Vec::new();
        for (because, foreign, route) in rows {
            candidates.extend(foreign.map(|(route, verdict)| DefaultCandidate { because, route, verdict }));
            let Some(route) = route else { continue };
            let route = view::default_view(route);
            candidates.push(DefaultCandidate { because, route, verdict });
            if verdict == DefaultVerdict::Chosen {
                verdict = DefaultVerdict::LostToEarlier;
            }
        }
        candidates
    }

    fn explain_routes(
        &self,
        lookup: Lookup<'_>,
        serving: &Host,
        candidates: &[&Arc<Route>],
    ) -> Vec<RouteCandidate> {
        let owner = self.ownership().owner_of(lookup.host);
        let is_foreign = |route: &&Arc<Route>| !routing_table::may_serve(route, owner);
        let candidates: Vec<_> = candidates.iter().copied().filter(|route| !is_foreign(route)).collect();
        let mut rows = explain_routes(serving, lookup, &candidates);
        let all = self.host(serving.name()).filter(|_| owner.is_some());
        rows.extend(all.into_iter().flat_map(|all| all.routes()).filter(is_foreign).map(|route| {
            let verdict = lookup.mismatch(route).unwrap_or(RouteVerdict::HostNotOwned);
            RouteCandidate { route: view::route_view(route), verdict }
        }));
        rows
    }
}

#[expect(clippy::mutable_key_type, reason = "caches of expressions take no part in the order")]
fn explain_routes(host: &Host, lookup: Lookup<'_>, candidates: &[&Arc<Route>]) -> Vec<RouteCandidate> {
    let chosen = host.find(lookup.path, lookup.request);
    let mut by_key: BTreeMap<MatchKey, Vec<&Arc<Route>>> = BTreeMap::new();
    for route in candidates {
        by_key.entry(route.match_key()).or_default().push(route);
    }
    let mut rows = Vec::new();
    for route in host.routes() {
        rows.push(RouteCandidate { route: view::route_view(route), verdict: lookup.judge(route, chosen) });
        let same_key = by_key.get(&route.match_key()).into_iter().flatten();
        for loser in same_key.filter(|claim| !Arc::ptr_eq(claim, route)) {
            let verdict = lookup.mismatch(loser).unwrap_or(RouteVerdict::LostToOlder);
            rows.push(RouteCandidate { route: view::route_view(loser), verdict });
        }
    }
    rows
}
