//! Which part of a cluster is watched, and for which command.

use std::sync::Arc;

use super::watch_board::WatchBoard;

/// The namespaces that are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchScope {
    /// All namespaces. Needs a ClusterRole.
    #[default]
    Cluster,
    /// The listed namespaces only. A Role in each is enough; features that need cluster-wide rights are off.
    Namespaces(Vec<String>),
}

impl WatchScope {
    /// Returns the scope of the setting `namespaces`. An empty list selects all namespaces.
    pub fn from_namespaces(namespaces: &[String]) -> Self {
        match namespaces {
            [] => Self::Cluster,
            listed => Self::Namespaces(listed.to_vec()),
        }
    }
}

/// The use that the objects are read for. It decides which rights are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Serving traffic. The first update waits until Secrets can be read, because TLS needs them.
    Serve,
    /// Explaining a route. Kinds that the user may not read are reported as Problems and left out.
    Explain,
}

/// What the Kubernetes source watches.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    /// The namespaces that are watched.
    pub scope: WatchScope,
    /// Decides which classes are ours, and the default namespace of their certificates.
    pub routing: routing::Config,
    /// The node whose zone is the gateway's zone.
    pub node: Option<String>,
    /// The use that the objects are read for.
    pub purpose: Purpose,
    /// Gets the age and health of each watch.
    pub board: Arc<WatchBoard>,
}
