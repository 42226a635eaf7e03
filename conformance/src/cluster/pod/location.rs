//! Addresses of a pod and its node.

use std::net::Ipv4Addr;

/// Node and addresses of a pod.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct PodLocation {
    /// Name of the node.
    pub(in crate::cluster) node: String,
    /// Address of the node.
    pub(in crate::cluster) host: Ipv4Addr,
    /// Address of the pod.
    pub(in crate::cluster) address: Ipv4Addr,
}
