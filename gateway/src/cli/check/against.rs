//! Finds the requests that two tables route differently.
//!
//! The sample requests follow from the rules of the tables: for each host of either table and each path of a rule that may
//! serve it, the path itself and one path below it. A table decides by nothing else, so these samples find each
//! difference. Not here: the outcome of a request (`cli::outcome`).

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use routing::table::{Owner, PlainRequest};
use routing::{HostName, RoutingTable};
use serde::Serialize;

use crate::cli::outcome::Outcome;

/// A request that two tables route differently. It is the first one found for its rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteChange {
    /// The host, as a rule has it.
    pub host: String,
    /// A sample request.
    pub url: String,
    /// The outcome with the other folder.
    pub before: Outcome,
    /// The outcome with this folder.
    pub now: Outcome,
}

impl Display for RouteChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  before: {}\n  now:    {}", self.url, self.before, self.now)
    }
}

/// Compares two tables. Returns one change for each rule and pair of outcomes, sorted by host and path.
pub fn changes(before: &RoutingTable, now: &RoutingTable) -> Vec<RouteChange> {
    let tables = [before, now];
    let mut names: BTreeSet<HostName> =
        tables.iter().flat_map(|table| table.hosts()).map(|host| host.name().clone()).collect();
    names.extend(tables.iter().flat_map(|table| table.ownership().iter()).map(|owner| owner.host().clone()));
    // Requests to all other hosts go to default backends.
    names.insert(HostName::Any);
    names.iter().flat_map(|name| changes_of(name, tables)).collect()
}

fn changes_of(name: &HostName, tables: [&RoutingTable; 2]) -> Vec<RouteChange> {
    let host = sample_host(name, tables);
    // The serving host may differ: a table with an exact host hides the wildcard of the other table.
    let serving = tables.iter().filter_map(|table| table.serving_host(&host));
    let routes = serving.flat_map(|host| host.routes());
    let mut paths: BTreeSet<&str> = routes.map(|route| route.path.sample()).collect();
    paths.insert("/");
    let mut changes: Vec<RouteChange> = Vec::new();
    // A rule takes many sample paths. It is listed once for each rule that took them before.
    let mut known = BTreeSet::new();
    for path in &paths {
        for target in [(*path).to_owned(), path_below(path, &paths)] {
            let [before, now] =
                tables.map(|table| Outcome::for_destination(table, &host, &target, &PlainRequest));
            if before.client_visible() != now.client_visible() && known.insert((before.clone(), now.clone()))
            {
                let url = format!("http://{host}{target}");
                changes.push(RouteChange { host: name.to_string(), url, before, now });
            }
        }
    }
    changes
}

/// Returns a path with one more element that no rule has.
fn path_below(path: &str, named: &BTreeSet<&str>) -> String {
    let stem = path.trim_end_matches('/');
    let numbered = (1..=named.len()).map(|number| format!("{stem}/x{number}"));
    let mut candidates = std::iter::once(format!("{stem}/x")).chain(numbered);
    candidates.find(|path| !named.contains(path.as_str())).unwrap_or_else(|| format!("{stem}/x/x"))
}

/// Returns a host that matches a rule's host and no more specific host.
fn sample_host(name: &HostName, tables: [&RoutingTable; 2]) -> String {
    let parent = match name {
        HostName::Exact(name) => return name.to_string(),
        HostName::Wildcard(parent) => parent,
        // Reserved by RFC 6761.
        HostName::Any => "invalid",
    };
    let is_free = |host: &String| {
        let exact = HostName::Exact(host.as_str().into());
        let wildcard = HostName::Wildcard("invalid".into());
        tables.iter().all(|table| {
            let is_hidden = *name == HostName::Any && table.host(&wildcard).is_some();
            let is_owned = match table.ownership().owner_of(host).map(Owner::host) {
                None => false,
                Some(owner) => *name == HostName::Any || *owner == exact,
            };
            table.host(&exact).is_none() && !is_owned && !is_hidden
        })
    };
    // One of more names than there are hosts is free. The last name is for a rule with host `*.invalid`.
    let max = tables.iter().map(|table| table.len()).sum::<usize>() + 1;
    let numbered = (1..=max).map(|number| format!("sample{number}.{parent}"));
    let first = std::iter::once(format!("sample.{parent}"));
    first.chain(numbered).find(is_free).unwrap_or_else(|| format!("a.sample.{parent}"))
}
