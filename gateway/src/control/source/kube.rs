//! The Kubernetes API as a source: watches on all kinds, trimmed at once, gathered into [`Update`]s.
//!
//! Purpose: what the API server says becomes an Update within milliseconds; what it does not say (it is away, its
//! watch stalls, it starts anew) changes nothing. An object goes only if a watch says so or a complete new list
//! lacks it. Not here: what objects mean (`routing`), and writing anything to the API.
//!
//! `feed` turns a kind's watch into `Seen`s, `gather` keeps account of what is known and of what has changed
//! since the last Update, `secrets` reads the Secrets that objects name.

mod cluster_state;
mod debounce;
mod feed;
mod secret_reader;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::stream::SelectAll;
pub use kube::Client;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Update;
use cluster_state::ClusterState;
use debounce::Debounce;
use secret_reader::SecretReader;

/// How long the API server may be silent within one answer. Watches end themselves sooner (`feed::WATCH_SECONDS`);
/// this is for lists on a connection that has died.
const READ_TIMEOUT: Duration = Duration::from_secs(50);

/// How often it is looked whether something has become old.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// So many events are taken in before anything else is looked at.
const MAX_EVENTS_PER_BATCH: usize = 256;

/// Which namespaces are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchScope {
    /// All of them; needs rights in the whole cluster.
    #[default]
    Cluster,
    /// These only; rights in them are enough, and the features that need more are off.
    Namespaces(Vec<String>),
}

impl WatchScope {
    /// The scope of the namespaces that a setting names; none named: all of them.
    pub fn from_namespaces(namespaces: &[String]) -> Self {
        match namespaces {
            [] => Self::Cluster,
            named => Self::Namespaces(named.to_vec()),
        }
    }
}

/// What it is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: without rights to Secrets there is no TLS, so it does not begin.
    Serve,
    /// To explain: whoever asks may not be allowed all that a gateway is, and is told what is missing.
    Explain,
}

/// What is to be read.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    /// Which namespaces are watched.
    pub scope: WatchScope,
    /// Which classes are ours, and where their certificates are unless they say otherwise.
    pub routing: routing::Config,
    /// The node whose zone is the gateway's.
    pub node: Option<String>,
    /// What it is read for.
    pub purpose: Purpose,
}

/// The client for a kubeconfig file, or for the pod's own service account.
///
/// # Errors
/// The file makes no sense, or there is none and this is no pod.
pub async fn build_client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(file) => {
            let read =
                Kubeconfig::read_from(file).with_context(|| format!("cannot read {}", file.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => {
            Config::incluster().context("neither --files nor --kubeconfig is given, and this is no pod")?
        }
    };
    config.read_timeout = Some(READ_TIMEOUT);
    // Watches and reads try again themselves, and tell meanwhile what is wrong. The library's own tries (of 429, 503 and
    // 504) would come to wait for minutes between two of them, in silence.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Follows the API until nobody takes Updates any more. The first Update comes when every kind was listed; until
/// then `waiting` says what is missing.
pub async fn run(
    client: Client,
    spec: WatchSpec,
    updates: mpsc::Sender<Update>,
    pending_reason: watch::Sender<Option<String>>,
) {
    let (feeds, streams) = feed::start_feeds(&client, &spec);
    let mut events = streams.into_iter().collect::<SelectAll<_>>().ready_chunks(MAX_EVENTS_PER_BATCH);
    let mut cluster_state = ClusterState::new(feeds, spec.routing);
    let mut secret_reader = SecretReader::new(client);
    let mut debounce = Debounce::default();
    let mut health_checks = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        tokio::select! {
            Some(batch) = events.next() => for (feed, event) in batch {
                let now = Instant::now();
                cluster_state.handle_event(feed, event, now);
                debounce.record(now);
            },
            now = health_checks.tick() => cluster_state.expire_outages(now),
            Some(read) = secret_reader.next() => {
                let now = Instant::now();
                cluster_state.handle_secret_read(read, now);
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
        for (name, when) in cluster_state.start_secret_reads() {
            secret_reader.start(name, when);
        }
        let reason = cluster_state.pending_reason();
        pending_reason.send_if_modified(|known| {
            let has_changed = *known != reason;
            *known = reason;
            has_changed
        });
    }
}

/// Waits for a moment and gives what it has become; for ever if there is none.
async fn sleep_until(at: Option<Instant>) -> Instant {
    let Some(at) = at else { return std::future::pending().await };
    tokio::time::sleep_until(at).await;
    Instant::now()
}

/// Waits until an Update is due and the last one was taken; in the meantime changes gather.
async fn reserve_at(
    updates: &mpsc::Sender<Update>,
    at: Instant,
) -> Result<mpsc::Permit<'_, Update>, mpsc::error::SendError<()>> {
    tokio::time::sleep_until(at).await;
    updates.reserve().await
}

#[cfg(test)]
mod tests;
