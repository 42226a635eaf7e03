//! Folders and addresses of the cluster.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Folder of all files of a running cluster: a tmpfs that only its processes see.
pub(super) const ROOT: &str = "/run/cluster";

/// Address of the pods' bridge, which all nodes share. The API server listens on it.
pub(super) const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);

/// Port of the API server.
pub(super) const API_PORT: u16 = 6443;

/// Prefix length of the pods' addresses.
pub(super) const POD_PREFIX: u8 = 16;

/// Ranges whose addresses are all local: nodes, cluster IPs, load balancers.
pub(super) const LOCAL_RANGES: [&str; 3] = ["10.51.0.0/24", SERVICE_RANGE, "10.60.0.0/24"];

/// Value of the API server's `--service-cluster-ip-range`.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Reserved cluster IP of the Service `kubernetes`.
pub(super) const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Returns the address of a node. `node` counts from 0.
pub(super) fn node_address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 51, 0, node.saturating_add(1))
}

/// Returns the address of a load balancer. `number` counts from 0. Returns `None` if all addresses are in use.
pub(super) fn load_balancer_address(number: u8) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::new(10, 60, 0, number.checked_add(1)?))
}

/// Returns the address of a pod, from 10.50.1.0 to 10.50.255.255. `number` counts from 0.
pub(super) fn pod_address(number: u16) -> Option<Ipv4Addr> {
    let [high, low] = number.checked_add(256)?.to_be_bytes();
    Some(Ipv4Addr::new(10, 50, high, low))
}

/// Returns the name of a node. `node` counts from 0.
pub(super) fn node_name(node: u8) -> String {
    format!("node-{}", u16::from(node) + 1)
}

/// Returns the zone of a node. Each node has its own.
pub(super) fn zone(node: u8) -> String {
    format!("zone-{}", u16::from(node) + 1)
}

/// Returns the path of a file or folder of the cluster.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}
