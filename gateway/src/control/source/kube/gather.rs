//! What is known of the cluster by name, and what has changed since the last Update. Pure.
//!
//! Objects themselves are not kept: the compiler has them. Kept are names (to tell what a new list lacks), the
//! Secrets that objects name, and Problems of the source. `standing` judges whether a feed works, `naming` which
//! Secrets count, `wanted` which of those are to be read.

mod naming;
mod standing;
mod wanted;

use std::collections::BTreeMap;
use std::time::Duration;

use routing::Config;
use routing::object::{Change, Kind, Name, Object, ObjectRef, Texts, Unreadable};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use super::feed::{Plan, Seen, Taken};
use super::secrets::{Outcome, Read, When};
use super::window::Window;
use crate::control::source::place::Located;
use crate::control::source::{PemPair, SecretChange, Update};

use naming::Naming;
use standing::{Standing, Verdict};
use wanted::Secrets;

/// How long the first Update waits for the Secrets that objects name, once all else is known: a gateway that is
/// ready has its certificates, but one Secret that cannot be read must not keep it from serving.
const SECRETS_LIMIT: Duration = Duration::from_secs(10);

/// How long an Ingress waits for the Secrets that it names and that were never heard of: a read takes milliseconds,
/// and without it a host that changes its Secret would have the default certificate for so long.
const HOLD_LIMIT: Duration = Duration::from_secs(1);

/// The account of the source.
pub(super) struct Gather {
    feeds: Vec<Standing>,
    naming: Naming,
    secrets: Secrets,
    /// What the next Update will say.
    next: Next,
    /// Ingresses that wait for their Secrets. What was known of them before goes on.
    held: BTreeMap<ObjectRef, Held>,
    /// Problems of objects, and of what may not be read.
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    problems_changed: bool,
    /// When all feeds were complete for the first time.
    complete: Option<Instant>,
    is_first: bool,
    /// The zone that was told last.
    zone: Option<String>,
    /// What Ingresses have in common: they come one by one.
    texts: Texts,
}

/// An Update as it grows: of each object the last change counts, so that it does not grow beyond what there is while
/// it has to wait.
#[derive(Default)]
struct Next {
    objects: BTreeMap<ObjectRef, Change>,
    secrets: BTreeMap<Name, Option<PemPair>>,
    zone: Option<String>,
}

struct Held {
    object: Object,
    /// Secrets that only its version before named.
    orphans: Vec<Name>,
    until: Instant,
}

impl Gather {
    /// Knows nothing yet. `routing` tells which classes are ours, and where their certificates are unless they say
    /// otherwise.
    pub(super) fn new(plans: Vec<Plan>, routing: Config) -> Self {
        let of_secrets = plans.iter().filter(|plan| plan.kind == Kind::Secret);
        let namespaces: Vec<&str> = of_secrets.map(|plan| &*plan.namespace).collect();
        let watched = (!namespaces.contains(&"")).then(|| namespaces.into_iter().map(Into::into).collect());
        Self {
            feeds: plans.into_iter().map(Standing::new).collect(),
            naming: Naming::new(routing),
            secrets: Secrets::new(watched),
            next: Next::default(),
            held: BTreeMap::new(),
            problems: BTreeMap::new(),
            problems_changed: false,
            complete: None,
            is_first: true,
            zone: None,
            texts: Texts::default(),
        }
    }

    /// Takes in what happened on the feed at `place`.
    pub(super) fn see(&mut self, place: usize, seen: Seen, now: Instant) {
        if matches!(seen, Seen::Complete | Seen::Applied(_) | Seen::Deleted(_)) {
            self.settle(place);
        }
        let Some(feed) = self.feeds.get_mut(place) else { return };
        match seen {
            Seen::Begin => feed.begin(),
            Seen::Listed(mut taken) => {
                taken.share(&mut self.texts);
                feed.list(taken.name());
                self.apply(taken, now);
            }
            Seen::Complete => {
                let gone = feed.complete();
                self.lose(place, gone, now);
            }
            Seen::Applied(mut taken) => {
                taken.share(&mut self.texts);
                feed.known.insert(taken.name());
                self.apply(taken, now);
            }
            Seen::Deleted(name) => {
                feed.known.remove(&name);
                let kind = feed.plan.kind;
                self.delete(ObjectRef { kind, name });
            }
            Seen::Failed { code, message } => self.fail(place, (code, message), now),
        }
    }

    /// All of a feed was heard, and these are gone.
    fn lose(&mut self, place: usize, gone: Vec<Name>, now: Instant) {
        let Some(kind) = self.feeds.get(place).map(|feed| feed.plan.kind) else { return };
        for name in gone {
            self.delete(ObjectRef { kind, name });
        }
        if self.complete.is_none() && self.feeds.iter().all(|feed| feed.is_complete) {
            self.complete = Some(now);
        }
    }

    fn fail(&mut self, place: usize, failure: (Option<u16>, String), now: Instant) {
        let Some(feed) = self.feeds.get_mut(place) else { return };
        tracing::debug!(kind = %feed.plan.kind, code = failure.0, message = failure.1, "watch failed");
        match feed.fail(failure, now) {
            Verdict::Wait => {}
            Verdict::Absent => {
                let gone = feed.empty();
                self.settle(place);
                self.lose(place, gone, now);
            }
            Verdict::Problem { problem, is_done_without } => {
                if is_done_without {
                    let gone = feed.empty();
                    self.lose(place, gone, now);
                }
                self.set_problems(problem.object.clone(), vec![*problem]);
            }
        }
    }

    /// A feed works again.
    fn settle(&mut self, place: usize) {
        let Some(feed) = self.feeds.get_mut(place) else { return };
        if feed.settle() {
            let all = feed.all();
            self.set_problems(all, Vec::new());
        }
    }

    /// Takes in that time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        for place in 0..self.feeds.len() {
            if self.feeds.get(place).is_some_and(|feed| feed.is_over(now)) {
                self.settle(place);
            }
        }
    }

    fn apply(&mut self, taken: Taken, now: Instant) {
        match taken {
            Taken::Object(object, unreadable) => {
                let reference = object.reference();
                let problems = unreadable.into_iter().map(|found| problem(&reference, found)).collect();
                self.set_problems(reference, problems);
                self.take_in(object, now);
            }
            // Its last good version goes on: a policy that turns unreadable must not open what it closed.
            Taken::Bad(reference, message) => {
                let (field, reason) = ("spec".to_owned(), Reason::InvalidValue);
                let problem = Problem { object: reference.clone(), field, reason, message };
                self.set_problems(reference, vec![problem]);
            }
            Taken::Secret(name, version) => self.secrets.see(&name, version),
            // A node changes all the time, and one that lost its label is where it was.
            Taken::Node(_, zone) => {
                if zone.is_some() && self.zone != zone {
                    self.zone.clone_from(&zone);
                    self.next.zone = zone;
                }
            }
        }
    }

    fn take_in(&mut self, object: Object, now: Instant) {
        let reference = object.reference();
        let mut orphans = self.secrets.turn(self.naming.apply(&object));
        let before = self.held.remove(&reference);
        let until = before.as_ref().map_or(now + HOLD_LIMIT, |held| held.until);
        orphans.extend(before.into_iter().flat_map(|held| held.orphans));
        let held = Held { object, orphans, until };
        // The first Update waits for all Secrets together.
        if !self.is_first && self.is_waiting(&reference, &held, now) {
            self.held.insert(reference, held);
        } else {
            self.let_go(held);
        }
    }

    fn is_waiting(&self, reference: &ObjectRef, held: &Held, now: Instant) -> bool {
        held.until > now && self.naming.names_of(reference).any(|name| self.secrets.is_awaited(name))
    }

    fn let_go(&mut self, held: Held) {
        let Held { object, orphans, .. } = held;
        self.forget_secrets(orphans);
        self.next.objects.insert(object.reference(), Change::Apply(object));
    }

    /// When the next Ingress that waits has waited long enough; nothing: none waits.
    pub(super) fn release_at(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Lets go what need not wait any more.
    pub(super) fn release(&mut self, now: Instant) {
        for (reference, held) in std::mem::take(&mut self.held) {
            if self.is_waiting(&reference, &held, now) {
                self.held.insert(reference, held);
            } else {
                self.let_go(held);
            }
        }
    }

    fn delete(&mut self, reference: ObjectRef) {
        match reference.kind {
            // A node that is gone takes this gateway with it.
            Kind::Node => return,
            Kind::Secret => {
                // Of one that nobody names nothing was ever said.
                if self.secrets.lose(&reference.name) {
                    self.set_problems(reference.clone(), Vec::new());
                    self.set_secret(reference.name, None);
                }
                return;
            }
            _ => {}
        }
        self.set_problems(reference.clone(), Vec::new());
        let mut orphans = self.secrets.turn(self.naming.delete(&reference));
        orphans.extend(self.held.remove(&reference).into_iter().flat_map(|held| held.orphans));
        self.forget_secrets(orphans);
        self.next.objects.insert(reference.clone(), Change::Delete(reference));
    }

    /// Takes in a Secret that was read.
    pub(super) fn read(&mut self, read: Read, now: Instant) {
        let Read { name, outcome } = read;
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        let is_news = match &outcome {
            Outcome::Found { version, .. } => self.secrets.was_read(&name, Some(version.clone())),
            Outcome::Missing => self.secrets.was_read(&name, None),
            Outcome::Forbidden(_) => self.secrets.was_refused(&name),
        };
        if !is_news {
            return;
        }
        let mut problems = Vec::new();
        match outcome {
            Outcome::Found { secret, pair, .. } => {
                self.next.objects.insert(reference.clone(), Change::Apply(Object::Secret(secret)));
                self.next.secrets.insert(name, pair);
            }
            Outcome::Missing => self.set_secret(name, None),
            Outcome::Forbidden(message) => problems.push(Problem {
                object: reference.clone(),
                field: String::new(),
                reason: Reason::NotPermitted,
                message: format!("the gateway may not read this Secret: {message}"),
            }),
        }
        self.set_problems(reference, problems);
        self.release(now);
    }

    fn forget_secrets(&mut self, orphans: Vec<Name>) {
        for name in orphans {
            // One that was held back may be named again meanwhile.
            if !self.secrets.is_wanted(&name) {
                self.set_problems(ObjectRef { kind: Kind::Secret, name: name.clone() }, Vec::new());
                self.set_secret(name, None);
            }
        }
    }

    fn set_secret(&mut self, name: Name, pair: Option<PemPair>) {
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        self.next.objects.insert(reference.clone(), Change::Delete(reference));
        self.next.secrets.insert(name, pair);
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
    pub(super) fn secrets_to_read(&mut self) -> Vec<(Name, When)> {
        self.secrets.start_reading()
    }

    /// Whether there is something to say, and all was heard that has to be heard first.
    pub(super) fn has_news(&self) -> bool {
        let Next { objects, secrets, zone } = &self.next;
        let has_changes =
            !objects.is_empty() || !secrets.is_empty() || zone.is_some() || self.problems_changed;
        self.complete.is_some() && (self.is_first || has_changes)
    }

    /// When the next Update is due, if there is one.
    pub(super) fn due(&self, window: &Window) -> Instant {
        match self.complete {
            Some(complete) if self.is_first && self.secrets.is_reading() => complete + SECRETS_LIMIT,
            _ => window.end(),
        }
    }

    /// All that changed since the last Update.
    pub(super) fn take(&mut self) -> Update {
        let has_problems = std::mem::take(&mut self.problems_changed) || self.is_first;
        let problems = has_problems.then(|| {
            let problems = self.problems.values().flatten().cloned();
            problems.map(|problem| Located { problem, location: None }).collect()
        });
        self.is_first = false;
        let Next { objects, secrets, zone } = std::mem::take(&mut self.next);
        Update {
            objects: objects.into_values().collect(),
            secrets: secrets.into_iter().map(|(name, pair)| SecretChange { name, pair }).collect(),
            places: Vec::new(),
            zone,
            problems,
        }
    }

    /// What stands between the source and its first Update, for people.
    pub(super) fn missing(&self) -> Option<String> {
        if !self.is_first {
            return None;
        }
        let missing = self.feeds.iter().find(|feed| !feed.is_complete);
        Some(match missing {
            Some(feed) => {
                let why = feed.failure().unwrap_or("not listed yet");
                format!("the API server has not given all objects of kind {}: {why}", feed.plan.kind)
            }
            None => "the Secrets that objects name are being read".to_owned(),
        })
    }
}

impl Taken {
    fn name(&self) -> Name {
        match self {
            Self::Object(object, _) => object.reference().name,
            Self::Bad(reference, _) => reference.name.clone(),
            Self::Secret(name, _) | Self::Node(name, _) => name.clone(),
        }
    }

    fn share(&mut self, texts: &mut Texts) {
        if let Self::Object(Object::Ingress(ingress), _) = self {
            texts.share(ingress);
        }
    }
}

fn problem(object: &ObjectRef, found: Unreadable) -> Problem {
    let Unreadable { field, message } = found;
    Problem { object: object.clone(), field, reason: Reason::InvalidValue, message }
}

#[cfg(test)]
mod tests;
