//! One host: its Routes in match order, and how the right one is found.
//!
//! Purpose: finding gives what a scan over `PathMatch::matches` in match order would give. A host with few Routes
//! is scanned just so. One with many has an index, which is asked for the path itself and then for its elements,
//! from the longest prefix that any rule has down to `/`. Not here: which Ingress may say what about a host
//! (`compiler`).

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashTable;

use super::path_match::PathMatch;
use super::route::Route;
use crate::host::HostName;
use crate::object::Name;

/// A host with more Routes than this one has an index: there a scan and the index took the same time.
const MAX_SCANNED: usize = 16;

/// Everything that is known about one host.
#[derive(Debug)]
pub struct Host {
    name: HostName,
    standing: Standing,
    default: Option<Arc<Route>>,
    routes: Box<[Arc<Route>]>,
    tls: Option<Name>,
    /// Of a host with many Routes.
    index: Option<Box<Index>>,
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
    /// In match order. Of Routes with the same condition the first serves.
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) default: Option<Arc<Route>>,
    pub(crate) tls: Option<Name>,
}

impl Host {
    /// Builds the index if one is needed.
    pub(crate) fn new(parts: HostParts) -> Self {
        let HostParts { name, standing, routes, default, tls } = parts;
        let index = (routes.len() > MAX_SCANNED).then(|| Box::new(Index::new(&routes)));
        Self { name, standing, default, routes: routes.into(), tls, index }
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
        match &self.index {
            None => self.routes.iter().find(|route| route.path.matches(path)),
            Some(index) => index.find(&self.routes, path),
        }
    }
}

/// Where the Routes of a condition begin among all of the host's, by that condition.
#[derive(Debug)]
struct Index {
    hasher: DefaultHashBuilder,
    positions: HashTable<usize>,
    /// How many elements the longest prefix has: no lookup takes more steps, however long the request's path is.
    depth: usize,
}

/// The two sorts of conditions, to tell an Exact path from a Prefix with the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sort {
    Exact,
    Prefix,
}

impl Index {
    fn new(routes: &[Arc<Route>]) -> Self {
        let mut index = Self { hasher: DefaultHashBuilder::default(), positions: HashTable::new(), depth: 0 };
        index.positions.reserve(routes.len(), |_| 0);
        for (position, route) in routes.iter().enumerate() {
            let (sort, path) = parts(&route.path);
            if index.get(routes, (sort, path)).is_some() {
                continue;
            }
            if sort == Sort::Prefix {
                index.depth = index.depth.max(route.path.elements());
            }
            let Self { hasher, positions, .. } = &mut index;
            let rehash =
                |known: &usize| routes.get(*known).map_or(0, |route| hasher.hash_one(parts(&route.path)));
            positions.insert_unique(hasher.hash_one((sort, path)), position, rehash);
        }
        index
    }

    fn find<'a>(&self, routes: &'a [Arc<Route>], path: &str) -> Option<&'a Arc<Route>> {
        if let Some(exact) = self.get(routes, (Sort::Exact, path)) {
            return Some(exact);
        }
        let mut stem = first_elements(path.strip_prefix('/').map(|_| path)?, self.depth);
        loop {
            let prefix = if stem.is_empty() { "/" } else { stem };
            if let Some(found) = self.get(routes, (Sort::Prefix, prefix)) {
                return Some(found);
            }
            stem = stem.rsplit_once('/')?.0;
        }
    }

    fn get<'a>(&self, routes: &'a [Arc<Route>], wanted: (Sort, &str)) -> Option<&'a Arc<Route>> {
        let is_wanted =
            |position: &usize| routes.get(*position).is_some_and(|route| parts(&route.path) == wanted);
        routes.get(*self.positions.find(self.hasher.hash_one(wanted), is_wanted)?)
    }
}

fn parts(condition: &PathMatch) -> (Sort, &str) {
    match condition {
        PathMatch::Exact(path) => (Sort::Exact, path),
        PathMatch::Prefix(path) => (Sort::Prefix, path),
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
