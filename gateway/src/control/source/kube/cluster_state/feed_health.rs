//! How one feed stands: what it told of, and whether it works. Pure.
//!
//! Whatever was told stays: an API server that starts anew forbids or denies for a moment what it has.

use std::collections::BTreeSet;
use std::time::Duration;

use routing::object::{Kind, Name, ObjectRef};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use crate::control::source::kube::feed::{FeedSpec, Requirement};

/// How long what worked once may fail before that is a Problem, and before a kind is believed to be gone: an API
/// server that starts anew refuses what is allowed until it knows its rules, which took it up to 3 s here.
const OUTAGE_GRACE: Duration = Duration::from_secs(30);

/// What the API server did not refuse for so long works again: tries are at most 13 s apart (`feed::LONGEST_WAIT`),
/// and a watch on which nothing happens does not say that it works.
const REJECTION_RECOVERY: Duration = Duration::from_secs(30);

/// The same for what fails otherwise: a list is given up after 50 s (`READ_LIMIT`), a watch after 45 s.
const FAILURE_RECOVERY: Duration = Duration::from_secs(70);

/// A feed and what is known of it.
pub(super) struct FeedHealth {
    pub(super) spec: FeedSpec,
    /// The names of all that was told of.
    pub(super) names: BTreeSet<Name>,
    /// Whether the API server ever gave a list, and has not denied since that there is such a kind.
    was_listed: bool,
    /// The names of a list that is not complete yet.
    listing: Option<BTreeSet<Name>>,
    /// Whether all was heard that there was to hear at first.
    pub(super) is_complete: bool,
    outage: Option<Outage>,
}

/// What does not work since when.
struct Outage {
    started_at: Instant,
    last_failure_at: Instant,
    /// After so long without a further failure it is over.
    recovers_after: Duration,
    message: String,
    /// As what it is told.
    reported: Option<Reason>,
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureEffect {
    /// Nothing, for now.
    Ignore,
    /// There is no such kind: nothing of it exists, and nothing is wrong.
    KindAbsent,
    /// It is a Problem; `is_done_without` says that the gateway begins without these objects.
    Problem { problem: Box<Problem>, skip_kind: bool },
}

impl FeedHealth {
    pub(super) fn new(spec: FeedSpec) -> Self {
        Self {
            spec,
            names: BTreeSet::new(),
            was_listed: false,
            listing: None,
            is_complete: false,
            outage: None,
        }
    }

    /// A new list begins.
    pub(super) fn start_list(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// A list holds this.
    pub(super) fn add_listed(&mut self, name: Name) {
        self.names.insert(name.clone());
        if let Some(listing) = &mut self.listing {
            listing.insert(name);
        }
    }

    /// The list is complete. Gives what it lacks.
    pub(super) fn complete_list(&mut self) -> Vec<Name> {
        self.was_listed = true;
        let listed = self.listing.take().unwrap_or_default();
        self.retain_listed(&listed)
    }

    /// There is no such kind. Gives what there was of it.
    pub(super) fn mark_absent(&mut self) -> Vec<Name> {
        self.was_listed = false;
        self.retain_listed(&BTreeSet::new())
    }

    fn retain_listed(&mut self, listed: &BTreeSet<Name>) -> Vec<Name> {
        let gone = self.names.difference(listed).cloned().collect();
        // What stays keeps the text of its name that it shares with the object that was told of first.
        self.names.retain(|name| listed.contains(name));
        self.is_complete = true;
        gone
    }

    /// Something does not work. Until an API server knows its CRDs it answers 503, so 404 means that there is no such
    /// kind.
    pub(super) fn on_failure(
        &mut self,
        (code, message): (Option<u16>, String),
        now: Instant,
    ) -> FailureEffect {
        self.listing = None;
        let (was_listed, requirement) = (self.was_listed, self.spec.requirement);
        let recovers_after =
            if matches!(code, Some(403 | 404)) { REJECTION_RECOVERY } else { FAILURE_RECOVERY };
        let outage = self.outage.get_or_insert_with(|| Outage {
            started_at: now,
            last_failure_at: now,
            recovers_after,
            message: String::new(),
            reported: None,
        });
        (outage.last_failure_at, outage.recovers_after, outage.message) = (now, recovers_after, message);
        if was_listed && now - outage.started_at < OUTAGE_GRACE {
            return FailureEffect::Ignore;
        }
        let reason = match code {
            Some(404) if requirement != Requirement::Required => return FailureEffect::KindAbsent,
            Some(403) => Reason::NotPermitted,
            // Before the first list it is told by not being ready.
            _ if !was_listed => return FailureEffect::Ignore,
            _ => Reason::Stale,
        };
        // Told once: each failure may have words of its own.
        if outage.reported.replace(reason) == Some(reason) {
            return FailureEffect::Ignore;
        }
        let skip_kind =
            reason == Reason::NotPermitted && requirement == Requirement::IfAllowed && !was_listed;
        let message = match reason {
            Reason::NotPermitted => {
                let what = degraded_feature(self.spec.kind);
                format!("{what}: the gateway may not read these objects: {}", outage.message)
            }
            _ => {
                format!("changes are not seen, and what was read last_failure_at goes on: {}", outage.message)
            }
        };
        let problem = Problem { object: self.wildcard(), field: String::new(), reason, message };
        FailureEffect::Problem { problem: Box::new(problem), skip_kind }
    }

    /// It works again. Says whether there is a Problem that is over.
    pub(super) fn mark_healthy(&mut self) -> bool {
        self.outage.take().is_some_and(|outage| outage.reported.is_some())
    }

    /// Whether it has not failed for so long that it must work.
    pub(super) fn is_outage_over(&self, now: Instant) -> bool {
        self.outage.as_ref().is_some_and(|outage| now - outage.last_failure_at > outage.recovers_after)
    }

    /// Why it does not work at the moment.
    pub(super) fn outage_message(&self) -> Option<&str> {
        self.outage.as_ref().map(|outage| &*outage.message)
    }

    /// Stands for all objects of the feed.
    pub(super) fn wildcard(&self) -> ObjectRef {
        ObjectRef { kind: self.spec.kind, name: Name::new(&self.spec.namespace, "*") }
    }
}

/// What is off while a kind may not be read.
fn degraded_feature(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "Ingresses of namespaces that are going away count like any other",
        Kind::Node => "topology hints are off",
        Kind::IngressClass => "classes are only names by --class",
        Kind::IngressClassConfig => "what parameters of classes say is not names",
        _ => "changes are not seen",
    }
}
