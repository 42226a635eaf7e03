//! Leader election by a Lease: of all replicas, only the leader writes reports to the API.
//!
//! A replica that cannot renew its Lease stops being the leader before another can become it. Not here: what the leader
//! does (`status`).

mod election;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use election::{Election, LeaseAction};

/// Time after which a Lease that is not renewed is free. A killed leader is replaced within this time and one
/// [`RETRY_INTERVAL`].
const LEASE_DURATION: Duration = Duration::from_secs(10);

/// Time after its last renewal at which a leader stops. Shorter than [`LEASE_DURATION`], because clocks run at slightly
/// different speeds and a write may be in flight.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// Interval between two looks at the Lease, and between two renewals.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum duration of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The Lease of a gateway, and the name of this replica.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the Lease: the gateway's own.
    pub namespace: String,
    /// Name of the Lease. All replicas of one gateway share it.
    pub name: String,
    /// Unique name of this replica.
    pub identity: String,
}

/// Takes part in the election until `leader` has no receiver. When `draining` becomes true, the Lease is released, so that
/// another replica becomes the leader at once.
///
/// # Cancellation
/// Safe. A Lease that is held is free after `LEASE_DURATION`.
pub async fn run(
    client: Client,
    settings: LeaseSettings,
    leader: watch::Sender<bool>,
    mut draining: watch::Receiver<bool>,
) {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let mut candidate =
        Candidate { api, election: Election::new(&settings.identity), settings, has_failed: false };
    let mut ticks = tokio::time::interval(RETRY_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                candidate.attempt().await;
                publish(&leader, candidate.election.is_leader(Instant::now()));
            }
            () = sleep_until(candidate.election.leads_until()) => {
                publish(&leader, candidate.election.is_leader(Instant::now()));
            }
            () = until_true(&mut draining) => break,
            () = leader.closed() => return,
        }
    }
    publish(&leader, false);
    candidate.release().await;
}

fn publish(leader: &watch::Sender<bool>, is_leader: bool) {
    let has_changed = leader.send_if_modified(|known| std::mem::replace(known, is_leader) != is_leader);
    if has_changed {
        tracing::info!(is_leader, "leader election");
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until the value is true. Never returns if its sender is dropped before.
async fn until_true(value: &mut watch::Receiver<bool>) {
    if value.wait_for(|value| *value).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One replica in the election.
struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    /// Whether the last attempt failed, so that a lasting failure is logged once.
    has_failed: bool,
}

impl Candidate {
    /// Reads the Lease, and takes or renews it if it is free or ours.
    async fn attempt(&mut self) {
        let attempted = tokio::time::timeout(REQUEST_TIMEOUT, self.try_attempt()).await;
        let error = match attempted {
            Ok(Ok(())) => {
                self.has_failed = false;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        let lease = format!("{}/{}", self.settings.namespace, self.settings.name);
        if std::mem::replace(&mut self.has_failed, true) {
            tracing::debug!(lease, error, "leader election failed");
        } else {
            tracing::warn!(
                lease,
                error,
                "leader election failed; no status and no Events are written without a leader"
            );
        }
    }

    async fn try_attempt(&mut self) -> kube::Result<()> {
        let found = self.api.get_opt(&self.settings.name).await?;
        let now = Instant::now();
        match self.election.observe(found.as_ref().and_then(|lease| lease.spec.as_ref()), now) {
            LeaseAction::Wait => return Ok(()),
            LeaseAction::Take => {}
        }
        let lease = self.next_lease(found.unwrap_or_default());
        let params = PostParams::default();
        let written = match &lease.metadata.resource_version {
            Some(_) => self.api.replace(&self.settings.name, &params, &lease).await,
            None => self.api.create(&params, &lease).await,
        };
        match written {
            Ok(written) => {
                // The Lease counts from before the request was sent.
                self.election.on_taken(written.spec.as_ref(), now);
                Ok(())
            }
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the Lease with this replica as its holder.
    fn next_lease(&self, before: Lease) -> Lease {
        let spec = before.spec.unwrap_or_default();
        let is_ours = spec.holder_identity.as_deref() == Some(&self.settings.identity);
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(!is_ours);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..before.metadata
            },
            spec: Some(LeaseSpec {
                acquire_time: if is_ours { spec.acquire_time } else { now.clone() },
                holder_identity: Some(self.settings.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                lease_transitions: Some(transitions),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        }
    }

    /// Frees the Lease if this replica holds it.
    async fn release(&self) {
        let released = tokio::time::timeout(REQUEST_TIMEOUT, self.try_release()).await;
        if let Ok(Err(error)) = released {
            tracing::debug!(%error, "cannot release the Lease; it expires");
        }
    }

    async fn try_release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else { return Ok(()) };
        let Some(spec) = &mut lease.spec else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
            return Ok(());
        }
        // An empty holder is a free Lease, also for client-go.
        spec.holder_identity = Some(String::new());
        self.api.replace(&self.settings.name, &PostParams::default(), &lease).await.map(drop)
    }
}
