//! What is known of the cluster by name, and what has changed since the last Update. Pure.
//!
//! Objects themselves are not kept: the compiler has them. Kept are names (to tell what a new list lacks), the
//! Secrets that objects name, and Problems of the source. `standing` judges whether a feed works, `naming` which
//! Secrets count, `wanted` which of those are to be read.

mod feed_health;
mod secret_refs;
mod secret_tracker;

use std::collections::BTreeMap;
use std::time::Duration;

use routing::Config;
use routing::object::{Change, FieldError, Kind, Name, Object, ObjectRef, StringInterner};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use super::debounce::Debounce;
use super::feed::{FeedSpec, TrimmedObject, WatchEvent};
use super::secret_reader::{ReadOutcome, ReadTiming, SecretRead};
use crate::control::source::location::LocatedProblem;
use crate::control::source::{PemPair, SecretChange, Update};

use feed_health::{FailureEffect, FeedHealth};
use secret_refs::SecretRefs;
use secret_tracker::SecretTracker;

/// How long the first Update waits for the Secrets that objects name, once all else is known: a gateway that is
/// ready has its certificates, but one Secret that cannot be read must not keep it from serving.
const SECRETS_LIMIT: Duration = Duration::from_secs(10);

/// How long an Ingress waits for the Secrets that it names and that were never heard of: a read takes milliseconds,
/// and without it a host that changes its Secret would have the default certificate for so long.
const HOLD_LIMIT: Duration = Duration::from_secs(1);

/// The account of the source.
pub(super) struct ClusterState {
    feeds: Vec<FeedHealth>,
    secret_refs: SecretRefs,
    secret_tracker: SecretTracker,
    /// What the next Update will say.
    pending: PendingUpdate,
    /// Ingresses that wait for their Secrets. What was known of them before goes on.
    held: BTreeMap<ObjectRef, HeldIngress>,
    /// Problems of objects, and of what may not be read.
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    problems_changed: bool,
    /// When all feeds were complete for the first time.
    all_listed_at: Option<Instant>,
    is_first: bool,
    /// The zone that was told last.
    zone: Option<String>,
    /// What Ingresses have in common: they come one by one.
    texts: StringInterner,
}

/// An Update as it grows: of each object the last change counts, so that it does not grow beyond what there is while
/// it has to wait.
#[derive(Default)]
struct PendingUpdate {
    objects: BTreeMap<ObjectRef, Change>,
    secrets: BTreeMap<Name, Option<PemPair>>,
    zone: Option<String>,
}

struct HeldIngress {
    object: Object,
    /// Secrets that only its version before named.
    orphans: Vec<Name>,
    until: Instant,
}

impl ClusterState {
    /// Knows nothing yet. `routing` tells which classes are ours, and where their certificates are unless they say
    /// otherwise.
    pub(super) fn new(specs: Vec<FeedSpec>, routing: Config) -> Self {
        let of_secrets = specs.iter().filter(|spec| spec.kind == Kind::Secret);
        let namespaces: Vec<&str> = of_secrets.map(|spec| &*spec.namespace).collect();
        let watched = (!namespaces.contains(&"")).then(|| namespaces.into_iter().map(Into::into).collect());
        Self {
            feeds: specs.into_iter().map(FeedHealth::new).collect(),
            secret_refs: SecretRefs::new(routing),
            secret_tracker: SecretTracker::new(watched),
            pending: PendingUpdate::default(),
            held: BTreeMap::new(),
            problems: BTreeMap::new(),
            problems_changed: false,
            all_listed_at: None,
            is_first: true,
            zone: None,
            texts: StringInterner::default(),
        }
    }

    /// Takes in what happened on the feed at `place`.
    pub(super) fn handle_event(&mut self, index: usize, event: WatchEvent, now: Instant) {
        if matches!(event, WatchEvent::ListCompleted | WatchEvent::Applied(_) | WatchEvent::Deleted(_)) {
            self.mark_healthy(index);
        }
        let Some(feed) = self.feeds.get_mut(index) else { return };
        match event {
            WatchEvent::ListStarted => feed.start_list(),
            WatchEvent::Listed(mut object) => {
                object.share(&mut self.texts);
                feed.add_listed(object.name());
                self.apply(object, now);
            }
            WatchEvent::ListCompleted => {
                let gone = feed.complete_list();
                self.remove_all(index, gone, now);
            }
            WatchEvent::Applied(mut object) => {
                object.share(&mut self.texts);
                feed.names.insert(object.name());
                self.apply(object, now);
            }
            WatchEvent::Deleted(name) => {
                feed.names.remove(&name);
                let kind = feed.spec.kind;
                self.remove(ObjectRef { kind, name });
            }
            WatchEvent::Failed { code, message } => self.handle_failure(index, (code, message), now),
        }
    }

    /// All of a feed was heard, and these are gone.
    fn remove_all(&mut self, index: usize, gone: Vec<Name>, now: Instant) {
        let Some(kind) = self.feeds.get(index).map(|feed| feed.spec.kind) else { return };
        for name in gone {
            self.remove(ObjectRef { kind, name });
        }
        if self.all_listed_at.is_none() && self.feeds.iter().all(|feed| feed.is_complete) {
            self.all_listed_at = Some(now);
        }
    }

    fn handle_failure(&mut self, index: usize, failure: (Option<u16>, String), now: Instant) {
        let Some(feed) = self.feeds.get_mut(index) else { return };
        tracing::debug!(kind = %feed.spec.kind, code = failure.0, message = failure.1, "watch failed");
        match feed.on_failure(failure, now) {
            FailureEffect::Ignore => {}
            FailureEffect::KindAbsent => {
                let gone = feed.mark_absent();
                self.mark_healthy(index);
                self.remove_all(index, gone, now);
            }
            FailureEffect::Problem { problem, skip_kind } => {
                if skip_kind {
                    let gone = feed.mark_absent();
                    self.remove_all(index, gone, now);
                }
                self.set_problems(problem.object.clone(), vec![*problem]);
            }
        }
    }

    /// A feed works again.
    fn mark_healthy(&mut self, index: usize) {
        let Some(feed) = self.feeds.get_mut(index) else { return };
        if feed.mark_healthy() {
            let all = feed.wildcard();
            self.set_problems(all, Vec::new());
        }
    }

    /// Takes in that time has passed.
    pub(super) fn expire_outages(&mut self, now: Instant) {
        for index in 0..self.feeds.len() {
            if self.feeds.get(index).is_some_and(|feed| feed.is_outage_over(now)) {
                self.mark_healthy(index);
            }
        }
    }

    fn apply(&mut self, object: TrimmedObject, now: Instant) {
        match object {
            TrimmedObject::Object(object, unreadable) => {
                let reference = object.reference();
                let problems = unreadable.into_iter().map(|found| problem(&reference, found)).collect();
                self.set_problems(reference, problems);
                self.upsert(object, now);
            }
            // Its last good version goes on: a policy that turns unreadable must not open what it closed.
            TrimmedObject::Invalid(reference, message) => {
                let (field, reason) = ("spec".to_owned(), Reason::InvalidValue);
                let problem = Problem { object: reference.clone(), field, reason, message };
                self.set_problems(reference, vec![problem]);
            }
            TrimmedObject::Secret(name, version) => self.secret_tracker.on_version(&name, version),
            // A node changes all the time, and one that lost its label is where it was.
            TrimmedObject::Node(_, zone) => {
                if zone.is_some() && self.zone != zone {
                    self.zone.clone_from(&zone);
                    self.pending.zone = zone;
                }
            }
        }
    }

    fn upsert(&mut self, object: Object, now: Instant) {
        let reference = object.reference();
        let mut orphans = self.secret_tracker.apply_delta(self.secret_refs.apply(&object));
        let before = self.held.remove(&reference);
        let until = before.as_ref().map_or(now + HOLD_LIMIT, |held| held.until);
        orphans.extend(before.into_iter().flat_map(|held| held.orphans));
        let held = HeldIngress { object, orphans, until };
        // The first Update waits for all Secrets together.
        if !self.is_first && self.must_hold(&reference, &held, now) {
            self.held.insert(reference, held);
        } else {
            self.release(held);
        }
    }

    fn must_hold(&self, reference: &ObjectRef, held: &HeldIngress, now: Instant) -> bool {
        held.until > now
            && self.secret_refs.refs_from(reference).any(|name| self.secret_tracker.is_unresolved(name))
    }

    fn release(&mut self, held: HeldIngress) {
        let HeldIngress { object, orphans, .. } = held;
        self.remove_unreferenced(orphans);
        self.pending.objects.insert(object.reference(), Change::Apply(object));
    }

    /// When the next Ingress that waits has waited long enough; nothing: none waits.
    pub(super) fn next_release_at(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Lets go what need not wait any more.
    pub(super) fn release_ready(&mut self, now: Instant) {
        for (reference, held) in std::mem::take(&mut self.held) {
            if self.must_hold(&reference, &held, now) {
                self.held.insert(reference, held);
            } else {
                self.release(held);
            }
        }
    }

    fn remove(&mut self, reference: ObjectRef) {
        match reference.kind {
            // A node that is gone takes this gateway with it.
            Kind::Node => return,
            Kind::Secret => {
                // Of one that nobody names nothing was ever said.
                if self.secret_tracker.on_deleted(&reference.name) {
                    self.set_problems(reference.clone(), Vec::new());
                    self.set_secret(reference.name, None);
                }
                return;
            }
            _ => {}
        }
        self.set_problems(reference.clone(), Vec::new());
        let mut orphans = self.secret_tracker.apply_delta(self.secret_refs.remove(&reference));
        orphans.extend(self.held.remove(&reference).into_iter().flat_map(|held| held.orphans));
        self.remove_unreferenced(orphans);
        self.pending.objects.insert(reference.clone(), Change::Delete(reference));
    }

    /// Takes in a Secret that was read.
    pub(super) fn handle_secret_read(&mut self, read: SecretRead, now: Instant) {
        let SecretRead { name, outcome } = read;
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        let has_changed = match &outcome {
            ReadOutcome::Found { version, .. } => self.secret_tracker.on_read(&name, Some(version.clone())),
            ReadOutcome::Missing => self.secret_tracker.on_read(&name, None),
            ReadOutcome::Forbidden(_) => self.secret_tracker.on_forbidden(&name),
        };
        if !has_changed {
            return;
        }
        let mut problems = Vec::new();
        match outcome {
            ReadOutcome::Found { secret, pair, .. } => {
                self.pending.objects.insert(reference.clone(), Change::Apply(Object::Secret(secret)));
                self.pending.secrets.insert(name, pair);
            }
            ReadOutcome::Missing => self.set_secret(name, None),
            ReadOutcome::Forbidden(message) => problems.push(Problem {
                object: reference.clone(),
                field: String::new(),
                reason: Reason::NotPermitted,
                message: format!("the gateway may not read this Secret: {message}"),
            }),
        }
        self.set_problems(reference, problems);
        self.release_ready(now);
    }

    fn remove_unreferenced(&mut self, orphans: Vec<Name>) {
        for name in orphans {
            // One that was held back may be named again meanwhile.
            if !self.secret_tracker.is_tracked(&name) {
                self.set_problems(ObjectRef { kind: Kind::Secret, name: name.clone() }, Vec::new());
                self.set_secret(name, None);
            }
        }
    }

    fn set_secret(&mut self, name: Name, pair: Option<PemPair>) {
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        self.pending.objects.insert(reference.clone(), Change::Delete(reference));
        self.pending.secrets.insert(name, pair);
    }

    fn set_problems(&mut self, of: ObjectRef, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.problems_changed |= self.problems.remove(&of).is_some();
        } else {
            let before = self.problems.insert(of, problems.clone());
            self.problems_changed |= before != Some(problems);
        }
    }

    /// The Secrets that are to be read, and when: each is handed out once per version, and again after it was refused.
    pub(super) fn start_secret_reads(&mut self) -> Vec<(Name, ReadTiming)> {
        self.secret_tracker.start_reading()
    }

    /// Whether there is something to say, and all was heard that has to be heard first.
    pub(super) fn has_update(&self) -> bool {
        let PendingUpdate { objects, secrets, zone } = &self.pending;
        let has_changes =
            !objects.is_empty() || !secrets.is_empty() || zone.is_some() || self.problems_changed;
        self.all_listed_at.is_some() && (self.is_first || has_changes)
    }

    /// When the next Update is due, if there is one.
    pub(super) fn update_due_at(&self, debounce: &Debounce) -> Instant {
        match self.all_listed_at {
            Some(complete) if self.is_first && self.secret_tracker.has_pending_reads() => {
                complete + SECRETS_LIMIT
            }
            _ => debounce.due_at(),
        }
    }

    /// All that changed since the last Update.
    pub(super) fn take_update(&mut self) -> Update {
        let has_problems = std::mem::take(&mut self.problems_changed) || self.is_first;
        let problems = has_problems.then(|| {
            let problems = self.problems.values().flatten().cloned();
            problems.map(|problem| LocatedProblem { problem, location: None }).collect()
        });
        self.is_first = false;
        let PendingUpdate { objects, secrets, zone } = std::mem::take(&mut self.pending);
        Update {
            objects: objects.into_values().collect(),
            secrets: secrets.into_iter().map(|(name, pair)| SecretChange { name, pair }).collect(),
            source_maps: Vec::new(),
            zone,
            problems,
        }
    }

    /// What stands between the source and its first Update, for people.
    pub(super) fn pending_reason(&self) -> Option<String> {
        if !self.is_first {
            return None;
        }
        let missing = self.feeds.iter().find(|feed| !feed.is_complete);
        Some(match missing {
            Some(feed) => {
                let why = feed.outage_message().unwrap_or("not listed yet");
                format!("the API server has not given all objects of kind {}: {why}", feed.spec.kind)
            }
            None => "the Secrets that objects name are being read".to_owned(),
        })
    }
}

impl TrimmedObject {
    fn name(&self) -> Name {
        match self {
            Self::Object(object, _) => object.reference().name,
            Self::Invalid(reference, _) => reference.name.clone(),
            Self::Secret(name, _) | Self::Node(name, _) => name.clone(),
        }
    }

    fn share(&mut self, texts: &mut StringInterner) {
        if let Self::Object(Object::Ingress(ingress), _) = self {
            texts.intern_ingress(ingress);
        }
    }
}

fn problem(object: &ObjectRef, found: FieldError) -> Problem {
    let FieldError { field, message } = found;
    Problem { object: object.clone(), field, reason: Reason::InvalidValue, message }
}

#[cfg(test)]
mod tests;
