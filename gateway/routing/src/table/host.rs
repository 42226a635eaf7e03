//! One host: its Routes in match order, and how the right one is found.
//!
//! Purpose: finding gives what a scan over `PathMatch::matches` in match order would give. A host with few Routes
//! is scanned just so. One with many has radix trees, which are asked for the path itself and then for its elements,
//! from the longest prefix that any rule has down to `/`. Not here: which Ingress may say what about a host
//! (`compiler`).

use std::sync::Arc;

use super::ownership::Owner;
use super::ownership::OwnerMap;
use super::ownership::OwnerSet;
use super::path_match::PathMatch;
use super::route::Route;
use crate::host::HostName;
use crate::object::Name;

/// A host with more Routes than this one has trees: there both take the same time (`cargo bench -p routing --bench find
/// one_host`), and building trees is most of what a small host would cost.
const MAX_SCANNED: usize = 16;

/// Everything that is known about one host.
#[derive(Debug)]
pub struct Host {
    name: HostName,
    role: HostRole,
    default: Option<Arc<Route>>,
    routes: Box<[Arc<Route>]>,
    tls: Option<Name>,
    class_certificate: Option<Arc<Name>>,
    /// Of a host with many Routes.
    index: Option<Box<Index>>,
    /// What serves the owned hosts among those that this one takes.
    for_owners: Option<Box<OwnerMap<Arc<Host>>>>,
}

/// Why a host is in the table. The order is that of strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRole {
    /// Only for its certificate: its requests go where they would go without it.
    #[default]
    CertificateOnly,
    /// A rule names it, perhaps without any path: no wildcard and no host-less rule serves it.
    Routed,
}

/// What a host is built from.
#[derive(Debug)]
pub(crate) struct HostParts {
    pub(crate) name: HostName,
    pub(crate) role: HostRole,
    /// In match order. Of Routes with the same condition the first serves.
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) default: Option<Arc<Route>>,
    pub(crate) tls: Option<Name>,
    pub(crate) class_certificate: Option<Arc<Name>>,
    /// The same host as if only these had Ingresses.
    pub(crate) for_owners: OwnerMap<Arc<Host>>,
}

impl Host {
    /// Builds the index if one is needed.
    pub(crate) fn new(parts: HostParts) -> Self {
        let HostParts { name, role, routes, default, tls, class_certificate, for_owners } = parts;
        let index = (routes.len() > MAX_SCANNED).then(|| Box::new(Index::new(&routes)));
        let for_owners = (!for_owners.is_empty()).then(|| Box::new(for_owners));
        Self { name, role, default, routes: routes.into(), tls, class_certificate, index, for_owners }
    }

    /// What serves a host that this one takes and that is somebody's: this host as if there were no Ingresses but
    /// the owner's. Nothing: the owner's do not speak about it. Allocates nothing.
    pub(super) fn for_owner(&self, owner: &Owner) -> Option<&Arc<Self>> {
        self.for_owners.as_ref()?.find(owner)
    }

    /// All that serve owned hosts, with whom these belong to.
    pub(super) fn for_owners(&self) -> impl Iterator<Item = &(OwnerSet, Arc<Self>)> {
        self.for_owners.iter().flat_map(|for_owners| for_owners.iter())
    }

    /// The host's name.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Why the host is in the table.
    pub fn role(&self) -> HostRole {
        self.role
    }

    /// The Route of the oldest Ingress naming this host that has a default backend.
    pub fn default_route(&self) -> Option<&Arc<Route>> {
        self.default.as_ref()
    }

    /// All Routes, in match order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The Secret that an Ingress names for the certificate of this host.
    pub fn tls(&self) -> Option<&Name> {
        self.tls.as_ref()
    }

    /// The Secret of the default certificate of the oldest class with one whose Ingresses name this host.
    pub fn class_certificate(&self) -> Option<&Name> {
        self.class_certificate.as_deref()
    }

    /// The Route that takes a canonical path.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        match &self.index {
            None => self.routes.iter().find(|route| route.path.matches(path)),
            Some(index) => index.find(&self.routes, path),
        }
    }
}

/// Two radix trees from a path to the Routes that have it as their condition.
///
/// Their patterns hold no wildcards: matchit 0.9.2 allocates on every step past a node that has a wildcard beside
/// static children, which is any host with rules for `/` and `/api`. So prefixes are asked for element by element.
#[derive(Debug)]
struct Index {
    exact: matchit::Router<RouteId>,
    prefixes: matchit::Router<RouteId>,
    /// How many elements the longest prefix has: no lookup takes more steps, however long the request's path is.
    depth: usize,
}

/// Where among a host's Routes those of one condition begin, in order. Conditions beyond the path will choose among
/// them; until there are any, the first one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RouteId(usize);

impl Index {
    fn new(routes: &[Arc<Route>]) -> Self {
        let mut index = Self { exact: matchit::Router::new(), prefixes: matchit::Router::new(), depth: 0 };
        for (position, route) in routes.iter().enumerate() {
            let tree = match &route.path {
                PathMatch::Exact(_) => &mut index.exact,
                PathMatch::Prefix(_) => {
                    index.depth = index.depth.max(route.path.elements());
                    &mut index.prefixes
                }
            };
            // Braces would be parameters to the tree. Only a path that is there already is refused, and then the
            // Routes of its condition begin before this one.
            let pattern = route.path.path().replace('{', "{{").replace('}', "}}");
            let _ = tree.insert(pattern, RouteId(position));
        }
        index
    }

    fn find<'a>(&self, routes: &'a [Arc<Route>], path: &str) -> Option<&'a Arc<Route>> {
        let id = match self.exact.at(path) {
            Ok(found) => *found.value,
            Err(_) if path.starts_with('/') => self.longest_prefix(path)?,
            Err(_) => return None,
        };
        routes.get(id.0)
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
