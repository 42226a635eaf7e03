//! The routing table: compiled, immutable, cheap to clone, and the only matcher there is.
//!
//! Purpose: which Route serves a host and path, and which Secret a host's certificate comes from. Not here: how
//! a table comes about (`compiler`), and canonical forms (`host`, `path`): what is looked up must be in them.

mod display;
mod host;
mod path_match;
mod route;
mod shards;
mod view;

use std::sync::Arc;

use crate::host::HostName;
use crate::object::Name;

pub use host::Host;
pub use path_match::PathMatch;
pub use route::Backend;
pub use route::Endpoints;
pub use route::IngressOrigin;
pub use route::Origin;
pub use route::Route;
pub use route::WeightedBackend;
pub use view::BackendView;
pub use view::EndpointState;
pub use view::EndpointView;
pub use view::HostView;
pub use view::RouteView;
pub use view::TableView;

/// Hosts and their Routes. A clone shares everything. The one thing in it that changes is what the cells of its
/// [`Backend`]s hold: an EndpointSlice's change becomes visible there, without a new table.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    hosts: shards::Shards,
}

impl RoutingTable {
    /// Finds the Route of a request: the host's own Routes, an Exact path first, then the longest Prefix by
    /// elements. Allocates nothing.
    ///
    /// `host` is what [`crate::host::normalise`] gave, `path` what [`crate::path::canonical`] gave. `None`
    /// means that no rule matches.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.hosts.find(host)?.find(path)
    }

    /// The host of that name, if any Ingress names it.
    pub fn host(&self, host: &str) -> Option<&Arc<Host>> {
        self.hosts.find(host)
    }

    /// The Secret whose certificate serves this host, if an Ingress names one.
    pub fn tls(&self, host: &str) -> Option<&Name> {
        self.hosts.find(host)?.tls()
    }

    /// All hosts, sorted by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.sorted().into_iter()
    }

    /// Every host that has a Secret, and that Secret, sorted by host.
    pub fn certificate_names(&self) -> impl Iterator<Item = (&HostName, &Name)> {
        self.hosts().filter_map(|host| Some((host.name(), host.tls()?)))
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is no host at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy in which some hosts are other ones, or gone. Untouched hosts are shared.
    pub(crate) fn with(&self, changes: Vec<(HostName, Option<Arc<Host>>)>) -> Self {
        Self { hosts: self.hosts.with(changes) }
    }
}
