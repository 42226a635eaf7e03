//! The routing table: compiled, immutable, cheap to clone, and the only matcher there is.
//!
//! The host is looked up first, and its paths then: whoever names a host answers for all of it. Purpose: which Route serves a host and path, and which Secret a host's certificate comes from. Not here: how
//! a table comes about (`compiler`), and canonical forms (`host`, `path`): what is looked up must be in them.

mod display;
mod host;
mod host_map;
mod match_report;
mod ownership;
mod path_match;
mod policy;
mod route;
mod view;

use std::sync::Arc;

use crate::host::HostName;
use crate::host::parent;
use crate::object::Name;

pub use self::host::Host;
pub use self::host::HostRole;
pub use match_report::DefaultCandidate;
pub use match_report::DefaultVerdict;
pub use match_report::HostCandidate;
pub use match_report::HostKind;
pub use match_report::HostVerdict;
pub use match_report::MatchReport;
pub use match_report::RouteCandidate;
pub use match_report::RouteVerdict;
pub use ownership::Owner;
pub use ownership::Ownership;
pub use path_match::PathMatch;
pub use policy::Policy;
pub use policy::PolicyLimits;
pub use policy::PolicyOrigin;
pub use policy::PolicyRetries;
pub use policy::PolicyTimeouts;
pub use policy::PolicyValue;
pub use route::Backend;
pub use route::Endpoints;
pub use route::ExternalName;
pub use route::FieldPath;
pub use route::IngressOrigin;
pub use route::Route;
pub use route::RouteOrigin;
pub use route::WeightedBackend;
pub use view::BackendView;
pub use view::DefaultsView;
pub use view::EndpointState;
pub use view::EndpointView;
pub use view::HostView;
pub use view::OwnerDefaultsView;
pub use view::OwnerView;
pub use view::PolicyView;
pub use view::RouteView;
pub use view::TableView;

pub(crate) use self::host::HostParts;
pub(crate) use ownership::OwnerMap;
pub(crate) use ownership::OwnerSet;

/// Hosts and their Routes. A clone shares everything. The one thing in it that changes is what the cells of its
/// [`Backend`]s hold: an EndpointSlice's change becomes visible there, without a new table.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    exact: host_map::HostMap,
    wildcards: host_map::HostMap,
    any: Option<Arc<Host>>,
    defaults: Arc<Defaults>,
    ownership: Arc<Ownership>,
}

/// Who serves what no rule takes, and no Ingress that names the host; the first one that is there.
#[derive(Debug, Default)]
pub struct Defaults {
    /// The default backend of the oldest Ingress without rules.
    pub without_rules: Option<Arc<Route>>,
    /// The default backend of the oldest Ingress with rules.
    pub with_rules: Option<Arc<Route>>,
    /// The default backend of the oldest of our classes whose parameters have one.
    pub class: Option<Arc<Route>>,
    /// The Secret for hosts without one, by the oldest of our classes whose parameters have one.
    pub certificate: Option<Name>,
    /// In place of the first two, for owned hosts.
    pub(crate) for_owners: OwnerMap<OwnerDefaults>,
}

/// The default backends of the owners of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerDefaults {
    /// Of their oldest Ingress without rules.
    pub(crate) without_rules: Option<Arc<Route>>,
    /// Of their oldest Ingress with rules.
    pub(crate) with_rules: Option<Arc<Route>>,
}

/// A Secret that may hold the certificate for a host, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateChoice<'a> {
    /// An Ingress names it for the host: it counts if its certificate is for the host.
    Named(&'a Name),
    /// A class has it for whatever no other certificate serves.
    Default(&'a Name),
}

impl RoutingTable {
    /// Finds the Route of a request. The host is chosen first: the exact one, else the wildcard one label up, else
    /// the rules without a host. Inside it an Exact path goes first, then the longest Prefix by elements, then
    /// the default backends. An owned host ([`Ownership`]) is served as if only its owners had Ingresses. Allocates
    /// nothing.
    ///
    /// `host` is what [`crate::host::normalise`] gave, or nothing if the request has no host; `path` is what
    /// [`crate::path::canonical`] gave. `None` means that nobody serves the request.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let chosen = self.serving_host(host);
        chosen
            .and_then(|host| host.find(path).or(host.default_route()))
            .or_else(|| self.defaults.first(self.ownership.owner_of(host)))
    }

    /// The host whose rules serve a request: the exact one, the wildcard, or the rules without a host. Of the last two
    /// an owned host gets what its owners say.
    pub fn serving_host(&self, host: &str) -> Option<&Arc<Host>> {
        let is_named = |found: &&Arc<Host>| found.role() == HostRole::Routed;
        self.exact.find(host).filter(is_named).or_else(|| {
            let owner = self.ownership.owner_of(host);
            self.wildcard(host, owner).filter(is_named).or_else(|| self.any(owner).filter(is_named))
        })
    }

    /// What the table holds under exactly this name of a rule.
    pub fn host(&self, host: &HostName) -> Option<&Arc<Host>> {
        match host {
            HostName::Exact(name) => self.exact.find(name),
            HostName::Wildcard(parent) => self.wildcards.find(parent),
            HostName::Any => self.any.as_ref(),
        }
    }

    /// The Secrets that may hold the certificate for a host in normal form, best first; for nothing, those of
    /// clients that name no host. First those that Ingresses name for the host or for its wildcard, or without
    /// any host if no rule names this one; for an owned host, only its owners'. Then the defaults of its class, and
    /// of the oldest class with one. Allocates nothing.
    pub fn certificates(&self, host: Option<&str>) -> impl Iterator<Item = CertificateChoice<'_>> {
        let owner = host.and_then(|host| self.ownership.owner_of(host));
        let exact = host.and_then(|host| self.exact.find(host));
        let wildcard = host.and_then(|host| self.wildcard(host, owner));
        let by_name = [exact, wildcard];
        let is_named = by_name.iter().flatten().any(|found| found.role() == HostRole::Routed);
        let all = by_name.into_iter().chain([self.any(owner).filter(|_| !is_named)]).flatten();
        let named = all.clone().filter_map(|found| found.tls());
        let of_class = all.into_iter().find_map(|found| found.class_certificate());
        let defaults = of_class.into_iter().chain(self.defaults.certificate.as_ref());
        named.map(CertificateChoice::Named).chain(defaults.map(CertificateChoice::Default))
    }

    /// Which hosts belong to whom.
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// Who serves what no rule takes, and the Secret for hosts without one.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// All hosts: exact ones by name, then wildcards by name, then the rules without a host.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.exact.sorted().into_iter().chain(self.wildcards.sorted()).chain(self.any.as_ref())
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len() + usize::from(self.any.is_some())
    }

    /// Whether there is no host at all. There may be default backends all the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The wildcard one label above a host.
    fn wildcard(&self, host: &str, owner: Option<&Owner>) -> Option<&Arc<Host>> {
        let found = parent(host).and_then(|parent| self.wildcards.find(parent))?;
        match owner {
            // Whoever owns the host by a wildcard's entry owns this wildcard too, so nobody else speaks about it.
            Some(owner) if matches!(owner.host(), HostName::Exact(_)) => found.for_owner(owner),
            Some(_) | None => Some(found),
        }
    }

    /// The rules without a host.
    fn any(&self, owner: Option<&Owner>) -> Option<&Arc<Host>> {
        let found = self.any.as_ref()?;
        owner.map_or(Some(found), |owner| found.for_owner(owner))
    }

    /// A copy in which some hosts are other ones, or gone. Untouched hosts are shared.
    pub(crate) fn with(
        &self,
        changes: Vec<(HostName, Option<Arc<Host>>)>,
        defaults: Arc<Defaults>,
        ownership: Arc<Ownership>,
    ) -> Self {
        let mut any = self.any.clone();
        let (mut exact, mut wildcards) = (Vec::new(), Vec::new());
        for (name, host) in changes {
            match name {
                HostName::Exact(_) => exact.push((name, host)),
                HostName::Wildcard(_) => wildcards.push((name, host)),
                HostName::Any => any = host,
            }
        }
        let (exact, wildcards) = (self.exact.with(exact), self.wildcards.with(wildcards));
        Self { exact, wildcards, any, defaults, ownership }
    }
}

impl Defaults {
    /// The one that serves. On an owned host those of other namespaces are passed over, but not that of the class.
    pub fn first(&self, owner: Option<&Owner>) -> Option<&Arc<Route>> {
        let [without_rules, with_rules] = self.by_ingress(owner);
        without_rules.or(with_rules).or(self.class.as_ref())
    }

    /// The default backends of the oldest Ingress without rules, and with rules, of those who may serve.
    fn by_ingress(&self, owner: Option<&Owner>) -> [Option<&Arc<Route>>; 2] {
        match owner {
            None => [self.without_rules.as_ref(), self.with_rules.as_ref()],
            Some(owner) => match self.for_owners.find(owner) {
                None => [None, None],
                Some(its) => [its.without_rules.as_ref(), its.with_rules.as_ref()],
            },
        }
    }
}

/// Whether what an Ingress says may serve what belongs to this owner, if to anybody.
fn serves_for(route: &Route, owner: Option<&Owner>) -> bool {
    owner.is_none_or(|owner| owner.includes(&route.origin.ingress.name.namespace))
}
