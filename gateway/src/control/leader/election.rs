//! Decides when a Lease may be taken, and how long it lasts. Pure.
//!
//! Times in a Lease are those of other clocks. A Lease counts as free after it was not changed for its duration by this
//! replica's clock.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::{LEASE_DURATION, RENEW_DEADLINE};

/// What a replica does after it has read the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseAction {
    /// Another replica holds the Lease.
    Wait,
    /// Write this replica into the Lease: it is free, or must be renewed.
    Take,
}

/// What distinguishes two states of a Lease.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    holder: String,
    renewed: Option<MicroTime>,
}

/// The election from the view of one replica.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    /// The last state of the Lease, and when it was first seen.
    observed: Option<(Record, Instant)>,
    /// When this replica last wrote itself into the Lease.
    taken_at: Option<Instant>,
}

impl Election {
    /// Returns the state before the first look.
    pub(super) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), observed: None, taken_at: None }
    }

    /// Returns what to do with the Lease as it was read now.
    pub(super) fn observe(&mut self, lease: Option<&LeaseSpec>, now: Instant) -> LeaseAction {
        let Some(lease) = lease else { return LeaseAction::Take };
        let record = Record::new(lease);
        if self.observed.as_ref().is_none_or(|(known, _)| *known != record) {
            self.observed = Some((record.clone(), now));
        }
        if record.holder != self.identity {
            // Another replica holds what this one held.
            self.taken_at = None;
        }
        let duration = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(LEASE_DURATION, Duration::from_secs);
        let since = self.observed.as_ref().map_or(now, |(_, since)| *since);
        let is_free = record.holder.is_empty() || now.duration_since(since) >= duration;
        if is_free || record.holder == self.identity { LeaseAction::Take } else { LeaseAction::Wait }
    }

    /// Records that this replica wrote itself into the Lease by a request that began at `began`.
    pub(super) fn on_taken(&mut self, lease: Option<&LeaseSpec>, began: Instant) {
        self.taken_at = Some(began);
        self.observed = lease.map(|lease| (Record::new(lease), began));
    }

    /// Returns until when this replica is the leader without a renewal; `None` if it is not.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.taken_at.map(|taken| taken + RENEW_DEADLINE)
    }

    /// Returns true if this replica is the leader.
    pub(super) fn is_leader(&mut self, now: Instant) -> bool {
        let is_leader = self.leads_until().is_some_and(|until| now < until);
        if !is_leader {
            self.taken_at = None;
        }
        is_leader
    }
}

impl Record {
    fn new(lease: &LeaseSpec) -> Self {
        Self { holder: lease.holder_identity.clone().unwrap_or_default(), renewed: lease.renew_time.clone() }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    /// A Lease of `holder` that was renewed at a second of the holder's clock.
    fn lease(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Timestamp::from_second(renewed).ok().map(MicroTime),
            lease_duration_seconds: Some(10),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn absent_and_released_leases_are_taken() {
        let now = Instant::now();
        assert_eq!(Election::new("a").observe(None, now), LeaseAction::Take);
        assert_eq!(Election::new("a").observe(Some(&lease("", 5)), now), LeaseAction::Take);
    }

    #[test]
    fn lease_is_taken_only_after_its_duration_without_renewal() {
        let (start, mut election) = (Instant::now(), Election::new("a"));
        let at = |seconds| start + Duration::from_secs(seconds);
        // The other replica's clock is far behind.
        for (seconds, renewed, expected) in [
            (0, 100, LeaseAction::Wait),
            (8, 100, LeaseAction::Wait),
            (9, 101, LeaseAction::Wait),
            (18, 101, LeaseAction::Wait),
            (19, 101, LeaseAction::Take),
        ] {
            let action = election.observe(Some(&lease("b", renewed)), at(seconds));
            assert_eq!(action, expected, "after {seconds} s");
        }
    }

    #[test]
    fn leader_without_renewal_stops_before_the_lease_is_free() {
        let (start, mut election) = (Instant::now(), Election::new("a"));
        assert!(!election.is_leader(start));
        election.on_taken(Some(&lease("a", 1)), start);
        assert!(election.is_leader(start + RENEW_DEADLINE - Duration::from_millis(1)));
        assert!(!election.is_leader(start + RENEW_DEADLINE));
        assert!(RENEW_DEADLINE < LEASE_DURATION);
    }

    #[test]
    fn leader_renews_and_loses_to_another_holder() {
        let (start, mut election) = (Instant::now(), Election::new("a"));
        election.on_taken(Some(&lease("a", 1)), start);
        assert_eq!(election.observe(Some(&lease("a", 1)), start), LeaseAction::Take);
        assert_eq!(election.observe(Some(&lease("b", 2)), start), LeaseAction::Wait);
        assert!(!election.is_leader(start));
    }
}
