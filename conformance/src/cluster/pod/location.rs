//! Addresses of a pod and its node.

use std::net::Ipv4Addr;

/// Node and addresses of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodLocation {
    /// Name of the node.
    pub(crate) node: String,
    /// Address of the node.
    pub(crate) host: Ipv4Addr,
    /// Address of the pod.
    pub(crate) address: Ipv4Addr,
}
