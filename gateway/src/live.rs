//! The published state: one immutable value behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use routing::{IngressCounts, RoutingTable};

use crate::plan::Plans;

pub mod certificates;

use certificates::Certificates;

/// Everything that serving a request depends on. Only endpoints change inside it, in their own cells.
#[derive(Debug)]
pub struct Live {
    /// Maps host and path to a route.
    pub table: RoutingTable,
    /// Maps each policy of the table to its plan.
    pub plans: Plans,
    /// Maps Secrets to certificates.
    pub certificates: Certificates,
    /// How many Ingresses are served, and how many are not.
    pub ingresses: Arc<IngressCounts>,
    /// Number of the published table, counting up. 0 means that no object has been read yet.
    pub generation: u64,
}

/// The pointer that publishing swaps. A request keeps `Arc`s of its route, never the [`Live`] itself.
pub type LiveCell = Arc<ArcSwap<Live>>;
