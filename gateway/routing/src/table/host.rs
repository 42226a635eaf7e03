//! One host: its Routes in match order, and the tree that finds the right one.
//!
//! Purpose: the tree gives what a scan over `PathMatch::matches` in precedence order would give, in time that
//! depends on the path's length alone. Not here: which Ingress may say what about a host (`compiler`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::path_match::PathMatch;
use super::route::Route;
use crate::host::HostName;
use crate::object::Name;

/// Everything that is known about one exact host. Without any Route it answers 404, but it is named.
#[derive(Debug)]
pub struct Host {
    name: HostName,
    routes: Box<[Arc<Route>]>,
    tls: Option<Name>,
    candidates: Box<[Box<[Arc<Route>]>]>,
    tree: matchit::Router<RouteId>,
}

/// Denotes a list in `Host::candidates`: the Routes that take a path, in order. Conditions beyond the path
/// will choose among them; until there are any, the first one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RouteId(usize);

impl Host {
    /// Builds the tree. `routes` are in match order, and no two have the same condition.
    pub(crate) fn new(name: HostName, routes: Vec<Arc<Route>>, tls: Option<Name>) -> Self {
        let mut by_pattern: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            for pattern in patterns(&route.path) {
                by_pattern.entry(pattern).or_default().push(index);
            }
        }
        let mut ids: BTreeMap<Vec<usize>, RouteId> = BTreeMap::new();
        let mut candidates = Vec::new();
        let mut tree = matchit::Router::new();
        for (pattern, indexes) in by_pattern {
            let id = *ids.entry(indexes).or_insert_with_key(|indexes| {
                candidates.push(indexes.iter().filter_map(|index| routes.get(*index).cloned()).collect());
                RouteId(candidates.len() - 1)
            });
            let inserted = tree.insert(pattern, id);
            debug_assert!(inserted.is_ok(), "escaped static paths and final catch-alls never conflict");
        }
        Self { name, routes: routes.into(), tls, candidates: candidates.into(), tree }
    }

    /// The host's name.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// All Routes, in match order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The Secret whose certificate serves this host.
    pub fn tls(&self) -> Option<&Name> {
        self.tls.as_ref()
    }

    /// The Route that takes a canonical path.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let RouteId(id) = *self.tree.at(path).ok()?.value;
        self.candidates.get(id)?.first()
    }
}

/// The tree's patterns for one condition. A catch-all takes at least one byte, hence three for a prefix.
fn patterns(path: &PathMatch) -> Vec<String> {
    let text = path.path().replace('{', "{{").replace('}', "}}");
    match path {
        PathMatch::Exact(_) => vec![text],
        PathMatch::Prefix(_) if text == "/" => vec!["/{*rest}".to_owned(), text],
        PathMatch::Prefix(_) => vec![format!("{text}/{{*rest}}"), format!("{text}/"), text],
    }
}
