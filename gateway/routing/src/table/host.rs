//! One host: its Routes in match order, and the lookup of a path.
//!
//! Lookup returns the first Route in match order that matches. A host with few Routes is scanned. A host with many Routes
//! has radix trees: lookup tries the whole path, and then its prefixes by element, from the longest prefix of any rule
//! down to `/`. Regular expressions come last, one after the other. Not here: the merging of Ingresses (`compiler`).

use std::sync::Arc;

use super::conditions::RequestParts;
use super::ownership::Owner;
use super::ownership::OwnerMap;
use super::ownership::OwnerSet;
use super::path_match::PathMatch;
use super::route::Route;
use crate::host::HostName;
use crate::object::Name;

/// Maximum number of Routes that are scanned. A larger host has trees. At this number both take the same time
/// (`cargo bench -p routing --bench find one_host`), and trees are most of the cost of building a small host.
const MAX_SCANNED: usize = 16;

/// A host with its Routes and certificates.
#[derive(Debug)]
pub struct Host {
    name: HostName,
    role: HostRole,
    namers: Arc<HostNamers>,
    default: Option<Arc<Route>>,
    routes: Box<[Arc<Route>]>,
    tls: Box<[Name]>,
    class_certificate: Option<Arc<Name>>,
    /// Set if the host has more than [`MAX_SCANNED`] Routes.
    index: Option<Box<Index>>,
    /// The same host for each set of owners of owned hosts that it matches.
    for_owners: Option<Box<OwnerMap<Arc<Host>>>>,
}

/// The origin of the rules that name a host. Their default backends may serve it, and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct HostNamers {
    /// Namespaces, oldest Ingress first, without duplicates.
    pub(crate) namespaces: Box<[Arc<str>]>,
    /// Classes, in the same order.
    pub(crate) classes: Box<[Arc<str>]>,
}

/// Why a host is in the table. The greater value takes precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRole {
    /// Only for its certificate. The host does not affect the routing of its requests.
    #[default]
    CertificateOnly,
    /// A rule names the host, perhaps without any path. No wildcard and no rule without a host serves it.
    Routed,
}

/// The parts of a host.
#[derive(Debug)]
pub(crate) struct HostParts {
    pub(crate) name: HostName,
    pub(crate) role: HostRole,
    pub(crate) namers: Arc<HostNamers>,
    /// Routes in match order. Of several with the same condition the first serves.
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) default: Option<Arc<Route>>,
    /// Secrets, best first.
    pub(crate) tls: Vec<Name>,
    pub(crate) class_certificate: Option<Arc<Name>>,
    /// The same host for each set of owners, as if only they had Ingresses.
    pub(crate) for_owners: OwnerMap<Arc<Host>>,
}

impl Host {
    /// Creates a host, and its index if it has many Routes.
    pub(crate) fn new(parts: HostParts) -> Self {
        let HostParts { name, role, namers, routes, default, tls, class_certificate, for_owners } = parts;
        let index = (routes.len() > MAX_SCANNED).then(|| Box::new(Index::new(&routes)));
        let for_owners = (!for_owners.is_empty()).then(|| Box::new(for_owners));
        let (routes, tls) = (routes.into(), tls.into());
        Self { name, role, namers, default, routes, tls, class_certificate, index, for_owners }
    }

    /// Returns this host for an owned host, as if only the owner had Ingresses. Returns `None` if the owner's Ingresses do
    /// not name this host. Allocates nothing.
    pub(super) fn for_owner(&self, owner: &Owner) -> Option<&Arc<Self>> {
        self.for_owners.as_ref()?.find(owner)
    }

    /// Returns this host for each set of owners.
    pub(super) fn for_owners(&self) -> impl Iterator<Item = &(OwnerSet, Arc<Self>)> {
        self.for_owners.iter().flat_map(|for_owners| for_owners.iter())
    }

    /// Returns the name of the host.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Returns why the host is in the table.
    pub fn role(&self) -> HostRole {
        self.role
    }

    /// Returns the namespaces and classes whose rules name the host.
    pub(super) fn namers(&self) -> &HostNamers {
        &self.namers
    }

    /// Returns the default backend of the oldest Ingress that names the host and has one.
    pub fn default_route(&self) -> Option<&Arc<Route>> {
        self.default.as_ref()
    }

    /// Returns all Routes, in match order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Returns the Secrets that Ingresses name for the host: those of Ingresses with a rule for it first, then by age. The
    /// first one with a usable certificate serves.
    pub fn tls(&self) -> &[Name] {
        &self.tls
    }

    /// Returns the default certificate of the oldest Ingress that names the host and whose class has one.
    pub fn class_certificate(&self) -> Option<&Name> {
        self.class_certificate.as_deref()
    }

    /// Finds the Route of a request with a canonical path.
    pub fn find(&self, path: &str, request: &dyn RequestParts) -> Option<&Arc<Route>> {
        match &self.index {
            None => self.routes.iter().find(|route| route.matches(path, request)),
            Some(index) => index.find(&self.routes, path, request),
        }
    }
}

/// Two radix trees from paths to Routes.
///
/// The patterns have no wildcards, and prefixes are looked up element by element. matchit 0.9.2 allocates on each step
/// past a node with a wildcard and static children, as on a host with rules for `/` and `/api`.
#[derive(Debug)]
struct Index {
    exact: matchit::Router<RouteId>,
    prefixes: matchit::Router<RouteId>,
    /// Number of elements of the longest prefix: the maximum number of steps of a lookup.
    depth: usize,
    /// Index of the first Route with a regular expression.
    patterns: usize,
}

/// Index of the first Route with a path. Routes with the same path and fewer conditions follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RouteId(usize);

impl Index {
    fn new(routes: &[Arc<Route>]) -> Self {
        let patterns = routes.partition_point(|route| !matches!(route.path, PathMatch::Regex(_)));
        let mut index =
            Self { exact: matchit::Router::new(), prefixes: matchit::Router::new(), depth: 0, patterns };
        for (position, route) in routes.iter().enumerate() {
            let tree = match &route.path {
                PathMatch::Exact(_) => &mut index.exact,
                PathMatch::Prefix(_) => {
                    index.depth = index.depth.max(route.path.elements());
                    &mut index.prefixes
                }
                PathMatch::Regex(_) => break,
            };
            // Braces are escaped: they would be parameters. The insert fails only if the tree has the path, and then
            // the first Route with it has a lower index.
            let pattern = route.path.path().replace('{', "{{").replace('}', "}}");
            let _ = tree.insert(pattern, RouteId(position));
        }
        index
    }

    fn find<'a>(
        &self,
        routes: &'a [Arc<Route>],
        path: &str,
        request: &dyn RequestParts,
    ) -> Option<&'a Arc<Route>> {
        let exact = self.exact.at(path).ok().and_then(|found| found.value.first_met(routes, request));
        exact.or_else(|| self.longest_prefix(routes, path, request)).or_else(|| {
            let patterns = routes.get(self.patterns..).unwrap_or_default();
            patterns.iter().find(|route| route.matches(path, request))
        })
    }

    fn longest_prefix<'a>(
        &self,
        routes: &'a [Arc<Route>],
        path: &str,
        request: &dyn RequestParts,
    ) -> Option<&'a Arc<Route>> {
        if !path.starts_with('/') {
            return None;
        }
        let mut stem = first_elements(path, self.depth);
        loop {
            if let Ok(found) = self.prefixes.at(if stem.is_empty() { "/" } else { stem })
                && let Some(route) = found.value.first_met(routes, request)
            {
                return Some(route);
            }
            stem = stem.rsplit_once('/')?.0;
        }
    }
}

impl RouteId {
    /// Returns the first Route with this path whose other conditions a request meets.
    fn first_met<'a>(self, routes: &'a [Arc<Route>], request: &dyn RequestParts) -> Option<&'a Arc<Route>> {
        let from_first = routes.get(self.0..)?;
        let first = from_first.first()?;
        // Usually there is no condition and no other Route with this path.
        if first.is_met(request) {
            return Some(first);
        }
        let same_path = from_first.iter().skip(1).take_while(|route| route.path == first.path);
        same_path.into_iter().find(|route| route.is_met(request))
    }
}

/// Returns at most `count` elements of a path, without a trailing slash. Empty for `/`.
fn first_elements(path: &str, count: usize) -> &str {
    // The first slash begins the first element, so the slash after `count` elements has index `count`.
    match path.match_indices('/').nth(count) {
        Some((end, _)) => path.get(..end).unwrap_or(path),
        None => path.strip_suffix('/').unwrap_or(path),
    }
}
