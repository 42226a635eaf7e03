//! What the files say together, and how that differs from what was sent last. Pure.
//!
//! Purpose: one object per name (the first file by path wins), the last good content of files that turned
//! bad, and what an API server's admission would do: the default class. Not here: reading files.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use routing::object::{Change, Delta, Ingress, IngressClass, Kind, Name, Object, ObjectRef};
use routing::problem::{Problem, Reason};

use super::document::{ParseFailure, ParsedFile, ParsedObject};
use crate::control::source::location::{LocatedProblem, SourceMap};
use crate::control::source::{PemPair, SecretChange, Update};

/// The class that exists if the folder holds none of ours.
const BUILTIN_CLASS: &str = "gateway";

/// All files' contents, and what has to be sent of them. Costs what the changed files hold, not what all of them do.
#[derive(Default)]
pub(super) struct FolderState {
    files: BTreeMap<Arc<Path>, FileState>,
    folder_problems: Vec<LocatedProblem>,
    /// The entries of every name.
    definitions: BTreeMap<ObjectRef, Definitions>,
    /// The names that stand in several places.
    duplicated: BTreeSet<ObjectRef>,
    /// What the last update said about the names that may be different now; nothing: that there is no such object.
    previous: BTreeMap<ObjectRef, Option<PublishedObject>>,
    /// The classes at the last update.
    classes: Option<ClassDefaults>,
    /// The classes that are ours whatever their controller is.
    own_classes: BTreeSet<String>,
    problems: ProblemState,
}

/// The Problems at the last update.
#[derive(Default)]
struct ProblemState {
    /// Absent before the first update.
    sent: Option<Vec<LocatedProblem>>,
    /// Whether they may be others now.
    may_differ: bool,
}

/// What is held of one file.
#[derive(Default)]
struct FileState {
    content: ParsedFile,
    /// Whether the content is that of a file that was read as a whole.
    is_complete: bool,
    /// Why the file's present version was not taken.
    failures: Vec<LocatedProblem>,
}

/// Where an entry is: its file, and its index among the file's. The order is that of precedence.
type ObjectKey = (Arc<Path>, usize);

/// The entries of one name, the one that counts first. Nearly every name has one.
enum Definitions {
    One(ObjectKey),
    Many(BTreeSet<ObjectKey>),
}

struct PublishedObject {
    object: Object,
    pair: Option<PemPair>,
    source_map: Option<SourceMap>,
}

impl FolderState {
    /// Holds no file yet; these classes are ours whatever their controller is.
    pub(super) fn new(own_classes: &[String]) -> Self {
        Self { own_classes: own_classes.iter().cloned().collect(), ..Self::default() }
    }

    /// Takes what a file holds now.
    pub(super) fn set_content(&mut self, path: &Path, content: ParsedFile) {
        self.replace(path, content);
        if let Some(file) = self.files.get_mut(path) {
            self.problems.may_differ |= !file.failures.is_empty();
            (file.is_complete, file.failures) = (true, Vec::new());
        }
    }

    /// Takes note that a file cannot be read; it keeps its content.
    pub(super) fn set_failures(&mut self, path: &Path, problems: Vec<LocatedProblem>) {
        self.problems.may_differ = true;
        self.files.entry(path.into()).or_default().failures = problems;
    }

    /// Takes note that parts of a file cannot be read. It keeps its content; if it had none, then what could
    /// be read is better than nothing.
    pub(super) fn reject(&mut self, path: &Path, failure: ParseFailure) {
        self.set_failures(path, failure.problems);
        let is_good = self.files.get(path).is_some_and(|file| file.is_complete);
        if let Some(partial) = failure.partial.filter(|_| !is_good) {
            self.replace(path, partial);
        }
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, path: &Path) {
        self.replace(path, ParsedFile::default());
        if let Some(file) = self.files.remove(path) {
            self.problems.may_differ |= !file.failures.is_empty();
        }
    }

    /// Says whether a file has objects.
    pub(super) fn has_objects(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| !file.content.objects.is_empty())
    }

    /// Replaces the Problems of the folder as a whole.
    pub(super) fn set_folder_problems(&mut self, problems: Vec<LocatedProblem>) {
        self.problems.may_differ |= problems != self.folder_problems;
        self.folder_problems = problems;
    }

    /// Says what changed since the last update, if anything did. The first time there is always an update.
    pub(super) fn take_update(&mut self) -> Option<Update> {
        self.update_classes();
        let mut update = Update::default();
        let mut applied = Delta::new();
        for (reference, before) in std::mem::take(&mut self.previous) {
            let now = self.current(&reference);
            push_changes(&mut update, &mut applied, (reference, before, now));
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
        let empty = update.is_location_only() && update.source_maps.is_empty();
        (first || !empty).then_some(update)
    }

    /// Puts other content in a file's place, and takes note of every name in the old and in the new one.
    fn replace(&mut self, path: &Path, content: ParsedFile) {
        let path: Arc<Path> = path.into();
        let names = |content: &ParsedFile| -> Vec<ObjectRef> {
            content.objects.iter().map(|entry| entry.object.reference()).collect()
        };
        let old = self.files.get(&path).map(|file| names(&file.content)).unwrap_or_default();
        let new = names(&content);
        for reference in old.iter().chain(&new) {
            self.record_previous(reference);
        }
        for (index, reference) in old.into_iter().enumerate() {
            self.remove_definition(&reference, &(Arc::clone(&path), index));
        }
        for (index, reference) in new.into_iter().enumerate() {
            self.add_definition(reference, (Arc::clone(&path), index));
        }
        let file = self.files.entry(path).or_default();
        self.problems.may_differ |= !(file.content.problems.is_empty() && content.problems.is_empty());
        file.content = content;
    }

    /// Keeps what the last update said about a name, before anything about it changes.
    fn record_previous(&mut self, reference: &ObjectRef) {
        if !self.previous.contains_key(reference) {
            self.previous.insert(reference.clone(), self.current(reference));
        }
    }

    fn add_definition(&mut self, reference: ObjectRef, key: ObjectKey) {
        match self.definitions.entry(reference) {
            Entry::Vacant(slot) => {
                slot.insert(Definitions::One(key));
            }
            Entry::Occupied(mut slot) => {
                self.problems.may_differ = true;
                self.duplicated.insert(slot.key().clone());
                match slot.get_mut() {
                    Definitions::Many(all) => {
                        all.insert(key);
                    }
                    Definitions::One(first) => {
                        let all = BTreeSet::from([first.clone(), key]);
                        slot.insert(Definitions::Many(all));
                    }
                }
            }
        }
    }

    fn remove_definition(&mut self, reference: &ObjectRef, key: &ObjectKey) {
        let Some(definitions) = self.definitions.get_mut(reference) else { return };
        let Definitions::Many(all) = definitions else {
            self.definitions.remove(reference);
            return;
        };
        self.problems.may_differ = true;
        all.remove(key);
        if all.len() < 2
            && let Some(last) = all.pop_first()
        {
            *definitions = Definitions::One(last);
            self.duplicated.remove(reference);
        }
    }

    fn object(&self, (path, index): &ObjectKey) -> Option<&ParsedObject> {
        self.files.get(path)?.content.objects.get(*index)
    }

    /// The entry of a name that counts.
    fn effective(&self, definitions: &Definitions) -> Option<&ParsedObject> {
        self.object(match definitions {
            Definitions::One(key) => key,
            Definitions::Many(all) => all.first()?,
        })
    }

    /// What there is to say about a name by the files as they are and the classes of the last update.
    fn current(&self, reference: &ObjectRef) -> Option<PublishedObject> {
        let classes = self.classes.as_ref()?;
        let Some(entry) = self.definitions.get(reference).and_then(|definitions| self.effective(definitions))
        else {
            let is_ours = classes.has_builtin_class && *reference == builtin_class().reference();
            return is_ours.then(|| PublishedObject {
                object: builtin_class(),
                pair: None,
                source_map: None,
            });
        };
        let pair = entry.pair.as_ref().map(copy);
        Some(PublishedObject {
            object: classes.with_default_class(entry),
            pair,
            source_map: Some(entry.source_map.clone()),
        })
    }

    /// The entries of one kind that count, by name.
    fn effective_of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectRef, &ParsedObject)> {
        let first = ObjectRef { kind, name: Name::default() };
        let effective_of_kind =
            self.definitions.range(first..).take_while(move |(reference, _)| reference.kind == kind);
        effective_of_kind
            .filter_map(|(reference, definitions)| Some((reference, self.effective(definitions)?)))
    }

    /// Looks at the classes again, and takes note of all that means something else because of them.
    fn update_classes(&mut self) {
        let classes = ClassDefaults::from_objects(
            self.effective_of_kind(Kind::IngressClass).map(|(_, entry)| entry),
            &self.own_classes,
        );
        if self.classes.as_ref() == Some(&classes) {
            return;
        }
        let is_other = self.classes.as_ref().is_none_or(|before| before.default != classes.default);
        let ingresses =
            self.effective_of_kind(Kind::Ingress).filter(|(_, entry)| is_other && entry.names_no_class);
        let touched: Vec<_> = ingresses.map(|(reference, _)| reference.clone()).collect();
        for reference in touched.iter().chain([&builtin_class().reference()]) {
            self.record_previous(reference);
        }
        self.classes = Some(classes);
    }

    fn all_problems(&self) -> Vec<LocatedProblem> {
        let mut problems = self.folder_problems.clone();
        for file in self.files.values() {
            problems.extend_from_slice(&file.failures);
            problems.extend_from_slice(&file.content.problems);
        }
        for reference in &self.duplicated {
            let Some(Definitions::Many(all)) = self.definitions.get(reference) else { continue };
            let mut entries = all.iter().filter_map(|key| self.object(key));
            let Some(winner) = entries.next() else { continue };
            problems.extend(entries.map(|loser| duplicate(reference, &winner.source_map, &loser.source_map)));
        }
        problems.sort();
        problems
    }
}

/// Stands where the one that does not count stands.
fn duplicate(object: &ObjectRef, winner: &SourceMap, loser: &SourceMap) -> LocatedProblem {
    let location = loser.start().clone();
    let message = format!("stands in {} and again in {location}; the first one counts", winner.start());
    let (field, reason) = (String::new(), Reason::DuplicateObject);
    LocatedProblem {
        problem: Problem { object: object.clone(), field, reason, message },
        location: Some(location),
    }
}

/// Sends an object, its bytes, or where it stands, if they are not what was sent last.
fn push_changes(
    update: &mut Update,
    applied: &mut Delta,
    (reference, before, now): (ObjectRef, Option<PublishedObject>, Option<PublishedObject>),
) {
    let Some(now) = now else {
        if before.is_some() {
            if reference.kind == Kind::Secret {
                update.secrets.push(SecretChange { name: reference.name.clone(), pair: None });
            }
            update.objects.push(Change::Delete(reference.clone()));
            update.source_maps.push((reference, None));
        }
        return;
    };
    let before = before.as_ref();
    let same_object = before.is_some_and(|before| before.object == now.object);
    let same_pair = before.is_some_and(|before| is_same_pair(before.pair.as_ref(), now.pair.as_ref()));
    if before.is_none_or(|before| before.source_map != now.source_map) {
        update.source_maps.push((reference.clone(), now.source_map));
    }
    if reference.kind == Kind::Secret && !same_pair {
        update.secrets.push(SecretChange { name: reference.name, pair: now.pair });
    }
    if !same_object {
        applied.push(Change::Apply(now.object));
    }
}

fn is_same_pair(one: Option<&PemPair>, other: Option<&PemPair>) -> bool {
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
struct ClassDefaults {
    /// The class of Ingresses that name none.
    default: Option<Arc<str>>,
    /// Whether our class exists although no file holds it.
    has_builtin_class: bool,
}

impl ClassDefaults {
    fn from_objects<'a>(
        entries: impl Iterator<Item = &'a ParsedObject>,
        own_classes: &BTreeSet<String>,
    ) -> Self {
        let classes = entries.filter_map(|entry| match &entry.object {
            Object::IngressClass(class) => Some((class, entry.created)),
            _ => None,
        });
        let classes: Vec<_> = classes.collect();
        let is_ours = |class: &IngressClass| {
            let name = &*class.name.name;
            &*class.controller == api::CONTROLLER || name == BUILTIN_CLASS || own_classes.contains(name)
        };
        if !classes.iter().any(|(class, _)| is_ours(class)) {
            // Admission takes the youngest of several default classes, and ours is made just now.
            return Self { default: Some(BUILTIN_CLASS.into()), has_builtin_class: true };
        }
        // The youngest, then the first by name; a class without a time is younger than any with one.
        let default = classes
            .into_iter()
            .filter(|(class, _)| class.is_default)
            .max_by_key(|(class, created)| (created.unwrap_or(i64::MAX), Reverse(class.name.clone())));
        Self { default: default.map(|(class, _)| Arc::clone(&class.name.name)), has_builtin_class: false }
    }

    /// Gives an entry's object as the API server would store it.
    fn with_default_class(&self, entry: &ParsedObject) -> Object {
        match (&entry.object, &self.default) {
            (Object::Ingress(ingress), Some(default)) if entry.names_no_class => {
                Object::Ingress(Ingress { class: Some(Arc::clone(default)), ..ingress.clone() })
            }
            (object, _) => object.clone(),
        }
    }
}

fn builtin_class() -> Object {
    Object::IngressClass(IngressClass {
        name: Name::new("", BUILTIN_CLASS),
        controller: api::CONTROLLER.into(),
        is_default: true,
        ..IngressClass::default()
    })
}

#[cfg(test)]
mod tests;
