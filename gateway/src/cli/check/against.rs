//! Which requests two tables answer differently.
//!
//! Sample requests come from the tables' own rules: for every host of either table and every path of a rule that
//! may serve it, the path itself and one below it. Between those the answer cannot change, because a table
//! decides by nothing else. Not here: what an answer is (`cli::outcome`).

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use routing::table::Owner;
use routing::{HostName, RoutingTable};
use serde::Serialize;

use crate::cli::outcome::Outcome;

/// A request that is answered differently. Stands for all of its rule: the first one that was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The host as a rule names it.
    pub host: String,
    /// A sample request.
    pub url: String,
    /// What the other folder gives.
    pub before: Outcome,
    /// What this folder gives.
    pub now: Outcome,
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  before: {}\n  now:    {}", self.url, self.before, self.now)
    }
}

/// Compares two tables: one change for each rule and pair of answers, sorted by host and path.
pub fn changes(before: &RoutingTable, now: &RoutingTable) -> Vec<Change> {
    let tables = [before, now];
    let mut names: BTreeSet<HostName> =
        tables.iter().flat_map(|table| table.hosts()).map(|host| host.name().clone()).collect();
    names.extend(tables.iter().flat_map(|table| table.ownership().iter()).map(|owner| owner.host().clone()));
    // Whatever no rule names goes to default backends, which may be all that there is.
    names.insert(HostName::Any);
    names.iter().flat_map(|name| changes_of(name, tables)).collect()
}

fn changes_of(name: &HostName, tables: [&RoutingTable; 2]) -> Vec<Change> {
    let host = sample(name, tables);
    // The host that serves may be another one in each table: a wildcard that is hidden in one of them only.
    let serving = tables.iter().filter_map(|table| table.serving_host(&host));
    let routes = serving.flat_map(|host| host.routes());
    let mut paths: BTreeSet<&str> = routes.map(|route| route.path.path()).collect();
    paths.insert("/");
    let mut changes: Vec<Change> = Vec::new();
    // A rule takes many of the sample paths, and stands in one change for each rule that took them before.
    let mut known = BTreeSet::new();
    for path in &paths {
        for target in [(*path).to_owned(), below(path, &paths)] {
            let [before, now] = tables.map(|table| Outcome::for_destination(table, &host, &target));
            if before.client_visible() != now.client_visible() && known.insert((before.clone(), now.clone()))
            {
                let url = format!("http://{host}{target}");
                changes.push(Change { host: name.to_string(), url, before, now });
            }
        }
    }
    changes
}

/// A path of one element more that no rule names.
fn below(path: &str, named: &BTreeSet<&str>) -> String {
    let stem = path.trim_end_matches('/');
    let numbered = (1..=named.len()).map(|number| format!("{stem}/x{number}"));
    let mut candidates = std::iter::once(format!("{stem}/x")).chain(numbered);
    candidates.find(|path| !named.contains(path.as_str())).unwrap_or_else(|| format!("{stem}/x/x"))
}

/// A host that a rule's host takes, and that no rule names more closely.
fn sample(name: &HostName, tables: [&RoutingTable; 2]) -> String {
    let parent = match name {
        HostName::Exact(name) => return name.to_string(),
        HostName::Wildcard(parent) => parent,
        // RFC 6761 keeps this name from ever being anybody's.
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
    // As many names as there are hosts cannot all be taken; the other samples are for a rule `*.invalid`.
    let most = tables.iter().map(|table| table.len()).sum::<usize>() + 1;
    let numbered = (1..=most).map(|number| format!("sample{number}.{parent}"));
    let first = std::iter::once(format!("sample.{parent}"));
    first.chain(numbered).find(is_free).unwrap_or_else(|| format!("a.sample.{parent}"))
}
