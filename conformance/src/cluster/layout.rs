//! Where everything is inside the cluster: folders, addresses, environment.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// All files of a running cluster; a tmpfs that only its processes see.
pub(super) const ROOT: &str = "/run/cluster";

/// The machine that all nodes share: the bridge of the pods, and where the API server listens.
pub(super) const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);

/// The port of the API server.
pub(super) const API_PORT: u16 = 6443;

/// The pods' addresses, for `ip`.
pub(super) const POD_PREFIX: u8 = 16;

/// Ranges whose addresses are all taken for local, for `ip`: nodes, cluster IPs, load balancers.
pub(super) const LOCAL_RANGES: [&str; 3] = ["10.51.0.0/24", SERVICE_RANGE, "10.60.0.0/24"];

/// The API server's `--service-cluster-ip-range`.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// The address of the Service `kubernetes`, which nobody else has.
pub(super) const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The address of node number `node`, counted from 0.
pub(super) fn node_address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 51, 0, node.saturating_add(1))
}

/// The address of the load balancer with this number, counted from 0; nothing when all are taken.
pub(super) fn load_balancer_address(number: u8) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::new(10, 60, 0, number.checked_add(1)?))
}

/// The address of the pod with this number, counted from 0, in 10.50.1.0 to 10.50.255.255.
pub(super) fn pod_address(number: u16) -> Option<Ipv4Addr> {
    let [high, low] = number.checked_add(256)?.to_be_bytes();
    Some(Ipv4Addr::new(10, 50, high, low))
}

/// The name of node number `node`, counted from 0.
pub(super) fn node_name(node: u8) -> String {
    format!("node-{}", u16::from(node) + 1)
}

/// The zone of node number `node`: one each.
pub(super) fn zone(node: u8) -> String {
    format!("zone-{}", u16::from(node) + 1)
}

/// A file or folder of the cluster.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}
