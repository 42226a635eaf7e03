//! What is being served: one immutable value behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use routing::RoutingTable;

use crate::control::certificates::Certificates;

/// All that a request's way depends on. Endpoints alone change inside it, in cells of their own.
#[derive(Debug)]
pub struct Live {
    /// Host and path to route.
    pub table: RoutingTable,
    /// Host to certificate.
    pub certificates: Certificates,
    /// Counts up with each published table; 0: nothing has been read yet.
    pub generation: u64,
}

/// The pointer that publishing swaps. A request keeps `Arc`s of its route, never the [`Live`] itself.
pub type LiveCell = Arc<ArcSwap<Live>>;
