//! The Kubernetes API as a source of objects: watches every kind, trims objects, and coalesces changes into
//! [`Update`]s.
//!
//! A change reaches an update within milliseconds. An object is removed only if a watch reports its deletion, or if a
//! complete new list lacks it. An unreachable or restarting API server, or a stalled watch, removes nothing. Not here:
//! what objects mean (`routing`), and writes to the API.

mod backoff;
mod cluster_state;
mod config_map_watcher;
mod debounce;
mod event;
mod feed;
mod secret_reader;
mod spec;
mod watch;
mod watch_board;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::SelectAll;
pub use kube::Client;
use kube::Config;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Update;
use cluster_state::ClusterState;
use config_map_watcher::ConfigMapWatcher;
use debounce::Debounce;
use event::WatchEvent;
use feed::Feeds;
use secret_reader::SecretReader;

pub use spec::{Purpose, WatchScope, WatchSpec};
pub use watch_board::WatchBoard;

/// Maximum silence of the API server within one response. Watches end earlier (`watch::WATCH_SECONDS`); this limit is
/// for lists on a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(50);

/// Interval at which outages of feeds are checked for their end.
const OUTAGE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum watch events that are handled in a row. Secret reads and updates get their turn after it.
const MAX_EVENTS_PER_BATCH: usize = 256;

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// The cause.
        source: Box<KubeconfigError>,
    },
    /// The kubeconfig file names no usable cluster or user.
    #[error("cannot use {}", path.display())]
    Unusable {
        /// The path as given.
        path: PathBuf,
        /// The cause.
        source: Box<KubeconfigError>,
    },
    /// The service account of this pod cannot be used.
    #[error("cannot use the service account of this pod")]
    ServiceAccount(#[source] InClusterError),
    /// There is no kubeconfig file, and the process is no pod.
    #[error(
        "there is no cluster: this is no pod, and neither KUBECONFIG nor ~/.kube/config names one; serve a folder of \
         YAML by --files DIR, or name a cluster by --kubeconfig FILE"
    )]
    NoCluster,
    /// The TLS or proxy configuration is invalid.
    #[error("cannot set up the client of the API server")]
    Setup(#[source] Box<kube::Error>),
}

/// Builds the client for a kubeconfig file, for the service account of this pod, or for the kubeconfig that kubectl uses.
///
/// # Errors
/// Returns [`ClientError::Unreadable`] or [`ClientError::Unusable`] for the file, [`ClientError::ServiceAccount`] in a
/// pod without a usable one, [`ClientError::NoCluster`] if there is nothing of these, and [`ClientError::Setup`] if the
/// configuration is invalid.
///
/// # Cancellation
/// Has no effect: nothing is sent.
pub async fn build_client(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let mut config = match kubeconfig {
        Some(file) => {
            let parsed = Kubeconfig::read_from(file);
            from_kubeconfig(file, parsed).await?
        }
        None if std::env::var_os(POD_VARIABLE).is_some() => {
            Config::incluster().map_err(ClientError::ServiceAccount)?
        }
        None => {
            let path = default_kubeconfig().ok_or(ClientError::NoCluster)?;
            tracing::info!(kubeconfig = %path.display(), "this is no pod, so the kubeconfig of kubectl is used");
            // Reads several files if KUBECONFIG names them.
            from_kubeconfig(&path, Kubeconfig::read()).await?
        }
    };
    config.read_timeout = Some(READ_TIMEOUT);
    // Watches and reads are repeated and reported here. The library's retries (of 429, 503 and 504) would wait for
    // minutes without a report.
    config.default_retry = false;
    Client::try_from(config).map_err(|source| ClientError::Setup(Box::new(source)))
}

/// The variable that Kubernetes sets in each pod.
const POD_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// Returns the file that kubectl reads, or the list of files in `KUBECONFIG`. Returns `None` if there is none.
fn default_kubeconfig() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()).map(PathBuf::from);
    let at_home = || std::env::home_dir().map(|home| home.join(".kube/config")).filter(|file| file.is_file());
    named.or_else(at_home)
}

async fn from_kubeconfig(
    file: &Path,
    parsed: Result<Kubeconfig, KubeconfigError>,
) -> Result<Config, ClientError> {
    let path = || file.to_owned();
    let parsed =
        parsed.map_err(|source| ClientError::Unreadable { path: path(), source: Box::new(source) })?;
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await;
    config.map_err(|source| ClientError::Unusable { path: path(), source: Box::new(source) })
}

/// Follows the API until the receiver of `updates` is closed.
///
/// The first update is sent after every required kind was listed. Until then `pending_reason` holds the reason for the
/// wait. While the channel is full, changes are coalesced into the next update.
///
/// # Cancellation
/// Ends all watches. Changes that were not sent are lost.
pub async fn run(
    client: Client,
    spec: WatchSpec,
    updates: mpsc::Sender<Update>,
    pending_reason: tokio::sync::watch::Sender<Option<String>>,
) {
    let Feeds { specs, streams } = feed::feeds(&client, &spec);
    let mut events = streams.into_iter().collect::<SelectAll<_>>().ready_chunks(MAX_EVENTS_PER_BATCH);
    let board = spec.board;
    board.define(specs.iter().map(|spec| (spec.kind, &*spec.namespace)), Instant::now());
    let mut cluster_state = ClusterState::new(specs, spec.routing);
    let mut secret_reader = SecretReader::new(client.clone());
    let mut config_maps = ConfigMapWatcher::new(client);
    let mut debounce = Debounce::default();
    let mut outage_checks = tokio::time::interval(OUTAGE_CHECK_INTERVAL);
    loop {
        tokio::select! {
            Some(batch) = events.next() => for (feed, event) in batch {
                let now = Instant::now();
                if !matches!(event, WatchEvent::Failed(_)) {
                    board.record(feed, now);
                }
                cluster_state.handle_event(feed, event, now);
                debounce.record(now);
            },
            now = outage_checks.tick() => cluster_state.expire_outages(now),
            Some(read) = secret_reader.next() => {
                let now = Instant::now();
                cluster_state.handle_secret_read(read, now);
                debounce.record(now);
            }
            Some((name, event)) = config_maps.next() => {
                let now = Instant::now();
                cluster_state.handle_config_map(name, event, now);
                debounce.record(now);
            }
            now = sleep_until(cluster_state.next_release_at()) => {
                cluster_state.release_ready(now);
                debounce.record(now);
            }
            permit = reserve_at(&updates, cluster_state.update_due_at(&debounce)), if cluster_state.has_update() => {
                let Ok(permit) = permit else { return };
                permit.send(cluster_state.take_update());
                debounce.reset();
            }
        }
        for (name, timing) in cluster_state.start_secret_reads() {
            secret_reader.start(name, timing);
        }
        if cluster_state.take_config_maps_changed() {
            config_maps.set(&cluster_state.config_maps());
        }
        board.set_health(cluster_state.feed_health());
        let reason = cluster_state.pending_reason();
        pending_reason.send_if_modified(|known| {
            let has_changed = *known != reason;
            *known = reason;
            has_changed
        });
    }
}

/// Sleeps until `at` and returns the time after it. Never completes if `at` is `None`.
async fn sleep_until(at: Option<Instant>) -> Instant {
    let Some(at) = at else { return std::future::pending().await };
    tokio::time::sleep_until(at).await;
    Instant::now()
}

/// Waits until `at`, and until the channel has capacity. The update is taken after the wait, so it includes all changes
/// up to then.
async fn reserve_at(
    updates: &mpsc::Sender<Update>,
    at: Instant,
) -> Result<mpsc::Permit<'_, Update>, mpsc::error::SendError<()>> {
    tokio::time::sleep_until(at).await;
    updates.reserve().await
}

#[cfg(test)]
mod tests;
