//! The network inside the namespaces: a bridge for pods, and whole ranges of local addresses for the rest.
//!
//! `ip` does the work. Each pod has a network namespace of its own, with one veth end on the bridge.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::layout::{HOST_ADDRESS, LOCAL_RANGES, POD_PREFIX};

const BRIDGE: &str = "br0";

/// Lays out the network of the whole cluster.
///
/// # Errors
/// What `ip` refused.
pub(super) async fn create_cluster_network() -> anyhow::Result<()> {
    let host = format!("{HOST_ADDRESS}/{POD_PREFIX}");
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["link", "add", BRIDGE, "type", "bridge"]).await?;
    ip(&["addr", "add", &host, "dev", BRIDGE]).await?;
    ip(&["link", "set", BRIDGE, "up"]).await?;
    for range in LOCAL_RANGES {
        // Every address of the range can be bound and reached without being added.
        ip(&["route", "add", "local", range, "dev", "lo"]).await?;
    }
    Ok(())
}

/// A pod's network namespace.
#[derive(Debug)]
pub(super) struct PodNetwork {
    name: String,
    /// The pod's address on the bridge.
    pub(super) address: Ipv4Addr,
}

impl PodNetwork {
    /// Makes the namespace. `number` is used for one pod only.
    ///
    /// # Errors
    /// What `ip` refused.
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

    /// The file that `nsenter --net` takes.
    pub(super) fn namespace_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Removes the namespace, and the veth pair with it.
    ///
    /// # Errors
    /// What `ip` refused.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        ip(&["netns", "delete", &self.name]).await
    }
}

/// Removes the network namespace of the pod with this number, whoever still holds it.
///
/// # Errors
/// What `ip` refused.
pub(super) async fn disconnect(number: u16) -> anyhow::Result<()> {
    // Without the veth the pod's connections end in silence, as those of a machine without power do.
    ip(&["link", "delete", &format!("veth{number}")]).await?;
    ip(&["netns", "delete", &name(number)]).await
}

fn name(number: u16) -> String {
    format!("pod-{number}")
}

async fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let done =
        Command::new("ip").args(arguments).output().await.context("cannot start ip (package iproute2)")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
