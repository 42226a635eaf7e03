//! One host: its Routes in match order, and the trees that find the right one.
//!
//! Purpose: the trees give what a scan over `PathMatch::matches` in precedence order would give. Their patterns
//! hold no wildcards: matchit 0.9.2 allocates on every step past a node that has a wildcard beside static
//! children, which is any host with rules for `/` and `/api`. So prefixes are asked for element by element, from
//! the longest that any rule has down to `/`. Not here: which Ingress may say what about a host (`compiler`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::path_match::PathMatch;
use super::route::Route;
use crate::host::HostName;
use crate::object::Name;

/// Everything that is known about one host.
#[derive(Debug)]
pub struct Host {
    name: HostName,
    standing: Standing,
    default: Option<Arc<Route>>,
    routes: Box<[Arc<Route>]>,
    tls: Option<Name>,
    candidates: Box<[Box<[Arc<Route>]>]>,
    exact: matchit::Router<RouteId>,
    prefixes: matchit::Router<RouteId>,
    /// How many elements the longest prefix has: no lookup takes more steps, however long the request's path is.
    depth: usize,
}

/// Why a host is in the table. The order is that of strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Only for its certificate: its requests go where they would go without it.
    #[default]
    Certificate,
    /// A rule names it, perhaps without any path: no wildcard and no host-less rule serves it.
    Named,
}

/// What a host is built from.
#[derive(Debug)]
pub(crate) struct HostParts {
    pub(crate) name: HostName,
    pub(crate) standing: Standing,
    /// In match order.
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) default: Option<Arc<Route>>,
    pub(crate) tls: Option<Name>,
}

/// Denotes a list in `Host::candidates`: the Routes that take a path, in order. Conditions beyond the path
/// will choose among them; until there are any, the first one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RouteId(usize);

impl Host {
    /// Builds the trees.
    pub(crate) fn new(parts: HostParts) -> Self {
        let HostParts { name, standing, routes, default, tls } = parts;
        let mut by_path: BTreeMap<&PathMatch, Vec<Arc<Route>>> = BTreeMap::new();
        for route in &routes {
            by_path.entry(&route.path).or_default().push(Arc::clone(route));
        }
        let mut candidates = Vec::with_capacity(by_path.len());
        let mut exact = matchit::Router::new();
        let mut prefixes = matchit::Router::new();
        let mut depth = 0;
        for (path, routes) in by_path {
            let id = RouteId(candidates.len());
            candidates.push(routes.into());
            // Braces would be parameters to the tree.
            let pattern = path.path().replace('{', "{{").replace('}', "}}");
            let inserted = match path {
                PathMatch::Exact(_) => exact.insert(pattern, id),
                PathMatch::Prefix(_) => {
                    depth = depth.max(path.elements());
                    prefixes.insert(pattern, id)
                }
            };
            debug_assert!(inserted.is_ok(), "distinct static paths never conflict");
        }
        let (routes, candidates) = (routes.into(), candidates.into());
        Self { name, standing, default, routes, tls, candidates, exact, prefixes, depth }
    }

    /// The host's name.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Why the host is in the table.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The Route of the oldest Ingress naming this host that has a default backend.
    pub fn default_route(&self) -> Option<&Arc<Route>> {
        self.default.as_ref()
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
        let id = match self.exact.at(path) {
            Ok(found) => *found.value,
            Err(_) if path.starts_with('/') => self.longest_prefix(path)?,
            Err(_) => return None,
        };
        self.candidates.get(id.0)?.first()
    }

    fn longest_prefix(&self, path: &str) -> Option<RouteId> {
        let mut stem = first_elements(path, self.depth);
        loop {
            if let Ok(found) = self.prefixes.at(if stem.is_empty() { "/" } else { stem }) {
                return Some(*found.value);
            }
            stem = stem.rsplit_once('/')?.0;
        }
    }
}

/// The first elements of a path, at most `count`, without a trailing slash: nothing for `/`.
fn first_elements(path: &str, count: usize) -> &str {
    // The first slash opens the first element, so the one after `count` elements is at index `count`.
    match path.match_indices('/').nth(count) {
        Some((end, _)) => path.get(..end).unwrap_or(path),
        None => path.strip_suffix('/').unwrap_or(path),
    }
}
