//! The way of one request through the table, step by step, as plain values: what `explain` shows.
//!
//! It asks the same structures as [`RoutingTable::find`], and judges the losers by [`PathMatch::matches`]. Not
//! here: listeners and classes before the table, and endpoints' health behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::host::Host;
use super::host::HostRole;
use super::path_match::PathMatch;
use super::route::Route;
use super::routing_table;
use super::routing_table::Defaults;
use super::routing_table::RoutingTable;
use super::view;
use super::view::OwnerView;
use super::view::RouteView;
use crate::host;
use crate::host::HostName;

/// The way of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchReport {
    /// The normal host; empty for a request without one.
    pub host: String,
    /// The canonical path.
    pub path: String,
    /// To whom the host belongs, if to anybody.
    pub owner: Option<OwnerView>,
    /// The hosts that may serve, in the order in which they are asked.
    pub hosts: Vec<HostCandidate>,
    /// The Routes of the chosen host, in match order; behind each those that lost its path to it. Of an owned host
    /// those of its owners, and behind them those of others under the same host.
    pub routes: Vec<RouteCandidate>,
    /// The default backends, in the order in which they are asked. They count only if no Route is chosen.
    pub defaults: Vec<DefaultCandidate>,
    /// Who serves. Nothing: 404.
    pub chosen: Option<RouteView>,
}

/// One host that may serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostCandidate {
    /// Which sort of host.
    pub kind: HostKind,
    /// The host as a rule would name it.
    pub host: String,
    /// What became of it.
    pub verdict: HostVerdict,
}

/// The sorts of hosts, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostKind {
    /// The host's own rules.
    Exact,
    /// The rules of the wildcard one label up.
    Wildcard,
    /// The rules without a host.
    HostLess,
}

/// What became of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostVerdict {
    /// Its rules serve.
    Chosen,
    /// Rules name it, but an earlier one was chosen. There is no falling through.
    Hidden,
    /// Rules name it, but the request's host is owned, and none of them is its owners'.
    HostNotOwned,
    /// No rule names it.
    NotNamed,
}

/// One Route of the chosen host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteCandidate {
    /// The Route.
    pub route: RouteView,
    /// What became of it.
    pub verdict: RouteVerdict,
}

/// What became of a Route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteVerdict {
    /// It serves.
    Chosen,
    /// It matches, but the chosen one matches the whole path.
    LostToExact,
    /// It matches, but the chosen one has more path elements.
    LostToLonger,
    /// It matches, but an older Ingress, or an earlier place in this one, has the same path. The table does not
    /// hold it.
    LostToOlder,
    /// It matches, but the request's host belongs to other namespaces.
    HostNotOwned,
    /// It does not match the path.
    NoMatch,
}

/// One default backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultCandidate {
    /// Why it is asked.
    pub because: &'static str,
    /// Its Route.
    pub route: RouteView,
    /// What became of it.
    pub verdict: DefaultVerdict,
}

/// What became of a default backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DefaultVerdict {
    /// It serves.
    Chosen,
    /// The request's host belongs to other namespaces.
    HostNotOwned,
    /// An earlier one serves.
    LostToEarlier,
    /// A rule serves.
    NotNeeded,
}

impl RoutingTable {
    /// Finds as [`RoutingTable::find`] does, with the same arguments, and tells who else might have served and why
    /// that one did not.
    ///
    /// `claims` are what Ingresses ask for under the serving host, as [`crate::Compiler::claims`] gives them: the
    /// table does not hold what lost its path to an older Ingress. Without them those are not told of.
    pub fn match_report(&self, host: &str, path: &str, claims: &[&Arc<Route>]) -> MatchReport {
        let chosen = self.find(host, path);
        let serving = self.serving_host(host);
        let by_rule = serving.and_then(|host| host.find(path));
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
                .map(|serving| self.explain_routes(host, serving, path, claims))
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
        let [without_rules, with_rules] = self.defaults().by_ingress(owner);
        // What would serve if the host were nobody's is told too.
        let foreign = |route: &Option<Arc<Route>>| {
            let route = route.as_ref().filter(|route| !routing_table::may_serve(route, owner))?;
            Some(view::default_view(route))
        };
        let Defaults { without_rules: any_without, with_rules: any_with, class, .. } = self.defaults();
        let of_host = serving.and_then(|host| host.default_route());
        let rows = [
            ("the oldest Ingress naming this host", None, of_host),
            ("the oldest Ingress without rules", foreign(any_without), without_rules),
            ("the oldest other Ingress", foreign(any_with), with_rules),
            ("the class", None, class.as_ref()),
        ];
        let mut verdict = match by_rule {
            Some(_) => DefaultVerdict::NotNeeded,
            None => DefaultVerdict::Chosen,
        };
        let mut candidates = Vec::new();
        for (because, foreign, route) in rows {
            let kept_out = |route| DefaultCandidate { because, route, verdict: DefaultVerdict::HostNotOwned };
            candidates.extend(foreign.map(kept_out));
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
        host: &str,
        serving: &Host,
        path: &str,
        claims: &[&Arc<Route>],
    ) -> Vec<RouteCandidate> {
        let owner = self.ownership().owner_of(host);
        let is_foreign = |route: &&Arc<Route>| !routing_table::may_serve(route, owner);
        let claims: Vec<_> = claims.iter().copied().filter(|route| !is_foreign(route)).collect();
        let mut candidates = explain_routes(serving, path, &claims);
        let all = self.host(serving.name()).filter(|_| owner.is_some());
        candidates.extend(all.into_iter().flat_map(|all| all.routes()).filter(is_foreign).map(|route| {
            let verdict =
                if route.path.matches(path) { RouteVerdict::HostNotOwned } else { RouteVerdict::NoMatch };
            RouteCandidate { route: view::route_view(route), verdict }
        }));
        candidates
    }
}

fn explain_routes(host: &Host, path: &str, claims: &[&Arc<Route>]) -> Vec<RouteCandidate> {
    let chosen = host.find(path);
    let judge = |route: &Arc<Route>| match chosen {
        Some(chosen) if Arc::ptr_eq(chosen, route) => RouteVerdict::Chosen,
        Some(chosen) if route.path.matches(path) => match chosen.path {
            PathMatch::Exact(_) => RouteVerdict::LostToExact,
            PathMatch::Prefix(_) => RouteVerdict::LostToLonger,
        },
        _ => RouteVerdict::NoMatch,
    };
    let judge_loser = |route: &Arc<Route>| match route.path.matches(path) {
        true => RouteVerdict::LostToOlder,
        false => RouteVerdict::NoMatch,
    };
    let mut by_path: BTreeMap<&PathMatch, Vec<&Arc<Route>>> = BTreeMap::new();
    for route in claims {
        by_path.entry(&route.path).or_default().push(route);
    }
    let mut candidates = Vec::new();
    for route in host.routes() {
        candidates.push(RouteCandidate { route: view::route_view(route), verdict: judge(route) });
        let same_path = by_path.get(&route.path).into_iter().flatten();
        for loser in same_path.filter(|claim| !Arc::ptr_eq(claim, route)) {
            candidates.push(RouteCandidate { route: view::route_view(loser), verdict: judge_loser(loser) });
        }
    }
    candidates
}
