//! Network of the cluster: a bridge for pods, and ranges of local addresses for nodes and Services.
//!
//! Uses `ip`. Each pod has its own network namespace, which a veth pair connects to the bridge.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::layout::{HOST_ADDRESS, LOCAL_RANGES, POD_PREFIX};

const BRIDGE: &str = "br0";

/// Creates the network of the cluster.
///
/// # Errors
/// An `ip` command fails.
///
/// # Cancellation
/// Dropping the future leaves an incomplete network.
pub(super) async fn create_cluster_network() -> anyhow::Result<()> {
    let host = format!("{HOST_ADDRESS}/{POD_PREFIX}");
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["link", "add", BRIDGE, "type", "bridge"]).await?;
    ip(&["addr", "add", &host, "dev", BRIDGE]).await?;
    ip(&["link", "set", BRIDGE, "up"]).await?;
    for range in LOCAL_RANGES {
        // Every address of the range can then be bound and reached without adding it.
        ip(&["route", "add", "local", range, "dev", "lo"]).await?;
    }
    Ok(())
}

/// The network namespace of a pod.
#[derive(Debug)]
pub(super) struct PodNetwork {
    name: String,
    /// Address of the pod on the bridge.
    pub(super) address: Ipv4Addr,
}

impl PodNetwork {
    /// Creates the namespace. Each `number` is used for one pod only.
    ///
    /// # Errors
    /// An `ip` command fails.
    ///
    /// # Cancellation
    /// Dropping the future may leave the namespace behind.
    pub(super) async fn create(number: u16, address: Ipv4Addr) -> anyhow::Result<Self> {
        let (name, outer) = (name(number), format!("veth{number}"));
        let (inside, host) = (format!("{address}/{POD_PREFIX}"), HOST_ADDRESS.to_string());
        ip(&["netns", "add", &name]).await?;
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &name]).await?;
        ip(&["link", "set", &outer, "master", BRIDGE, "up"]).await?;
        for change in [
            &["link", "set", "lo", "up"][..],
            &["addr", "add", &inside, "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", &host],
        ] {
            ip(&[&["-n", &name], change].concat()).await?;
        }
        Ok(Self { name, address })
    }

    /// Returns the path for `nsenter --net`.
    pub(super) fn namespace_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Removes the namespace with its veth pair.
    ///
    /// # Errors
    /// `ip` fails.
    ///
    /// # Cancellation
    /// Dropping the future does not stop `ip`.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        ip(&["netns", "delete", &self.name]).await
    }
}

/// Removes the network of the pod with this number, even while processes use it.
///
/// # Errors
/// `ip` fails.
///
/// # Cancellation
/// Dropping the future may leave the namespace behind.
pub(super) async fn disconnect(number: u16) -> anyhow::Result<()> {
    // Without the veth pair, connections of the pod end silently, like those of a machine without power.
    ip(&["link", "delete", &format!("veth{number}")]).await?;
    ip(&["netns", "delete", &name(number)]).await
}

fn name(number: u16) -> String {
    format!("pod-{number}")
}

async fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new("ip").args(arguments).output().await.context("cannot start ip (package iproute2)")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), stderr.trim());
    Ok(())
}
