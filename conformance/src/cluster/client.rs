//! Clients of the cluster's API server.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::utils::Backoff;

/// Creates a client from a kubeconfig file.
///
/// # Errors
/// The file cannot be read or is invalid.
///
/// # Cancellation
/// Dropping the future has no effect.
pub(super) async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Backoff of broken watches: always 300 ms. kube's own grows to 30 s, and tests that stop the API server would wait
/// for it.
#[derive(Debug)]
pub(super) struct WatchBackoff;

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(300))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}
