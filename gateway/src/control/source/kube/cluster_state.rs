//! Collects events of all feeds into the next [`Update`]. Pure.
//!
//! The compiler holds the objects. This state keeps their names, to find what a new list lacks; the references to
//! Secrets and ConfigMaps; and the Problems of the source. `feed_health` decides whether a feed works, `secret_refs`
//! which Secrets are referenced, `secret_tracker` which of them must be read, `config_maps` the same for ConfigMaps, and
//! `host_moves` which changes wait for others.

mod config_map_tracker;
mod config_maps;
mod feed_health;
mod host_moves;
mod secret_refs;
mod secret_tracker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use routing::Config;
use routing::object::{
    Change, FieldError, Kind, Name, Object, ObjectRef, Secret, SecretContent, StringInterner,
};
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
use host_moves::{AwaitedHosts, HostMoves};
use secret_refs::{RefDelta, SecretRefs};
use secret_tracker::{SecretTracker, UnresolvedSecrets};

/// How long the first update waits for referenced ConfigMaps after all kinds were listed. It waits for Secrets without a
/// limit: a ready gateway has its certificates.
const CONFIG_MAPS_TIMEOUT: Duration = Duration::from_secs(10);

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
    host_moves: HostMoves,
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
            host_moves: HostMoves::default(),
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
                self.remove(ObjectRef { kind, name }, now);
            }
            WatchEvent::VersionsWentBack { before, present } => {
                feed.on_restore(before, present, now);
                self.show_notices(index, None);
            }
            WatchEvent::Failed(failure) => self.handle_failure(index, failure, now),
        }
    }

    /// Sets the Problems of a whole feed: that of its outage, and its notices.
    fn show_notices(&mut self, index: usize, outage: Option<Problem>) {
        let Some(feed) = self.feeds.get(index) else { return };
        let problems = outage.into_iter().chain(feed.notices()).collect();
        self.set_problems(feed.wildcard(), problems);
    }

    /// Removes objects of a feed that has become complete.
    fn remove_all(&mut self, index: usize, names: Vec<Name>, now: Instant) {
        let Some(kind) = self.feeds.get(index).map(|feed| feed.spec.kind) else { return };
        for name in names {
            self.remove(ObjectRef { kind, name }, now);
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
            FailureEffect::Report(problem) => self.show_notices(index, Some(*problem)),
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
            self.show_notices(index, None);
        }
    }

    /// Returns whether each feed was listed and does not fail, in order.
    pub(super) fn feed_health(&self) -> impl Iterator<Item = bool> {
        self.feeds.iter().map(|feed| feed.is_complete() && feed.outage_message().is_none())
    }

    /// Ends the outages of feeds that have not failed for long enough.
    pub(super) fn expire_outages(&mut self, now: Instant) {
        for index in 0..self.feeds.len() {
            let Some(feed) = self.feeds.get_mut(index) else { continue };
            if feed.is_outage_over(now) {
                self.mark_healthy(index);
            } else if feed.expire_notice(now) && feed.outage_message().is_none() {
                self.show_notices(index, None);
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
        let delta = self.secret_refs.apply(&object);
        self.count_references(delta, now);
        let mut orphan_maps: Vec<_> = self.apply_to_config_maps(&object).into_iter().collect();
        let previous = self.held.remove(&reference);
        let until = previous.as_ref().map_or(now + HOLD_TIMEOUT, |held| held.until);
        if let Some(previous) = previous {
            orphan_maps.extend(previous.orphan_maps);
        }
        let held = HeldObject { object, orphan_maps, until };
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
        let HeldObject { object, orphan_maps, .. } = held;
        self.remove_unreferenced_maps(orphan_maps);
        self.pending.objects.insert(object.reference(), Change::Apply(object));
    }

    /// Returns when [`Self::release_ready`] has something to do next; `None` if nothing waits.
    pub(super) fn next_release_at(&self) -> Option<Instant> {
        let holds = self.held.values().map(|held| held.until);
        holds.chain(self.secret_tracker.next_expiry()).min()
    }

    /// Releases all objects whose Secrets and ConfigMaps were read or whose hold has ended. Removes Secrets that have had
    /// no reference for long enough.
    pub(super) fn release_ready(&mut self, now: Instant) {
        for name in self.secret_tracker.expire_orphans(now) {
            self.remove_secret(name);
        }
        for (reference, held) in std::mem::take(&mut self.held) {
            if self.must_hold(&reference, &held, now) {
                self.held.insert(reference, held);
            } else {
                self.release(held);
            }
        }
    }

    fn remove(&mut self, reference: ObjectRef, now: Instant) {
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
        let delta = self.secret_refs.remove(&reference);
        self.count_references(delta, now);
        let mut orphan_maps: Vec<_> = self.remove_from_config_maps(&reference).into_iter().collect();
        if let Some(held) = self.held.remove(&reference) {
            orphan_maps.extend(held.orphan_maps);
        }
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
            ReadOutcome::Forbidden(message) => {
                if !self.secret_tracker.has_content(&name) {
                    self.set_secret_content(name, SecretContent::Forbidden);
                }
                problems.push(Problem {
                    object: reference.clone(),
                    field: String::new(),
                    reason: Reason::NotPermitted,
                    message: format!("the gateway may not read this Secret: {message}"),
                });
            }
        }
        self.set_problems(reference, problems);
        self.release_ready(now);
    }

    /// Counts references. The Problems of a Secret end with its last one, its content stays for a while.
    fn count_references(&mut self, delta: RefDelta, now: Instant) {
        for name in self.secret_tracker.apply_delta(delta, now) {
            self.set_problems(ObjectRef { kind: Kind::Secret, name }, Vec::new());
        }
    }

    fn set_secret_content(&mut self, name: Name, content: SecretContent) {
        let object = Object::Secret(Secret { name, content });
        self.pending.objects.insert(object.reference(), Change::Apply(object));
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
        let waiting = self.host_moves.waiting(objects, &self.awaited_hosts());
        let is_empty = objects.len() == waiting.len()
            && secrets.is_empty()
            && identities.keys().all(|reference| waiting.contains(reference))
            && zone.is_none();
        let has_changes = !is_empty || self.have_problems_changed;
        let is_due = match self.is_first {
            true => self.secret_tracker.count_unresolved().unresolved == 0,
            false => has_changes,
        };
        self.all_listed_at.is_some() && is_due
    }

    /// Returns when the next update is due, if [`Self::has_update`].
    pub(super) fn update_due_at(&self, debounce: &Debounce) -> Instant {
        match self.all_listed_at {
            Some(listed_at) if self.is_first && self.config_map_tracker.has_pending_reads() => {
                listed_at + CONFIG_MAPS_TIMEOUT
            }
            _ => debounce.due_at(),
        }
    }

    /// Returns the hosts that held Ingresses name.
    fn awaited_hosts(&self) -> AwaitedHosts {
        self.held.values().filter_map(|held| host_moves::hosts_of(&held.object)).collect()
    }

    /// Returns all changes since the last update.
    pub(super) fn take_update(&mut self) -> Update {
        let has_problems = std::mem::take(&mut self.have_problems_changed) || self.is_first;
        let problems = has_problems.then(|| {
            let problems = self.problems.values().flatten().cloned();
            problems.map(|problem| LocatedProblem { problem, location: None }).collect()
        });
        self.is_first = false;
        for name in self.secret_tracker.take_unannounced() {
            self.set_secret_content(name, SecretContent::Unread);
        }
        let waiting = self.host_moves.waiting(&self.pending.objects, &self.awaited_hosts());
        let PendingUpdate { mut objects, secrets, mut identities, zone } = std::mem::take(&mut self.pending);
        self.pending.objects = objects.extract_if(.., |reference, _| waiting.contains(reference)).collect();
        self.pending.identities =
            identities.extract_if(.., |reference, _| waiting.contains(reference)).collect();
        self.host_moves.record(objects.values());
        Update {
            promised_secrets: None,
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
            None => match self.secret_tracker.count_unresolved() {
                UnresolvedSecrets { unresolved: 0, .. } => "referenced ConfigMaps are being read".to_owned(),
                UnresolvedSecrets { unresolved, all } => {
                    format!("{unresolved} of {all} referenced Secrets were neither read nor refused yet")
                }
            },
        })
    }
}

#[cfg(test)]
mod tests;
