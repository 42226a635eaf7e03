//! The state of one feed: which objects exist, and whether the feed works. Pure.
//!
//! Known objects outlive failures. A restarting API server rejects requests for existing objects for a moment.

use std::collections::BTreeSet;
use std::time::Duration;

use routing::object::{Kind, Name, ObjectRef};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use crate::control::source::kube::event::{FeedSpec, Requirement, WatchFailure};

/// How long a feed that worked may fail before the failure is a Problem, or a 404 means that the kind is gone. A
/// restarting API server rejects allowed requests until it has loaded its rules, which took up to 3 s in tests.
const OUTAGE_GRACE: Duration = Duration::from_secs(30);

/// How long the API server must forbid a namespace that was read until its objects are dropped. A tenant that is gone
/// then owns no host, and none of its former pod addresses gets requests.
const FORBIDDEN_NAMESPACE_GRACE: Duration = Duration::from_secs(60);

/// Time since the last 403 or 404 after which the feed counts as working. Attempts are at most 13 s apart
/// (`backoff::MAX_DELAY` and jitter). A watch without events does not report success.
const REJECTION_RECOVERY: Duration = Duration::from_secs(30);

/// The same for all other failures. A list times out after 50 s (`READ_TIMEOUT`), a watch after 45 s.
const FAILURE_RECOVERY: Duration = Duration::from_secs(70);

/// How long the restore of a backup is a Problem, so that alerts and people see it.
const RESTORE_NOTICE: Duration = Duration::from_secs(15 * 60);

/// A feed, its known objects and its failures.
pub(super) struct FeedHealth {
    pub(super) spec: FeedSpec,
    /// The names of all existing objects.
    pub(super) names: BTreeSet<Name>,
    availability: Availability,
    /// The names of the list in progress.
    listing: Option<BTreeSet<Name>>,
    outage: Option<Outage>,
    restore: Option<Restore>,
}

/// Versions of the API server that went back.
struct Restore {
    noticed_at: Instant,
    message: String,
}

/// Whether the kind was listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Availability {
    /// No list has completed.
    Awaited,
    /// A list has completed.
    Listed,
    /// The kind does not exist or may not be read, and the gateway runs without it.
    Absent,
}

/// A sequence of failures without a success in between.
struct Outage {
    started_at: Instant,
    /// The first 403 since the last failure of another kind.
    forbidden_since: Option<Instant>,
    last_failure_at: Instant,
    /// Time without a failure that ends the outage.
    recovers_after: Duration,
    message: String,
    /// The reason of the Problem that was reported for it.
    reported: Option<Reason>,
}

/// The consequence of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureEffect {
    /// No consequence yet.
    Ignore,
    /// The API server has no such kind. Its objects are gone, and this is no Problem.
    KindAbsent,
    /// A Problem. Known objects are kept.
    Report(Box<Problem>),
    /// A Problem. The gateway serves without the objects of this kind.
    ReportAndSkip(Box<Problem>),
}

impl FeedHealth {
    pub(super) fn new(spec: FeedSpec) -> Self {
        Self {
            spec,
            names: BTreeSet::new(),
            availability: Availability::Awaited,
            listing: None,
            outage: None,
            restore: None,
        }
    }

    /// Returns true if the first update need not wait for this feed.
    pub(super) fn is_complete(&self) -> bool {
        match self.availability {
            Availability::Awaited => false,
            Availability::Listed | Availability::Absent => true,
        }
    }

    /// Starts a new list.
    pub(super) fn start_list(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// Adds an object to the list in progress.
    pub(super) fn add_listed(&mut self, name: Name) {
        self.names.insert(name.clone());
        if let Some(listing) = &mut self.listing {
            listing.insert(name);
        }
    }

    /// Ends the list. Returns the known objects that it lacks.
    pub(super) fn complete_list(&mut self) -> Vec<Name> {
        self.availability = Availability::Listed;
        let listed = self.listing.take().unwrap_or_default();
        self.retain_listed(&listed)
    }

    /// Records that the kind is absent. Returns all known objects.
    pub(super) fn mark_absent(&mut self) -> Vec<Name> {
        self.availability = Availability::Absent;
        self.retain_listed(&BTreeSet::new())
    }

    fn retain_listed(&mut self, listed: &BTreeSet<Name>) -> Vec<Name> {
        let removed = self.names.difference(listed).cloned().collect();
        // The retained names share their text with the objects that the compiler holds; those in `listed` do not.
        self.names.retain(|name| listed.contains(name));
        removed
    }

    /// Handles a failed list or watch.
    ///
    /// An API server that has not loaded its CRDs yet sends 503, so a 404 means that there is no such kind.
    pub(super) fn on_failure(&mut self, failure: WatchFailure, now: Instant) -> FailureEffect {
        self.listing = None;
        let WatchFailure { code, message } = failure;
        let was_listed = self.availability == Availability::Listed;
        let requirement = self.spec.requirement;
        let recovers_after =
            if matches!(code, Some(403 | 404)) { REJECTION_RECOVERY } else { FAILURE_RECOVERY };
        let outage = self.outage.get_or_insert_with(|| Outage {
            started_at: now,
            forbidden_since: None,
            last_failure_at: now,
            recovers_after,
            message: String::new(),
            reported: None,
        });
        (outage.last_failure_at, outage.recovers_after, outage.message) = (now, recovers_after, message);
        outage.forbidden_since = (code == Some(403)).then(|| outage.forbidden_since.unwrap_or(now));
        let is_lost = was_listed
            && !self.spec.namespace.is_empty()
            && outage.forbidden_since.is_some_and(|since| now - since >= FORBIDDEN_NAMESPACE_GRACE);
        if was_listed && now - outage.started_at < OUTAGE_GRACE {
            return FailureEffect::Ignore;
        }
        let reason = match code {
            Some(404) if requirement != Requirement::Required => return FailureEffect::KindAbsent,
            Some(403) => Reason::NotPermitted,
            // Before the first list the gateway is not ready, and `/readyz` shows the failure.
            _ if !was_listed => return FailureEffect::Ignore,
            _ => Reason::Stale,
        };
        // Reported once per outage, although the messages of its failures may differ.
        if outage.reported.replace(reason) == Some(reason) && !is_lost {
            return FailureEffect::Ignore;
        }
        let message = match reason {
            Reason::NotPermitted if is_lost => format!(
                "what was read before is dropped: the gateway may not read these objects any more: {}",
                outage.message
            ),
            Reason::NotPermitted => {
                let consequence = consequence_of_absence(self.spec.kind);
                format!("{consequence}: the gateway may not read these objects: {}", outage.message)
            }
            _ => format!("changes are not seen, and the last known objects stay in use: {}", outage.message),
        };
        let problem = Problem { object: self.wildcard(), field: String::new(), reason, message };
        let is_skipped = requirement == Requirement::IfAllowed && !was_listed;
        if reason == Reason::NotPermitted && (is_skipped || is_lost) {
            FailureEffect::ReportAndSkip(Box::new(problem))
        } else {
            FailureEffect::Report(Box::new(problem))
        }
    }

    /// Records that the versions went back.
    pub(super) fn on_restore(&mut self, before: u64, present: u64, now: Instant) {
        let message = format!(
            "the API server's versions went back from {before} to {present}, as after the restore of a backup; all \
             objects of the kind were listed again"
        );
        self.restore = Some(Restore { noticed_at: now, message });
    }

    /// Returns the Problems of the feed besides its outage.
    pub(super) fn notices(&self) -> Vec<Problem> {
        let problem = |restore: &Restore| Problem {
            object: self.wildcard(),
            field: String::new(),
            reason: Reason::Stale,
            message: restore.message.clone(),
        };
        self.restore.iter().map(problem).collect()
    }

    /// Ends the notice of a restore after [`RESTORE_NOTICE`]. Returns true if it did.
    pub(super) fn expire_notice(&mut self, now: Instant) -> bool {
        self.restore.take_if(|restore| now - restore.noticed_at > RESTORE_NOTICE).is_some()
    }

    /// Ends the outage. Returns true if a Problem was reported for it, which is now over.
    pub(super) fn mark_healthy(&mut self) -> bool {
        self.outage.take().is_some_and(|outage| outage.reported.is_some())
    }

    /// Returns true if the time without a failure is long enough to end the outage.
    pub(super) fn is_outage_over(&self, now: Instant) -> bool {
        self.outage.as_ref().is_some_and(|outage| now - outage.last_failure_at > outage.recovers_after)
    }

    /// Returns the message of the last failure; `None` if there is no outage.
    pub(super) fn outage_message(&self) -> Option<&str> {
        self.outage.as_ref().map(|outage| &*outage.message)
    }

    /// Returns the reference under which Problems of the whole feed are reported: `Service shop/*`.
    pub(super) fn wildcard(&self) -> ObjectRef {
        ObjectRef { kind: self.spec.kind, name: Name::new(&self.spec.namespace, "*") }
    }
}

/// Returns what does not work while a kind may not be read.
fn consequence_of_absence(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "Ingresses of terminating namespaces are served like all others",
        Kind::Node => "topology hints are off",
        Kind::IngressClass => "classes are only known by --class",
        Kind::IngressClassConfig => "parameters of classes have no effect",
        Kind::ConfigMap
        | Kind::EndpointSlice
        | Kind::File
        | Kind::Ingress
        | Kind::RoutePolicy
        | Kind::Secret
        | Kind::Service
        | Kind::WasmPlugin => "changes are not seen",
    }
}
