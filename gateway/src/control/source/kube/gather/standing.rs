//! How one feed stands: what it told of, and whether it works. Pure.
//!
//! Whatever was told stays: an API server that starts anew forbids or denies for a moment what it has.

use std::collections::BTreeSet;
use std::time::Duration;

use routing::object::{Kind, Name, ObjectRef};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use crate::control::source::kube::feed::{Need, Plan};

/// How long what worked once may fail before that is a Problem, and before a kind is believed to be gone: an API
/// server that starts anew refuses what is allowed until it knows its rules, which took it up to 3 s here.
const TROUBLE_LIMIT: Duration = Duration::from_secs(30);

/// What the API server did not refuse for so long works again: tries are at most 13 s apart (`feed::LONGEST_WAIT`),
/// and a watch on which nothing happens does not say that it works.
const REFUSAL_FORGOTTEN: Duration = Duration::from_secs(30);

/// The same for what fails otherwise: a list is given up after 50 s (`READ_LIMIT`), a watch after 45 s.
const FAILURE_FORGOTTEN: Duration = Duration::from_secs(70);

/// A feed and what is known of it.
pub(super) struct Standing {
    pub(super) plan: Plan,
    /// The names of all that was told of.
    pub(super) known: BTreeSet<Name>,
    /// Whether the API server ever gave a list, and has not denied since that there is such a kind.
    was_listed: bool,
    /// The names of a list that is not complete yet.
    listing: Option<BTreeSet<Name>>,
    /// Whether all was heard that there was to hear at first.
    pub(super) is_complete: bool,
    trouble: Option<Trouble>,
}

/// What does not work since when.
struct Trouble {
    first: Instant,
    last: Instant,
    /// After so long without a further failure it is over.
    forgotten_after: Duration,
    message: String,
    /// As what it is told.
    told: Option<Reason>,
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, for now.
    Wait,
    /// There is no such kind: nothing of it exists, and nothing is wrong.
    Absent,
    /// It is a Problem; `is_done_without` says that the gateway begins without these objects.
    Problem { problem: Box<Problem>, is_done_without: bool },
}

impl Standing {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            known: BTreeSet::new(),
            was_listed: false,
            listing: None,
            is_complete: false,
            trouble: None,
        }
    }

    /// A new list begins.
    pub(super) fn begin(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// A list holds this.
    pub(super) fn list(&mut self, name: Name) {
        self.known.insert(name.clone());
        if let Some(listing) = &mut self.listing {
            listing.insert(name);
        }
    }

    /// The list is complete. Gives what it lacks.
    pub(super) fn complete(&mut self) -> Vec<Name> {
        self.was_listed = true;
        let listed = self.listing.take().unwrap_or_default();
        self.keep(&listed)
    }

    /// There is no such kind. Gives what there was of it.
    pub(super) fn empty(&mut self) -> Vec<Name> {
        self.was_listed = false;
        self.keep(&BTreeSet::new())
    }

    fn keep(&mut self, listed: &BTreeSet<Name>) -> Vec<Name> {
        let gone = self.known.difference(listed).cloned().collect();
        // What stays keeps the text of its name that it shares with the object that was told of first.
        self.known.retain(|name| listed.contains(name));
        self.is_complete = true;
        gone
    }

    /// Something does not work. Until an API server knows its CRDs it answers 503, so 404 means that there is no such
    /// kind.
    pub(super) fn fail(&mut self, (code, message): (Option<u16>, String), now: Instant) -> Verdict {
        self.listing = None;
        let (worked, need) = (self.was_listed, self.plan.need);
        let forgotten_after =
            if matches!(code, Some(403 | 404)) { REFUSAL_FORGOTTEN } else { FAILURE_FORGOTTEN };
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            first: now,
            last: now,
            forgotten_after,
            message: String::new(),
            told: None,
        });
        (trouble.last, trouble.forgotten_after, trouble.message) = (now, forgotten_after, message);
        if worked && now - trouble.first < TROUBLE_LIMIT {
            return Verdict::Wait;
        }
        let reason = match code {
            Some(404) if need != Need::Always => return Verdict::Absent,
            Some(403) => Reason::NotPermitted,
            // Before the first list it is told by not being ready.
            _ if !worked => return Verdict::Wait,
            _ => Reason::Stale,
        };
        // Told once: each failure may have words of its own.
        if trouble.told.replace(reason) == Some(reason) {
            return Verdict::Wait;
        }
        let is_done_without = reason == Reason::NotPermitted && need == Need::IfAllowed && !worked;
        let message = match reason {
            Reason::NotPermitted => {
                let what = without(self.plan.kind);
                format!("{what}: the gateway may not read these objects: {}", trouble.message)
            }
            _ => format!("changes are not seen, and what was read last goes on: {}", trouble.message),
        };
        let problem = Problem { object: self.all(), field: String::new(), reason, message };
        Verdict::Problem { problem: Box::new(problem), is_done_without }
    }

    /// It works again. Says whether there is a Problem that is over.
    pub(super) fn settle(&mut self) -> bool {
        self.trouble.take().is_some_and(|trouble| trouble.told.is_some())
    }

    /// Whether it has not failed for so long that it must work.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| now - trouble.last > trouble.forgotten_after)
    }

    /// Why it does not work at the moment.
    pub(super) fn failure(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| &*trouble.message)
    }

    /// Stands for all objects of the feed.
    pub(super) fn all(&self) -> ObjectRef {
        ObjectRef { kind: self.plan.kind, name: Name::new(&self.plan.namespace, "*") }
    }
}

/// What is off while a kind may not be read.
fn without(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "Ingresses of namespaces that are going away count like any other",
        Kind::Node => "topology hints are off",
        Kind::IngressClass => "classes are only known by --class",
        Kind::IngressClassConfig => "what parameters of classes say is not known",
        _ => "changes are not seen",
    }
}
