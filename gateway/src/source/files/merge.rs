//! What the files say together, and how that differs from what was sent last. Pure.
//!
//! Purpose: one object per name (the first file by path wins), the last good content of files that turned
//! bad, and what an API server's admission would do: the default class. Not here: reading files.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use routing::object::{Change, Ingress, IngressClass, Kind, Name, Object, ObjectRef};
use routing::problem::{Problem, Reason};

use super::document::{Content, Entry, Failure};
use crate::source::place::{Located, Place};
use crate::source::{PemPair, SecretChange, Update};

/// `spec.controller` of the classes that are ours.
const OUR_CONTROLLER: &str = "wasm-gateway.dev/ingress-controller";
/// The class that exists if the folder holds none of ours.
const OUR_CLASS: &str = "gateway";

/// All files' contents, and what was sent of them.
#[derive(Default)]
pub(super) struct Merge {
    files: BTreeMap<PathBuf, Held>,
    folder_problems: Vec<Located>,
    sent: BTreeMap<ObjectRef, Sent>,
    /// Absent before the first update.
    sent_problems: Option<Vec<Located>>,
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

struct Sent {
    object: Object,
    pair: Option<PemPair>,
    place: Option<Place>,
}

/// An object as it is to be sent.
struct Admitted<'a> {
    object: Cow<'a, Object>,
    pair: Option<&'a PemPair>,
    place: Option<&'a Place>,
}

impl Merge {
    /// Takes what a file holds now.
    pub(super) fn set(&mut self, path: &Path, content: Content) {
        self.files.insert(path.to_owned(), Held { content, good: true, failures: Vec::new() });
    }

    /// Takes note that a file cannot be read; it keeps its content.
    pub(super) fn fail(&mut self, path: &Path, problems: Vec<Located>) {
        self.files.entry(path.to_owned()).or_default().failures = problems;
    }

    /// Takes note that parts of a file cannot be read. It keeps its content; if it had none, then what could
    /// be read is better than nothing.
    pub(super) fn refuse(&mut self, path: &Path, failure: Failure) {
        let held = self.files.entry(path.to_owned()).or_default();
        held.failures = failure.problems;
        if let Some(readable) = failure.readable.filter(|_| !held.good) {
            held.content = readable;
        }
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Says whether a file has objects.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|held| !held.content.entries.is_empty())
    }

    /// Replaces the Problems of the folder as a whole.
    pub(super) fn set_folder_problems(&mut self, problems: Vec<Located>) {
        self.folder_problems = problems;
    }

    /// Says what changed since the last update, if anything did. The first time there is always an update.
    pub(super) fn update(&mut self) -> Option<Update> {
        let (winners, mut problems) = winners(&self.files);
        problems.extend_from_slice(&self.folder_problems);
        problems.sort();
        let classes = Classes::of(&winners);
        let mut update = Update::default();
        delete(&mut self.sent, &mut update, |reference| {
            let synthesised = classes.synthesised && *reference == our_class().reference();
            !synthesised && !winners.contains_key(reference)
        });
        for (reference, entry) in winners {
            let (object, pair) = (classes.admit(entry), entry.pair.as_ref());
            apply(
                &mut self.sent,
                &mut update,
                reference,
                Admitted { object, pair, place: Some(&entry.place) },
            );
        }
        if classes.synthesised {
            let class = Admitted { object: Cow::Owned(our_class()), pair: None, place: None };
            apply(&mut self.sent, &mut update, our_class().reference(), class);
        }
        let first = self.sent_problems.is_none();
        if self.sent_problems.as_ref() != Some(&problems) {
            self.sent_problems = Some(problems.clone());
            update.problems = Some(problems);
        }
        let empty = update.only_moves() && update.places.is_empty();
        (first || !empty).then_some(update)
    }
}

/// The entries that count, by name.
type Winners<'a> = BTreeMap<ObjectRef, &'a Entry>;

/// Picks the first of every name, by path and then by place in the file; the others are Problems, and so is
/// whatever else the files have.
fn winners(files: &BTreeMap<PathBuf, Held>) -> (Winners<'_>, Vec<Located>) {
    let mut winners = Winners::new();
    let mut problems = Vec::new();
    for held in files.values() {
        problems.extend_from_slice(&held.failures);
        problems.extend_from_slice(&held.content.problems);
        for entry in &held.content.entries {
            match winners.entry(entry.object.reference()) {
                Slot::Vacant(slot) => {
                    slot.insert(entry);
                }
                Slot::Occupied(slot) => {
                    problems.push(duplicate(slot.key(), &slot.get().place, &entry.place));
                }
            }
        }
    }
    (winners, problems)
}

/// Stands where the one that does not count stands.
fn duplicate(object: &ObjectRef, winner: &Place, loser: &Place) -> Located {
    let location = loser.start().clone();
    let message = format!("stands in {} and again in {location}; the first one counts", winner.start());
    let (field, reason) = (String::new(), Reason::DuplicateObject);
    Located { problem: Problem { object: object.clone(), field, reason, message }, location }
}

/// Sends the deletion of all that was sent and is gone.
fn delete(
    sent: &mut BTreeMap<ObjectRef, Sent>,
    update: &mut Update,
    mut is_gone: impl FnMut(&ObjectRef) -> bool,
) {
    sent.retain(|reference, _| {
        let gone = is_gone(reference);
        if gone {
            if reference.kind == Kind::Secret {
                update.secrets.push(SecretChange { name: reference.name.clone(), pair: None });
            }
            update.objects.push(Change::Delete(reference.clone()));
            update.places.push((reference.clone(), None));
        }
        !gone
    });
}

/// Sends an object, its bytes, or where it stands, if they are not what was sent last.
fn apply(sent: &mut BTreeMap<ObjectRef, Sent>, update: &mut Update, reference: ObjectRef, now: Admitted<'_>) {
    let before = sent.get(&reference);
    let same_object = before.is_some_and(|before| before.object == *now.object);
    let same_pair = before.is_some_and(|before| same(before.pair.as_ref(), now.pair));
    let same_place = before.is_some_and(|before| before.place.as_ref() == now.place);
    if same_object && same_pair && same_place {
        return;
    }
    if !same_place {
        update.places.push((reference.clone(), now.place.cloned()));
    }
    if reference.kind == Kind::Secret && !same_pair {
        update.secrets.push(SecretChange { name: reference.name.clone(), pair: now.pair.map(copy) });
    }
    if !same_object {
        update.objects.push(Change::Apply(now.object.clone().into_owned()));
    }
    let Admitted { object, pair, place } = now;
    sent.insert(reference, Sent { object: object.into_owned(), pair: pair.map(copy), place: place.cloned() });
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
struct Classes {
    /// The class of Ingresses that name none.
    default: Option<Arc<str>>,
    /// Whether our class exists although no file holds it.
    synthesised: bool,
}

impl Classes {
    fn of(winners: &Winners<'_>) -> Self {
        let classes = || {
            winners.values().filter_map(|entry| match &entry.object {
                Object::IngressClass(class) => Some((class, entry.created)),
                _ => None,
            })
        };
        let ours = classes()
            .any(|(class, _)| &*class.controller == OUR_CONTROLLER || &*class.name.name == OUR_CLASS);
        if !ours {
            // Admission takes the youngest of several default classes, and ours is made just now.
            return Self { default: Some(OUR_CLASS.into()), synthesised: true };
        }
        // The youngest, then the first by name; a class without a time is younger than any with one.
        let default = classes()
            .filter(|(class, _)| class.is_default)
            .max_by_key(|(class, created)| (created.unwrap_or(i64::MAX), Reverse(class.name.clone())));
        Self { default: default.map(|(class, _)| Arc::clone(&class.name.name)), synthesised: false }
    }

    /// Gives an entry's object as the API server would store it.
    fn admit<'a>(&self, entry: &'a Entry) -> Cow<'a, Object> {
        match (&entry.object, &self.default) {
            (Object::Ingress(ingress), Some(default)) if entry.names_no_class => {
                Cow::Owned(Object::Ingress(Ingress { class: Some(Arc::clone(default)), ..ingress.clone() }))
            }
            (object, _) => Cow::Borrowed(object),
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
