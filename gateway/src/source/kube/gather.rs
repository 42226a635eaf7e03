//! What is known of the cluster by name, and what has changed since the last Update. Pure.
//!
//! Objects themselves are not kept: the compiler has them. Kept are names (to tell what a new list lacks), the
//! Secrets that objects name, and Problems of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use routing::object::{Change, Kind, Name, Object, ObjectRef, Texts, Unreadable};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use super::feed::{Need, Plan, Seen, Taken};
use super::secrets::{Outcome, Read, When};
use super::window::Window;
use super::zone;
use crate::source::place::Located;
use crate::source::{SecretChange, Update};

/// How long the first Update waits for the Secrets that objects name, once all else is known: a gateway that is
/// ready has its certificates, but one Secret that cannot be read must not keep it from serving.
const SECRETS_LIMIT: Duration = Duration::from_secs(10);

/// How long what could be read may be refused before that is a Problem: an API server that starts anew refuses what
/// is allowed until it knows its rules, which took it up to 3 s here.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// What was not refused for so long may be read again: tries are at most 13 s apart (`feed::LONGEST_WAIT`), and a
/// watch on which nothing happens does not say that it works.
const REFUSAL_FORGOTTEN: Duration = Duration::from_secs(30);

/// The account of the source.
pub(super) struct Gather {
    feeds: Vec<Feed>,
    secrets: Secrets,
    /// What the next Update will say.
    next: Update,
    /// Problems of objects, and of what may not be read.
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    problems_changed: bool,
    /// When all feeds were complete for the first time.
    complete: Option<Instant>,
    is_first: bool,
    /// Whether the zone is known, or why it is not.
    knows_zone: bool,
    /// The node whose zone may not be read.
    zone_problem: Option<ObjectRef>,
    /// What Ingresses have in common: they come one by one.
    texts: Texts,
}

struct Feed {
    plan: Plan,
    known: BTreeSet<Name>,
    /// Whether the API server ever gave a list.
    was_listed: bool,
    refused: Option<Refused>,
    /// The names of a list that is not complete yet.
    listing: Option<BTreeSet<Name>>,
    is_complete: bool,
    /// Why it does not work at the moment.
    failure: Option<String>,
}

/// When a feed was refused for the first time since it last worked, and when for the last time.
#[derive(Clone, Copy)]
struct Refused {
    first: Instant,
    last: Instant,
}

impl Gather {
    /// Knows nothing yet. `own_namespace` is where class certificates are unless they say otherwise.
    pub(super) fn new(plans: Vec<Plan>, own_namespace: String) -> Self {
        let feeds = plans.into_iter().map(|plan| Feed {
            plan,
            known: BTreeSet::new(),
            was_listed: false,
            refused: None,
            listing: None,
            is_complete: false,
            failure: None,
        });
        Self {
            feeds: feeds.collect(),
            secrets: Secrets { own_namespace, ..Secrets::default() },
            next: Update::default(),
            problems: BTreeMap::new(),
            problems_changed: false,
            complete: None,
            is_first: true,
            knows_zone: false,
            zone_problem: None,
            texts: Texts::default(),
        }
    }

    /// Takes in where the gateway runs, or why that cannot be told yet.
    pub(super) fn set_zone(&mut self, found: zone::Found) {
        self.knows_zone = true;
        match found {
            Ok(zone) => {
                self.next.zone = zone;
                if let Some(problem) = self.zone_problem.take() {
                    self.set_problems(problem, Vec::new());
                }
            }
            Err(problem) => {
                self.zone_problem = Some(problem.object.clone());
                self.set_problems(problem.object.clone(), vec![problem]);
            }
        }
    }

    /// Takes in what happened on the feed at `place`.
    pub(super) fn see(&mut self, place: usize, seen: Seen, now: Instant) {
        if matches!(seen, Seen::Complete | Seen::Applied(_) | Seen::Deleted(_)) {
            self.allow(place);
        }
        let Some(feed) = self.feeds.get_mut(place) else { return };
        match seen {
            Seen::Begin => feed.listing = Some(BTreeSet::new()),
            Seen::Listed(mut taken) => {
                taken.share(&mut self.texts);
                let name = taken.name();
                feed.known.insert(name.clone());
                if let Some(listing) = &mut feed.listing {
                    listing.insert(name);
                }
                self.apply(taken);
            }
            Seen::Complete => {
                let listing = feed.listing.take().unwrap_or_default();
                feed.was_listed = true;
                self.complete(place, listing, now);
            }
            Seen::Applied(mut taken) => {
                taken.share(&mut self.texts);
                feed.known.insert(taken.name());
                self.apply(taken);
            }
            Seen::Deleted(name) => {
                feed.known.remove(&name);
                let kind = feed.plan.kind;
                self.delete(kind, name);
            }
            Seen::Failed { code, message } => self.fail(place, (code, message), now),
        }
    }

    /// What the list lacks is gone.
    fn complete(&mut self, place: usize, listed: BTreeSet<Name>, now: Instant) {
        let Some(feed) = self.feeds.get_mut(place) else { return };
        let gone: Vec<Name> = feed.known.difference(&listed).cloned().collect();
        // What stays keeps the text of its name that it shares with the object that was told of first.
        feed.known.retain(|name| listed.contains(name));
        feed.is_complete = true;
        feed.failure = None;
        let kind = feed.plan.kind;
        for name in gone {
            self.delete(kind, name);
        }
        if self.complete.is_none() && self.feeds.iter().all(|feed| feed.is_complete) {
            self.complete = Some(now);
        }
    }

    fn fail(&mut self, place: usize, (code, message): (Option<u16>, String), now: Instant) {
        let Some(feed) = self.feeds.get_mut(place) else { return };
        tracing::debug!(kind = %feed.plan.kind, message, "watch failed");
        feed.listing = None;
        feed.failure = Some(message.clone());
        match (code, feed.plan.need) {
            // Until an API server knows its CRDs it answers 503, so 404 means that there is none.
            (Some(404), Need::IfInstalled | Need::IfAllowed) => {
                self.allow(place);
                self.complete(place, BTreeSet::new(), now);
            }
            (Some(403), _) => self.refuse(place, message, now),
            _ => {}
        }
    }

    /// The API server forbids it. What was read once stays: it may be forbidden only because an API server starts
    /// anew, and routes never disappear for that.
    fn refuse(&mut self, place: usize, message: String, now: Instant) {
        let Some(feed) = self.feeds.get_mut(place) else { return };
        let refused = feed.refused.get_or_insert(Refused { first: now, last: now });
        refused.last = now;
        if feed.was_listed && now - refused.first < REFUSAL_LIMIT {
            return;
        }
        let (all, may_be_absent) = (feed.plan.all(), feed.plan.need == Need::IfAllowed && !feed.was_listed);
        if may_be_absent {
            self.complete(place, BTreeSet::new(), now);
        }
        let problem = Problem {
            object: all.clone(),
            field: String::new(),
            reason: Reason::NotPermitted,
            message: format!("{}: the gateway may not read these objects: {message}", without(all.kind)),
        };
        self.set_problems(all, vec![problem]);
    }

    /// The API server does not forbid it any more.
    fn allow(&mut self, place: usize) {
        let Some(feed) = self.feeds.get_mut(place) else { return };
        if feed.refused.take().is_some() {
            let all = feed.plan.all();
            self.set_problems(all, Vec::new());
        }
    }

    /// Takes in that time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        for place in 0..self.feeds.len() {
            let refused = self.feeds.get(place).and_then(|feed| feed.refused);
            if refused.is_some_and(|refused| now - refused.last > REFUSAL_FORGOTTEN) {
                self.allow(place);
            }
        }
    }

    fn apply(&mut self, taken: Taken) {
        match taken {
            Taken::Object(object, unreadable) => {
                let reference = object.reference();
                let problems = unreadable.into_iter().map(|found| problem(&reference, found)).collect();
                self.set_problems(reference, problems);
                let orphans = self.secrets.name(&object);
                self.forget_secrets(orphans);
                self.next.objects.push(Change::Apply(object));
            }
            // Its last good version goes on: a policy that turns unreadable must not open what it closed.
            Taken::Bad(reference, message) => {
                let (field, reason) = ("spec".to_owned(), Reason::InvalidValue);
                let problem = Problem { object: reference.clone(), field, reason, message };
                self.set_problems(reference, vec![problem]);
            }
            Taken::Secret(name, version) => self.secrets.see(&name, version),
        }
    }

    fn delete(&mut self, kind: Kind, name: Name) {
        let reference = ObjectRef { kind, name };
        if kind == Kind::Secret && !self.secrets.lose(&reference.name) {
            return; // Nobody names it: nothing was ever said of it.
        }
        self.set_problems(reference.clone(), Vec::new());
        if kind == Kind::Secret {
            return self.set_secret(reference.name, None);
        }
        let orphans = self.secrets.unname(&reference);
        self.forget_secrets(orphans);
        self.next.objects.push(Change::Delete(reference));
    }

    /// Takes in a Secret that was read.
    pub(super) fn read(&mut self, read: Read) {
        let Read { name, outcome } = read;
        let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
        let is_wanted = match &outcome {
            Outcome::Found { version, .. } => self.secrets.was_read(&name, Some(version.clone())),
            Outcome::Missing => self.secrets.was_read(&name, None),
            Outcome::Forbidden(_) => self.secrets.was_refused(&name),
        };
        if !is_wanted {
            return;
        }
        let mut problems = Vec::new();
        match outcome {
            Outcome::Found { secret, pair, .. } => {
                self.next.objects.push(Change::Apply(Object::Secret(secret)));
                self.next.secrets.push(SecretChange { name, pair });
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
    }

    fn forget_secrets(&mut self, orphans: Vec<Name>) {
        for name in orphans {
            self.set_problems(ObjectRef { kind: Kind::Secret, name: name.clone() }, Vec::new());
            self.set_secret(name, None);
        }
    }

    fn set_secret(&mut self, name: Name, pair: Option<crate::source::PemPair>) {
        self.next.objects.push(Change::Delete(ObjectRef { kind: Kind::Secret, name: name.clone() }));
        self.next.secrets.push(SecretChange { name, pair });
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
        let has_changes = !self.next.objects.is_empty()
            || !self.next.secrets.is_empty()
            || self.next.zone.is_some()
            || self.problems_changed;
        self.complete.is_some() && self.knows_zone && (self.is_first || has_changes)
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
        if std::mem::take(&mut self.problems_changed) || self.is_first {
            let problems = self.problems.values().flatten().cloned();
            self.next.problems = Some(problems.map(|problem| Located { problem, location: None }).collect());
        }
        self.is_first = false;
        std::mem::take(&mut self.next)
    }

    /// What stands between the source and its first Update, for people.
    pub(super) fn missing(&self) -> Option<String> {
        if !self.is_first {
            return None;
        }
        let missing = self.feeds.iter().find(|feed| !feed.is_complete);
        Some(match missing {
            Some(feed) => {
                let why = feed.failure.as_deref().unwrap_or("not listed yet");
                format!("the API server has not given all objects of kind {}: {why}", feed.plan.kind)
            }
            None if !self.knows_zone => "the API server has not told the zone of this node".to_owned(),
            None => "the Secrets that objects name are being read".to_owned(),
        })
    }
}

impl Taken {
    fn name(&self) -> Name {
        match self {
            Self::Object(object, _) => object.reference().name,
            Self::Bad(reference, _) => reference.name.clone(),
            Self::Secret(name, _) => name.clone(),
        }
    }

    fn share(&mut self, texts: &mut Texts) {
        if let Self::Object(Object::Ingress(ingress), _) = self {
            texts.share(ingress);
        }
    }
}

/// What is off while a kind may not be read.
fn without(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "Ingresses of namespaces that are going away count like any other",
        Kind::IngressClass => "classes are only known by --class",
        Kind::IngressClassConfig => "what parameters of classes say is not known",
        _ => "changes are not seen",
    }
}

fn problem(object: &ObjectRef, found: Unreadable) -> Problem {
    let Unreadable { field, message } = found;
    Problem { object: object.clone(), field, reason: Reason::InvalidValue, message }
}

impl Plan {
    /// Stands for all objects of the feed.
    fn all(&self) -> ObjectRef {
        ObjectRef { kind: self.kind, name: Name::new(&self.namespace, "*") }
    }
}

// ===== Secrets =====

/// Who names which Secrets, and what is known of those.
#[derive(Default)]
struct Secrets {
    own_namespace: String,
    named_by: BTreeMap<ObjectRef, BTreeSet<Name>>,
    wanted: BTreeMap<Name, Wanted>,
}

/// A Secret that somebody names.
#[derive(Default)]
struct Wanted {
    users: usize,
    /// The version that the watch told of last.
    seen: Option<String>,
    /// The version that was read last.
    read: Option<String>,
    reading: Reading,
    /// Whether the API server forbade the last read.
    was_refused: bool,
    /// Whether the watch told of a version while it was being read.
    was_overtaken: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    /// It is to be read.
    #[default]
    Due,
    /// It is being read.
    Now,
    /// It was read in the version that was seen.
    Done,
}

impl Secrets {
    /// Takes in which Secrets an object names now. Gives those that nobody names any more.
    fn name(&mut self, object: &Object) -> Vec<Name> {
        let names = match object {
            Object::Ingress(ingress) => {
                let secrets = ingress.tls.iter().filter_map(|tls| tls.secret.as_ref());
                let in_namespace = |secret: &std::sync::Arc<str>| Name {
                    namespace: ingress.name.namespace.clone(),
                    name: secret.clone(),
                };
                secrets.map(in_namespace).collect()
            }
            Object::IngressClassConfig(config) => {
                let certificate = config.spec.default_certificate.iter();
                let name = |secret: &api::ClassSecret| {
                    Name::new(secret.namespace.as_deref().unwrap_or(&self.own_namespace), &secret.name)
                };
                certificate.map(name).collect()
            }
            _ => return Vec::new(),
        };
        self.set(object.reference(), names)
    }

    /// An object is gone. Gives the Secrets that nobody names any more.
    fn unname(&mut self, of: &ObjectRef) -> Vec<Name> {
        self.set(of.clone(), BTreeSet::new())
    }

    fn set(&mut self, of: ObjectRef, names: BTreeSet<Name>) -> Vec<Name> {
        for name in &names {
            self.wanted.entry(name.clone()).or_default().users += 1;
        }
        let before =
            if names.is_empty() { self.named_by.remove(&of) } else { self.named_by.insert(of, names) };
        let mut orphans = Vec::new();
        for name in before.into_iter().flatten() {
            let Some(wanted) = self.wanted.get_mut(&name) else { continue };
            wanted.users -= 1;
            if wanted.users == 0 {
                self.wanted.remove(&name);
                orphans.push(name);
            }
        }
        orphans
    }

    /// The watch tells of a version.
    fn see(&mut self, name: &Name, version: String) {
        let Some(wanted) = self.wanted.get_mut(name) else { return };
        if wanted.reading == Reading::Done && wanted.read.as_ref() != Some(&version) {
            wanted.reading = Reading::Due;
        }
        wanted.was_overtaken |= wanted.reading == Reading::Now;
        wanted.seen = Some(version);
    }

    /// The watch tells that it is gone. Says whether anybody names it.
    fn lose(&mut self, name: &Name) -> bool {
        let Some(wanted) = self.wanted.get_mut(name) else { return false };
        (wanted.seen, wanted.read) = (None, None);
        if wanted.reading == Reading::Due {
            wanted.reading = Reading::Done;
        }
        // What is being read may be what it was before.
        wanted.was_overtaken |= wanted.reading == Reading::Now;
        true
    }

    fn start_reading(&mut self) -> Vec<(Name, When)> {
        let due = self.wanted.iter_mut().filter(|(_, wanted)| wanted.reading == Reading::Due);
        due.map(|(name, wanted)| {
            wanted.reading = Reading::Now;
            (name.clone(), if wanted.was_refused { When::Later } else { When::Now })
        })
        .collect()
    }

    /// It may not be read, and will be tried again. Says whether anybody still names it.
    fn was_refused(&mut self, name: &Name) -> bool {
        let Some(wanted) = self.wanted.get_mut(name) else { return false };
        (wanted.reading, wanted.was_refused, wanted.was_overtaken) = (Reading::Due, true, false);
        true
    }

    /// It was read in this version, or is not there. Says whether that counts: somebody still names it, and it is the
    /// read that was asked for last.
    ///
    /// Versions have no order that may be relied on: what the watch told of meanwhile may be older or newer than
    /// what was read, so it is read once more.
    fn was_read(&mut self, name: &Name, version: Option<String>) -> bool {
        let Some(wanted) = self.wanted.get_mut(name) else { return false };
        if wanted.reading != Reading::Now {
            // It was named, forgotten and named again, so that two reads ran. Which is newer cannot be told.
            if wanted.read != version {
                wanted.reading = Reading::Due;
            }
            return false;
        }
        wanted.was_refused = false;
        let is_newest = !std::mem::take(&mut wanted.was_overtaken) || wanted.seen == version;
        wanted.reading = if is_newest { Reading::Done } else { Reading::Due };
        wanted.read = version;
        true
    }

    fn is_reading(&self) -> bool {
        // One that is refused keeps nobody waiting.
        self.wanted.values().any(|wanted| wanted.reading != Reading::Done && !wanted.was_refused)
    }
}

#[cfg(test)]
mod tests;
