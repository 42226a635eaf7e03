//! The routing table: compiled, immutable, cheap to clone, and the only matcher.
//!
//! Lookup chooses the host first and then a path within it. It returns the Route of a request and the Secrets of a
//! host's certificate. Not here: building a table (`compiler`), and canonical forms (`host`, `path`): lookup expects
//! canonical hosts and paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conditions::PlainRequest;
use super::conditions::RequestParts;
use super::host::Host;
use super::host::HostNamers;
use super::host::HostRole;
use super::host_map::HostChange;
use super::host_map::HostMap;
use super::ownership::Owner;
use super::ownership::OwnerMap;
use super::ownership::Ownership;
use super::route::Route;
use crate::host::HostName;
use crate::host::parent;
use crate::object::Name;

/// Hosts and their Routes. A clone shares everything. Only the cells of the [`super::Backend`]s change: they show a
/// change of an EndpointSlice without a new table.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    exact: HostMap,
    wildcards: HostMap,
    any: Option<Arc<Host>>,
    defaults: Arc<Defaults>,
    ownership: Arc<Ownership>,
}

/// Default backends of requests that match no rule and no default backend of their host. The first one serves.
#[derive(Debug, Default)]
pub struct Defaults {
    /// Default backend of the oldest Ingress without rules.
    pub without_rules: Option<Arc<Route>>,
    /// Default backend of the oldest Ingress with rules.
    pub with_rules: Option<Arc<Route>>,
    /// Default backend of the oldest served class whose parameters have one.
    pub class: Option<Arc<Route>>,
    /// Default certificate of the oldest served class whose parameters have one.
    pub certificate: Option<Name>,
    /// Replacements of the first two for owned hosts.
    pub(crate) for_owners: OwnerMap<OwnerDefaults>,
    /// Replacements of the first two for hosts that rules name, by namespace of the rules.
    pub(crate) by_namespace: BTreeMap<Arc<str>, NamespaceDefaults>,
    /// Replacements of `class` for hosts that rules name, by class of the rules.
    pub(crate) by_class: BTreeMap<Arc<str>, Arc<Route>>,
}

/// Default backends of one namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceDefaults {
    /// Default backend of its oldest Ingress without rules.
    pub(crate) without_rules: Option<RankedRoute>,
    /// Default backend of its oldest Ingress with rules.
    pub(crate) with_rules: Option<RankedRoute>,
}

/// A default backend, and its position by precedence among those of its kind.
#[derive(Clone, Debug)]
pub(crate) struct RankedRoute {
    pub(crate) rank: usize,
    pub(crate) route: Arc<Route>,
}

/// Default backends of the owners of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerDefaults {
    /// Default backend of their oldest Ingress without rules.
    pub(crate) without_rules: Option<Arc<Route>>,
    /// Default backend of their oldest Ingress with rules.
    pub(crate) with_rules: Option<Arc<Route>>,
}

/// A Secret that may hold the certificate of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateChoice<'a> {
    /// An Ingress names the Secret. It is used if its certificate covers the host.
    Named(&'a Name),
    /// A class has the Secret as default. It is used if no other certificate is.
    Default(&'a Name),
}

impl RoutingTable {
    /// Finds the Route of a GET request without header fields and query. Otherwise equal to
    /// [`RoutingTable::find_request`].
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.find_request(host, path, &PlainRequest)
    }

    /// Finds the Route of a request. Returns `None` if there is none. Allocates nothing, unless a condition names a query
    /// parameter.
    ///
    /// The host is chosen first: the exact one, else the wildcard one label up, else the rules without a host. Within
    /// the host an Exact path precedes the longest Prefix by elements, which precedes the longest regular expression. Of
    /// Routes with one path, those with a method precede, then those with more fields, then those with more parameters.
    /// Default backends come last: a host that rules name has those of their Ingresses, their namespaces and their classes
    /// only. Only the Ingresses of its owners serve an owned host ([`Ownership`]).
    ///
    /// `host` is the result of [`crate::host::normalise`], or empty if the request has none. `path` is the result of
    /// [`crate::path::canonical`].
    pub fn find_request(&self, host: &str, path: &str, request: &dyn RequestParts) -> Option<&Arc<Route>> {
        let chosen = self.serving_host(host);
        let by_rule = chosen.and_then(|chosen| chosen.find(path, request));
        by_rule.or_else(|| self.default_candidates(host, chosen).into_iter().flatten().next())
    }

    /// Returns the default backends that may serve a request, in the order of lookup: of the Ingresses that name its host,
    /// of an Ingress without rules, of one with rules, of a class. `serving` is the result of
    /// [`RoutingTable::serving_host`].
    pub(super) fn default_candidates<'a>(
        &'a self,
        host: &str,
        serving: Option<&'a Arc<Host>>,
    ) -> [Option<&'a Arc<Route>>; 4] {
        let defaults = &self.defaults;
        match serving.filter(|serving| *serving.name() != HostName::Any) {
            Some(named) => {
                let [without_rules, with_rules, class] = defaults.for_namers(named.namers());
                [named.default_route(), without_rules, with_rules, class]
            }
            None => {
                let [without_rules, with_rules] = defaults.by_ingress(self.ownership.owner_of(host));
                [None, without_rules, with_rules, defaults.class.as_ref()]
            }
        }
    }

    /// Returns the host whose rules serve a request: the exact one, the wildcard, or the rules without a host. For an
    /// owned host, the last two hold only the rules of its owners.
    pub fn serving_host(&self, host: &str) -> Option<&Arc<Host>> {
        let is_named = |found: &&Arc<Host>| found.role() == HostRole::Routed;
        self.exact.find(host).filter(is_named).or_else(|| {
            let owner = self.ownership.owner_of(host);
            self.wildcard(host, owner).filter(is_named).or_else(|| self.any(owner).filter(is_named))
        })
    }

    /// Returns the host with exactly this name.
    pub fn host(&self, host: &HostName) -> Option<&Arc<Host>> {
        match host {
            HostName::Exact(name) => self.exact.find(name),
            HostName::Wildcard(parent) => self.wildcards.find(parent),
            HostName::Any => self.any.as_ref(),
        }
    }

    /// Returns the Secrets that may hold the certificate of a host in normal form, best first. `None` is a client that
    /// names no host. Allocates nothing.
    ///
    /// First come the Secrets that Ingresses name for the host, for its wildcard, or without a host if no rule names this
    /// one: of Ingresses with a rule for it first, then by age. For an owned host these are its owners' only. Then come the default of its class and the default of the
    /// oldest class with one.
    pub fn certificates(&self, host: Option<&str>) -> impl Iterator<Item = CertificateChoice<'_>> {
        let owner = host.and_then(|host| self.ownership.owner_of(host));
        let exact = host.and_then(|host| self.exact.find(host));
        let wildcard = host.and_then(|host| self.wildcard(host, owner));
        let by_name = [exact, wildcard];
        let is_named = by_name.iter().flatten().any(|found| found.role() == HostRole::Routed);
        let all = by_name.into_iter().chain([self.any(owner).filter(|_| !is_named)]).flatten();
        let named = all.clone().flat_map(|found| found.tls());
        let of_class = all.into_iter().find_map(|found| found.class_certificate());
        let defaults = of_class.into_iter().chain(self.defaults.certificate.as_ref());
        named.map(CertificateChoice::Named).chain(defaults.map(CertificateChoice::Default))
    }

    /// Returns the owned hosts.
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// Returns the default backends and the default certificate.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Returns all hosts: exact ones by name, then wildcards by name, then the rules without a host.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.exact.sorted().into_iter().chain(self.wildcards.sorted()).chain(self.any.as_ref())
    }

    /// Returns the number of hosts.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len() + usize::from(self.any.is_some())
    }

    /// Returns true if the table has no host. It may have default backends nevertheless.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if the other table shares all hosts and default backends with this one. It may still differ in
    /// policies that no Route uses, and in endpoints.
    pub fn has_same_rules(&self, other: &Self) -> bool {
        self.exact.is_shared_with(&other.exact)
            && self.wildcards.is_shared_with(&other.wildcards)
            && self.any.as_ref().map(Arc::as_ptr) == other.any.as_ref().map(Arc::as_ptr)
            && Arc::ptr_eq(&self.defaults, &other.defaults)
            && Arc::ptr_eq(&self.ownership, &other.ownership)
    }

    /// Returns the wildcard one label above a host.
    fn wildcard(&self, host: &str, owner: Option<&Owner>) -> Option<&Arc<Host>> {
        let found = parent(host).and_then(|parent| self.wildcards.find(parent))?;
        match owner {
            // The owner of a wildcard entry owns this wildcard too, so no other namespace has rules for it.
            Some(owner) if matches!(owner.host(), HostName::Exact(_)) => found.for_owner(owner),
            Some(_) | None => Some(found),
        }
    }

    /// Returns the rules without a host.
    fn any(&self, owner: Option<&Owner>) -> Option<&Arc<Host>> {
        let found = self.any.as_ref()?;
        owner.map_or(Some(found), |owner| found.for_owner(owner))
    }

    /// Returns a copy with changed hosts. Unchanged hosts are shared.
    pub(crate) fn with(
        &self,
        changes: Vec<HostChange>,
        defaults: Arc<Defaults>,
        ownership: Arc<Ownership>,
    ) -> Self {
        let mut any = self.any.clone();
        let (mut exact, mut wildcards) = (Vec::new(), Vec::new());
        for change in changes {
            match change.name {
                HostName::Exact(_) => exact.push(change),
                HostName::Wildcard(_) => wildcards.push(change),
                HostName::Any => any = change.host,
            }
        }
        let (exact, wildcards) = (self.exact.with(exact), self.wildcards.with(wildcards));
        Self { exact, wildcards, any, defaults, ownership }
    }
}

impl Defaults {
    /// Returns the default backend of hosts that no rule names and no namespace owns.
    pub fn first(&self) -> Option<&Arc<Route>> {
        self.without_rules.as_ref().or(self.with_rules.as_ref()).or(self.class.as_ref())
    }

    /// Returns the default backends of a host that rules name: of the oldest Ingress without rules and of the oldest with
    /// rules in their namespaces, and of the first of their classes with one.
    fn for_namers(&self, namers: &HostNamers) -> [Option<&Arc<Route>>; 3] {
        let oldest = |of: fn(&NamespaceDefaults) -> Option<&RankedRoute>| {
            let found =
                namers.namespaces.iter().filter_map(|namespace| of(self.by_namespace.get(namespace)?));
            found.min_by_key(|ranked| ranked.rank).map(|ranked| &ranked.route)
        };
        let class = namers.classes.iter().find_map(|class| self.by_class.get(class));
        [oldest(|found| found.without_rules.as_ref()), oldest(|found| found.with_rules.as_ref()), class]
    }

    /// Returns the default backends of the oldest Ingress without rules and of the oldest with rules.
    pub(super) fn by_ingress(&self, owner: Option<&Owner>) -> [Option<&Arc<Route>>; 2] {
        match owner {
            None => [self.without_rules.as_ref(), self.with_rules.as_ref()],
            Some(owner) => match self.for_owners.find(owner) {
                None => [None, None],
                Some(defaults) => [defaults.without_rules.as_ref(), defaults.with_rules.as_ref()],
            },
        }
    }
}

/// Returns true if a Route may serve a host with this owner.
pub(super) fn may_serve(route: &Route, owner: Option<&Owner>) -> bool {
    owner.is_none_or(|owner| owner.includes(&route.origin.ingress.name.namespace))
}
