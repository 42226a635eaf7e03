//! What the files say together, and how that differs from what was sent last. Pure.
//!
//! Purpose: one object per name (the first file by path wins), the last good content of files that turned
//! bad, and what an API server's admission would do: the default class. Not here: reading files.

use std::cmp::Reverse;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use routing::object::{Change, Delta, Ingress, IngressClass, Kind, Name, Object, ObjectRef};
use routing::problem::{Problem, Reason};

use super::document::{Content, Entry, Failure};
use crate::control::source::place::{Located, Place};
use crate::control::source::{PemPair, SecretChange, Update};

/// `spec.controller` of the classes that are ours.
const OUR_CONTROLLER: &str = "wasm-gateway.dev/ingress-controller";
/// The class that exists if the folder holds none of ours.
const OUR_CLASS: &str = "gateway";

/// All files' contents, and what has to be sent of them. Costs what the changed files hold, not what all of them do.
#[derive(Default)]
pub(super) struct Merge {
    files: BTreeMap<Arc<Path>, Held>,
    folder_problems: Vec<Located>,
    /// The entries of every name.
    claims: BTreeMap<ObjectRef, Claims>,
    /// The names that stand in several places.
    contested: BTreeSet<ObjectRef>,
    /// What the last update said about the names that may be different now; nothing: that there is no such object.
    before: BTreeMap<ObjectRef, Option<Sent>>,
    /// The classes at the last update.
    classes: Option<Classes>,
    /// The classes that are ours whatever their controller is.
    taken: BTreeSet<String>,
    problems: Found,
}

/// The Problems at the last update.
#[derive(Default)]
struct Found {
    /// Absent before the first update.
    sent: Option<Vec<Located>>,
    /// Whether they may be others now.
    may_differ: bool,
}

/// What is held of one file.
#[derive(Default)]
struct Held {
    content: Content,
    /// Whether the content is that of a file that was read as a whole.
    good: bool,
    /// Why the file's present version was not taken.
    failures: Vec<Located>,
}

/// Where an entry is: its file, and its index among the file's. The order is that of precedence.
type At = (Arc<Path>, usize);

/// The entries of one name, the one that counts first. Nearly every name has one.
enum Claims {
    One(At),
    Many(BTreeSet<At>),
}

struct Sent {
    object: Object,
    pair: Option<PemPair>,
    place: Option<Place>,
}

impl Merge {
    /// Holds no file yet; these classes are ours whatever their controller is.
    pub(super) fn new(taken: &[String]) -> Self {
        Self { taken: taken.iter().cloned().collect(), ..Self::default() }
    }

    /// Takes what a file holds now.
    pub(super) fn set(&mut self, path: &Path, content: Content) {
        self.replace(path, content);
        if let Some(held) = self.files.get_mut(path) {
            self.problems.may_differ |= !held.failures.is_empty();
            (held.good, held.failures) = (true, Vec::new());
        }
    }

    /// Takes note that a file cannot be read; it keeps its content.
    pub(super) fn fail(&mut self, path: &Path, problems: Vec<Located>) {
        self.problems.may_differ = true;
        self.files.entry(path.into()).or_default().failures = problems;
    }

    /// Takes note that parts of a file cannot be read. It keeps its content; if it had none, then what could
    /// be read is better than nothing.
    pub(super) fn refuse(&mut self, path: &Path, failure: Failure) {
        self.fail(path, failure.problems);
        let is_good = self.files.get(path).is_some_and(|held| held.good);
        if let Some(readable) = failure.readable.filter(|_| !is_good) {
            self.replace(path, readable);
        }
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, path: &Path) {
        self.replace(path, Content::default());
        if let Some(held) = self.files.remove(path) {
            self.problems.may_differ |= !held.failures.is_empty();
        }
    }

    /// Says whether a file has objects.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|held| !held.content.entries.is_empty())
    }

    /// Replaces the Problems of the folder as a whole.
    pub(super) fn set_folder_problems(&mut self, problems: Vec<Located>) {
        self.problems.may_differ |= problems != self.folder_problems;
        self.folder_problems = problems;
    }

    /// Says what changed since the last update, if anything did. The first time there is always an update.
    pub(super) fn update(&mut self) -> Option<Update> {
        self.update_classes();
        let mut update = Update::default();
        let mut applied = Delta::new();
        for (reference, before) in std::mem::take(&mut self.before) {
            let now = self.current(&reference);
            compare(&mut update, &mut applied, (reference, before, now));
        }
        // Deletions go first.
        update.objects.append(&mut applied);
        let first = self.problems.sent.is_none();
        if std::mem::take(&mut self.problems.may_differ) || first {
            let problems = self.all_problems();
            if self.problems.sent.as_ref() != Some(&problems) {
                self.problems.sent = Some(problems.clone());
                update.problems = Some(problems);
            }
        }
        let empty = update.only_moves() && update.places.is_empty();
        (first || !empty).then_some(update)
    }

    /// Puts other content in a file's place, and takes note of every name in the old and in the new one.
    fn replace(&mut self, path: &Path, content: Content) {
        let path: Arc<Path> = path.into();
        let names = |content: &Content| -> Vec<ObjectRef> {
            content.entries.iter().map(|entry| entry.object.reference()).collect()
        };
        let old = self.files.get(&path).map(|held| names(&held.content)).unwrap_or_default();
        let new = names(&content);
        for reference in old.iter().chain(&new) {
            self.touch(reference);
        }
        for (index, reference) in old.into_iter().enumerate() {
            self.withdraw(&reference, &(Arc::clone(&path), index));
        }
        for (index, reference) in new.into_iter().enumerate() {
            self.claim(reference, (Arc::clone(&path), index));
        }
        let held = self.files.entry(path).or_default();
        self.problems.may_differ |= !(held.content.problems.is_empty() && content.problems.is_empty());
        held.content = content;
    }

    /// Keeps what the last update said about a name, before anything about it changes.
    fn touch(&mut self, reference: &ObjectRef) {
        if !self.before.contains_key(reference) {
            self.before.insert(reference.clone(), self.current(reference));
        }
    }

    fn claim(&mut self, reference: ObjectRef, at: At) {
        match self.claims.entry(reference) {
            Slot::Vacant(slot) => {
                slot.insert(Claims::One(at));
            }
            Slot::Occupied(mut slot) => {
                self.problems.may_differ = true;
                self.contested.insert(slot.key().clone());
                match slot.get_mut() {
                    Claims::Many(all) => {
                        all.insert(at);
                    }
                    Claims::One(first) => {
                        let all = BTreeSet::from([first.clone(), at]);
                        slot.insert(Claims::Many(all));
                    }
                }
            }
        }
    }

    fn withdraw(&mut self, reference: &ObjectRef, at: &At) {
        let Some(claims) = self.claims.get_mut(reference) else { return };
        let Claims::Many(all) = claims else {
            self.claims.remove(reference);
            return;
        };
        self.problems.may_differ = true;
        all.remove(at);
        if all.len() < 2
            && let Some(last) = all.pop_first()
        {
            *claims = Claims::One(last);
            self.contested.remove(reference);
        }
    }

    fn entry(&self, (path, index): &At) -> Option<&Entry> {
        self.files.get(path)?.content.entries.get(*index)
    }

    /// The entry of a name that counts.
    fn winner(&self, claims: &Claims) -> Option<&Entry> {
        self.entry(match claims {
            Claims::One(at) => at,
            Claims::Many(all) => all.first()?,
        })
    }

    /// What there is to say about a name by the files as they are and the classes of the last update.
    fn current(&self, reference: &ObjectRef) -> Option<Sent> {
        let classes = self.classes.as_ref()?;
        let Some(entry) = self.claims.get(reference).and_then(|claims| self.winner(claims)) else {
            let is_ours = classes.synthesised && *reference == our_class().reference();
            return is_ours.then(|| Sent { object: our_class(), pair: None, place: None });
        };
        let pair = entry.pair.as_ref().map(copy);
        Some(Sent { object: classes.admit(entry), pair, place: Some(entry.place.clone()) })
    }

    /// The entries of one kind that count, by name.
    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectRef, &Entry)> {
        let first = ObjectRef { kind, name: Name::default() };
        let of_kind = self.claims.range(first..).take_while(move |(reference, _)| reference.kind == kind);
        of_kind.filter_map(|(reference, claims)| Some((reference, self.winner(claims)?)))
    }

    /// Looks at the classes again, and takes note of all that means something else because of them.
    fn update_classes(&mut self) {
        let classes = Classes::of(self.of_kind(Kind::IngressClass).map(|(_, entry)| entry), &self.taken);
        if self.classes.as_ref() == Some(&classes) {
            return;
        }
        let is_other = self.classes.as_ref().is_none_or(|before| before.default != classes.default);
        let ingresses = self.of_kind(Kind::Ingress).filter(|(_, entry)| is_other && entry.names_no_class);
        let touched: Vec<_> = ingresses.map(|(reference, _)| reference.clone()).collect();
        for reference in touched.iter().chain([&our_class().reference()]) {
            self.touch(reference);
        }
        self.classes = Some(classes);
    }

    fn all_problems(&self) -> Vec<Located> {
        let mut problems = self.folder_problems.clone();
        for held in self.files.values() {
            problems.extend_from_slice(&held.failures);
            problems.extend_from_slice(&held.content.problems);
        }
        for reference in &self.contested {
            let Some(Claims::Many(all)) = self.claims.get(reference) else { continue };
            let mut entries = all.iter().filter_map(|at| self.entry(at));
            let Some(winner) = entries.next() else { continue };
            problems.extend(entries.map(|loser| duplicate(reference, &winner.place, &loser.place)));
        }
        problems.sort();
        problems
    }
}

/// Stands where the one that does not count stands.
fn duplicate(object: &ObjectRef, winner: &Place, loser: &Place) -> Located {
    let location = loser.start().clone();
    let message = format!("stands in {} and again in {location}; the first one counts", winner.start());
    let (field, reason) = (String::new(), Reason::DuplicateObject);
    Located { problem: Problem { object: object.clone(), field, reason, message }, location: Some(location) }
}

/// Sends an object, its bytes, or where it stands, if they are not what was sent last.
fn compare(
    update: &mut Update,
    applied: &mut Delta,
    (reference, before, now): (ObjectRef, Option<Sent>, Option<Sent>),
) {
    let Some(now) = now else {
        if before.is_some() {
            if reference.kind == Kind::Secret {
                update.secrets.push(SecretChange { name: reference.name.clone(), pair: None });
            }
            update.objects.push(Change::Delete(reference.clone()));
            update.places.push((reference, None));
        }
        return;
    };
    let before = before.as_ref();
    let same_object = before.is_some_and(|before| before.object == now.object);
    let same_pair = before.is_some_and(|before| same(before.pair.as_ref(), now.pair.as_ref()));
    if before.is_none_or(|before| before.place != now.place) {
        update.places.push((reference.clone(), now.place));
    }
    if reference.kind == Kind::Secret && !same_pair {
        update.secrets.push(SecretChange { name: reference.name, pair: now.pair });
    }
    if !same_object {
        applied.push(Change::Apply(now.object));
    }
}

fn same(one: Option<&PemPair>, other: Option<&PemPair>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.chain == other.chain && one.key == other.key,
        (None, None) => true,
        _ => false,
    }
}

fn copy(pair: &PemPair) -> PemPair {
    PemPair { chain: pair.chain.clone(), key: pair.key.clone() }
}

// ===== classes =====

/// What admission needs to know of the IngressClasses.
#[derive(PartialEq, Eq)]
struct Classes {
    /// The class of Ingresses that name none.
    default: Option<Arc<str>>,
    /// Whether our class exists although no file holds it.
    synthesised: bool,
}

impl Classes {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>, taken: &BTreeSet<String>) -> Self {
        let classes = entries.filter_map(|entry| match &entry.object {
            Object::IngressClass(class) => Some((class, entry.created)),
            _ => None,
        });
        let classes: Vec<_> = classes.collect();
        let is_ours = |class: &IngressClass| {
            let name = &*class.name.name;
            &*class.controller == OUR_CONTROLLER || name == OUR_CLASS || taken.contains(name)
        };
        if !classes.iter().any(|(class, _)| is_ours(class)) {
            // Admission takes the youngest of several default classes, and ours is made just now.
            return Self { default: Some(OUR_CLASS.into()), synthesised: true };
        }
        // The youngest, then the first by name; a class without a time is younger than any with one.
        let default = classes
            .into_iter()
            .filter(|(class, _)| class.is_default)
            .max_by_key(|(class, created)| (created.unwrap_or(i64::MAX), Reverse(class.name.clone())));
        Self { default: default.map(|(class, _)| Arc::clone(&class.name.name)), synthesised: false }
    }

    /// Gives an entry's object as the API server would store it.
    fn admit(&self, entry: &Entry) -> Object {
        match (&entry.object, &self.default) {
            (Object::Ingress(ingress), Some(default)) if entry.names_no_class => {
                Object::Ingress(Ingress { class: Some(Arc::clone(default)), ..ingress.clone() })
            }
            (object, _) => object.clone(),
        }
    }
}

fn our_class() -> Object {
    Object::IngressClass(IngressClass {
        name: Name::new("", OUR_CLASS),
        controller: OUR_CONTROLLER.into(),
        is_default: true,
        ..IngressClass::default()
    })
}

#[cfg(test)]
mod tests;
