//! Collects events of all feeds into the next [`Update`]. Pure.
//!
//! The compiler holds the objects. This state keeps their names, to find what a new list lacks; the references to
//! Secrets and ConfigMaps; and the Problems of the source. `feed_health` decides whether a feed works, `secret_refs`
//! which Secrets are referenced, `secret_tracker` which of them must be read, `config_maps` the same for ConfigMaps.

mod config_map_tracker;
mod config_maps;
mod feed_health;
mod secret_refs;
mod secret_tracker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use routing::Config;
use routing::object::{Change, FieldError, Kind, Name, Object, ObjectRef, StringInterner};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use super::debounce::Debounce;
use super::event::{FeedSpec, TrimmedObject, WatchEvent, WatchFailure};
use super::secret_reader::{ReadOutcome, ReadTiming, SecretRead};
use crate::control::source::identity::Identity;
use crate::control::source::location::LocatedProblem;
use crate::control::source::{PemPair, SecretChange, Update};

use config_map_tracker::ConfigMapTracker;
use feed_health::{FailureEffect, FeedHealth};
use secret_refs::SecretRefs;
use secret_tracker::SecretTracker;

/// How long the first update waits for referenced Secrets after all kinds were listed. A ready gateway has its
/// certificates, but one field_errors Secret must not keep it from serving.
const SECRETS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an Ingress is held back for Secrets that were never read. A read takes milliseconds. Without the hold, a
/// host with a new Secret would serve the default certificate for that time.
const HOLD_TIMEOUT: Duration = Duration::from_secs(1);

/// The known names of the cluster, and the update that is being collected.
pub(super) struct ClusterState {
    feeds: Vec<FeedHealth>,
    secret_refs: SecretRefs,
    secret_tracker: SecretTracker,
    config_map_tracker: ConfigMapTracker,
    /// Whether the set of referenced ConfigMaps may have changed.
    have_config_maps_changed: bool,
    pending: PendingUpdate,
    /// Ingresses that wait for their Secrets, and WasmPlugins that wait for their ConfigMaps. Their previous versions stay
    /// in use.
    held: BTreeMap<ObjectRef, HeldObject>,
    /// The Problems of each object, and of feeds that may not be read.
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    have_problems_changed: bool,
    /// WasmPlugins of which a valid version is known.
    valid_plugins: BTreeSet<Name>,
    /// When all feeds were complete for the first time.
    all_listed_at: Option<Instant>,
    /// Whether no update was taken yet.
    is_first: bool,
    /// The zone of the last update.
    zone: Option<String>,
    /// StringInterner that Ingresses share, which arrive one at a time.
    strings: StringInterner,
}

/// The changes since the last update. The last change of an object replaces earlier ones, so the size is limited by
/// the number of objects.
#[derive(Default)]
struct PendingUpdate {
    objects: BTreeMap<ObjectRef, Change>,
    secrets: BTreeMap<Name, Option<PemPair>>,
    identities: BTreeMap<ObjectRef, Option<Identity>>,
    zone: Option<String>,
}

/// A version of an object that waits for the Secrets or ConfigMaps that it refers to.
struct HeldObject {
    object: Object,
    /// Secrets that only its previous version referred to.
    orphans: Vec<Name>,
    /// ConfigMaps that only its previous version referred to.
    orphan_maps: Vec<Name>,
    until: Instant,
}

// ===== events =====

impl ClusterState {
    /// Returns the state before the first event. `routing` decides which classes are ours.
    pub(super) fn new(specs: Vec<FeedSpec>, routing: Config) -> Self {
        let secret_feeds = specs.iter().filter(|spec| spec.kind == Kind::Secret);
        let namespaces: Vec<&str> = secret_feeds.map(|spec| &*spec.namespace).collect();
        let watched = (!namespaces.contains(&"")).then(|| namespaces.into_iter().map(Into::into).collect());
        Self {
            feeds: specs.into_iter().map(FeedHealth::new).collect(),
            config_map_tracker: ConfigMapTracker::new(&routing.namespace),
            secret_refs: SecretRefs::new(routing),
            secret_tracker: SecretTracker::new(watched),
            have_config_maps_changed: false,
            pending: PendingUpdate::default(),
            held: BTreeMap::new(),
            problems: BTreeMap::new(),
            have_problems_changed: false,
            valid_plugins: BTreeSet::new(),
            all_listed_at: None,
            is_first: true,
            zone: None,
            strings: StringInterner::default(),
        }
    }

    /// Handles an event of the feed with this index.
    pub(super) fn handle_event(&mut self, index: usize, event: WatchEvent, now: Instant) {
        if matches!(event, WatchEvent::ListCompleted | WatchEvent::Applied(_) | WatchEvent::Deleted(_)) {
            self.mark_healthy(index);
        }
        let Some(feed) = self.feeds.get_mut(index) else { return };
        match event {
            WatchEvent::ListStarted => feed.start_list(),
            WatchEvent::Listed(mut object) => {
                object.intern(&mut self.strings);
                feed.add_listed(object.name());
                self.apply(object, now);
            }
            WatchEvent::ListCompleted => {
                let removed = feed.complete_list();
                self.remove_all(index, removed, now);
            }
            WatchEvent::Applied(mut object) => {
                object.intern(&mut self.strings);
                feed.names.insert(object.name());
                self.apply(object, now);
            }
            WatchEvent::Deleted(name) => {
                feed.names.remove(&name);
                let kind = feed.spec.kind;
                self.remove(ObjectRef { kind, name });
            }
            WatchEvent::Failed(failure) => self.handle_failure(index, failure, now),
        }
    }

    /// Removes objects of a feed that has become complete.
    fn remove_all(&mut self, index: usize, names: Vec<Name>, now: Instant) {
        let Some(kind) = self.feeds.get(index).map(|feed| feed.spec.kind) else { return };
        for name in names {
            self.remove(ObjectRef { kind, name });
        }
        if self.all_listed_at.is_none() && self.feeds.iter().all(FeedHealth::is_complete) {
            self.all_listed_at = Some(now);
        }
    }

    fn handle_failure(&mut self, index: usize, failure: WatchFailure, now: Instant) {
        let Some(feed) = self.feeds.get_mut(index) else { return };
        tracing::debug!(kind = %feed.spec.kind, code = failure.code, message = failure.message, "watch failed");
        match feed.on_failure(failure, now) {
            FailureEffect::Ignore => {}
            FailureEffect::KindAbsent => {
                let removed = feed.mark_absent();
                self.mark_healthy(index);
                self.remove_all(index, removed, now);
            }
            FailureEffect::Report(problem) => {
                self.set_problems(problem.object.clone(), vec![*problem]);
            }
            FailureEffect::ReportAndSkip(problem) => {
                let removed = feed.mark_absent();
                self.remove_all(index, removed, now);
                self.set_problems(problem.object.clone(), vec![*problem]);
            }
        }
    }

    fn mark_healthy(&mut self, index: usize) {
        let Some(feed) = self.feeds.get_mut(index) else { return };
        if feed.mark_healthy() {
            let wildcard = feed.wildcard();
            self.set_problems(wildcard, Vec::new());
        }
    }

    /// Returns whether each feed was listed and does not fail, in order.
    pub(super) fn feed_health(&self) -> impl Iterator<Item = bool> {
        self.feeds.iter().map(|feed| feed.is_complete() && feed.outage_message().is_none())
    }

    /// Ends the outages of feeds that have not failed for long enough.
    pub(super) fn expire_outages(&mut self, now: Instant) {
        for index in 0..self.feeds.len() {
            if self.feeds.get(index).is_some_and(|feed| feed.is_outage_over(now)) {
                self.mark_healthy(index);
            }
        }
    }
}

// ===== objects =====

impl ClusterState {
    fn apply(&mut self, mut object: TrimmedObject, now: Instant) {
        if let Some((reference, identity)) = object.take_identity() {
            self.pending.identities.insert(reference, Some(identity));
        }
        match object {
            TrimmedObject::Object { object, field_errors, .. } => {
                let reference = object.reference();
                let problems = field_errors.into_iter().map(|found| problem(&reference, found)).collect();
                self.set_problems(reference, problems);
                self.upsert(object, now);
            }
            // The last valid version stays in use: an invalid policy must not allow what the valid one denied.
            TrimmedObject::Invalid { reference, message, .. } => {
                let (field, reason) = ("spec".to_owned(), Reason::InvalidValue);
                let problem = Problem { object: reference.clone(), field, reason, message };
                self.set_problems(reference, vec![problem]);
            }
            TrimmedObject::InvalidPlugin { reference, message, closed, .. } => {
                let (field, reason) = ("spec".to_owned(), Reason::InvalidValue);
                let problem = Problem { object: reference.clone(), field, reason, message };
                self.set_problems(reference.clone(), vec![problem]);
                if !self.valid_plugins.contains(&reference.name) {
                    self.upsert(Object::WasmPlugin(*closed), now);
                }
            }
            TrimmedObject::Secret { name, version } => self.secret_tracker.on_version(&name, version),
            // A Node that loses its label has not moved, so its last zone is kept.
            TrimmedObject::Node { zone, .. } => {
                if zone.is_some() && self.zone != zone {
                    self.zone.clone_from(&zone);
                    self.pending.zone = zone;
                }
            }
        }
    }

    /// Adds the present version of an object to the update, or holds it until its Secrets and ConfigMaps were read.
    fn upsert(&mut self, object: Object, now: Instant) {
        let reference = object.reference();
        let mut orphans = self.secret_tracker.apply_delta(self.secret_refs.apply(&object));
        let mut orphan_maps: Vec<_> = self.apply_to_config_maps(&object).into_iter().collect();
        let previous = self.held.remove(&reference);
        let until = previous.as_ref().map_or(now + HOLD_TIMEOUT, |held| held.until);
        if let Some(previous) = previous {
            orphans.extend(previous.orphans);
            orphan_maps.extend(previous.orphan_maps);
        }
        let held = HeldObject { object, orphans, orphan_maps, until };
        // The first update waits for all Secrets together.
        if !self.is_first && self.must_hold(&reference, &held, now) {
            self.held.insert(reference, held);
        } else {
            self.release(held);
        }
    }

    fn must_hold(&self, reference: &ObjectRef, held: &HeldObject, now: Instant) -> bool {
        let mut secrets = self.secret_refs.refs_from(reference);
        held.until > now
            && (secrets.any(|name| self.secret_tracker.is_unresolved(name))
                || self.config_map_tracker.is_waiting(reference))
    }

    /// Adds a held object to the update.
    fn release(&mut self, held: HeldObject) {
        let HeldObject { object, orphans, orphan_maps, .. } = held;
        self.remove_unreferenced(orphans);
        self.remove_unreferenced_maps(orphan_maps);
        self.pending.objects.insert(object.reference(), Change::Apply(object));
    }

    /// Returns the earliest end of a hold; `None` if no object is held.
    pub(super) fn next_release_at(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Releases all objects whose Secrets and ConfigMaps were read or whose hold has ended.
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
            // This gateway runs on the Node. It ends with it.
            Kind::Node => return,
            Kind::Secret => {
                // No update contained a Secret without references.
                if self.secret_tracker.on_deleted(&reference.name) {
                    self.set_problems(reference.clone(), Vec::new());
                    self.remove_secret(reference.name);
                }
                return;
            }
            Kind::ConfigMap
            | Kind::EndpointSlice
            | Kind::File
            | Kind::Ingress
            | Kind::IngressClass
            | Kind::IngressClassConfig
            | Kind::Namespace
            | Kind::RoutePolicy
            | Kind::Service
            | Kind::WasmPlugin => {}
        }
        self.set_problems(reference.clone(), Vec::new());
        let mut orphans = self.secret_tracker.apply_delta(self.secret_refs.remove(&reference));
        let mut orphan_maps: Vec<_> = self.remove_from_config_maps(&reference).into_iter().collect();
        if let Some(held) = self.held.remove(&reference) {
            orphans.extend(held.orphans);
            orphan_maps.extend(held.orphan_maps);
        }
        self.remove_unreferenced(orphans);
        self.remove_unreferenced_maps(orphan_maps);
        self.pending.identities.insert(reference.clone(), None);
        self.pending.objects.insert(reference.clone(), Change::Delete(reference));
    }

    fn set_problems(&mut self, object: ObjectRef, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.have_problems_changed |= self.problems.remove(&object).is_some();
        } else {
            let previous = self.problems.insert(object, problems.clone());
            self.have_problems_changed |= previous != Some(problems);
        }
    }
}

fn problem(object: &ObjectRef, field_errors: FieldError) -> Problem {
    let FieldError { field, message } = field_errors;
    Problem { object: object.clone(), field, reason: Reason::InvalidValue, message }
}

// ===== Secrets =====

impl ClusterState {
    /// Returns the Secrets that must be read now, and marks them as in flight.
    pub(super) fn start_secret_reads(&mut self) -> Vec<(Name, ReadTiming)> {
        self.secret_tracker.start_reads()
    }

    /// Handles a completed read of a Secret.
    pub(super) fn handle_secret_read(&mut self, read: SecretRead, now: Instant) {
        let SecretRead { name, outcome } = read;
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        let is_new = match &outcome {
            ReadOutcome::Found { version, .. } => self.secret_tracker.on_read(&name, Some(version.clone())),
            ReadOutcome::Missing => self.secret_tracker.on_read(&name, None),
            ReadOutcome::Forbidden(_) => self.secret_tracker.on_forbidden(&name),
        };
        if !is_new {
            return;
        }
        let mut problems = Vec::new();
        match outcome {
            ReadOutcome::Found { secret, pair, .. } => {
                self.pending.objects.insert(reference.clone(), Change::Apply(Object::Secret(secret)));
                self.pending.secrets.insert(name, pair);
            }
            ReadOutcome::Missing => self.remove_secret(name),
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
            // An orphan of a held Ingress may have got a new reference since.
            if !self.secret_tracker.is_tracked(&name) {
                self.set_problems(ObjectRef { kind: Kind::Secret, name: name.clone() }, Vec::new());
                self.remove_secret(name);
            }
        }
    }

    fn remove_secret(&mut self, name: Name) {
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        self.pending.objects.insert(reference.clone(), Change::Delete(reference));
        self.pending.secrets.insert(name, None);
    }
}

// ===== updates =====

impl ClusterState {
    /// Returns true if all required kinds were listed, and there is a change or no update was taken yet.
    pub(super) fn has_update(&self) -> bool {
        let PendingUpdate { objects, secrets, identities, zone } = &self.pending;
        let is_empty = objects.is_empty() && secrets.is_empty() && identities.is_empty() && zone.is_none();
        let has_changes = !is_empty || self.have_problems_changed;
        self.all_listed_at.is_some() && (self.is_first || has_changes)
    }

    /// Returns when the next update is due, if [`Self::has_update`].
    pub(super) fn update_due_at(&self, debounce: &Debounce) -> Instant {
        match self.all_listed_at {
            Some(listed_at) if self.is_first && self.has_pending_reads() => listed_at + SECRETS_TIMEOUT,
            _ => debounce.due_at(),
        }
    }

    fn has_pending_reads(&self) -> bool {
        self.secret_tracker.has_pending_reads() || self.config_map_tracker.has_pending_reads()
    }

    /// Returns all changes since the last update.
    pub(super) fn take_update(&mut self) -> Update {
        let has_problems = std::mem::take(&mut self.have_problems_changed) || self.is_first;
        let problems = has_problems.then(|| {
            let problems = self.problems.values().flatten().cloned();
            problems.map(|problem| LocatedProblem { problem, location: None }).collect()
        });
        self.is_first = false;
        let PendingUpdate { objects, secrets, identities, zone } = std::mem::take(&mut self.pending);
        Update {
            objects: objects.into_values().collect(),
            secrets: secrets.into_iter().map(|(name, pair)| SecretChange { name, pair }).collect(),
            source_maps: Vec::new(),
            identities: identities.into_iter().collect(),
            zone,
            problems,
        }
    }

    /// Returns why there is no first update yet, as a message for users; `None` after the first one.
    pub(super) fn pending_reason(&self) -> Option<String> {
        if !self.is_first {
            return None;
        }
        let incomplete = self.feeds.iter().find(|feed| !feed.is_complete());
        Some(match incomplete {
            Some(feed) => {
                let cause = feed.outage_message().unwrap_or("not listed yet");
                format!("the API server has not listed all objects of kind {}: {cause}", feed.spec.kind)
            }
            None => "referenced Secrets and ConfigMaps are being read".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
