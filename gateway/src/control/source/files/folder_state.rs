//! The content of all files, and its differences from the last update. Pure.
//!
//! Keeps one object per name (the first file by path wins) and the last valid content of files that became invalid, and
//! applies the default class as an API server's admission does. Not here: reading files.

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

/// The IngressClass that is added if no file defines a class of ours.
const BUILTIN_CLASS: &str = "gateway";

/// The content of all files, and what the next update must contain. An update costs time in proportion to the changed
/// files, not to all of them.
#[derive(Default)]
pub(super) struct FolderState {
    files: BTreeMap<Arc<Path>, FileState>,
    folder_problems: Vec<LocatedProblem>,
    /// Where each object is defined.
    definitions: BTreeMap<ObjectRef, Definitions>,
    /// The objects with several definitions.
    duplicated: BTreeSet<ObjectRef>,
    /// The objects that may have changed, as the last update contained them; `None` if it had no such object.
    previous: BTreeMap<ObjectRef, Option<PublishedObject>>,
    /// The classes of the last update.
    classes: Option<ClassDefaults>,
    /// The classes that are ours whatever their controller is.
    own_classes: BTreeSet<String>,
    problems: ProblemState,
    /// As the last update contained them.
    promised_secrets: BTreeSet<Name>,
}

/// The Problems of the last update.
#[derive(Default)]
struct ProblemState {
    /// `None` before the first update.
    sent: Option<Vec<LocatedProblem>>,
    /// Whether they may have changed.
    may_differ: bool,
}

/// The state of one file.
#[derive(Default)]
struct FileState {
    content: ParsedFile,
    /// Whether the content is a whole file's. Otherwise it is the valid part of one.
    is_complete: bool,
    /// The errors of the present version, if it was rejected.
    failures: Vec<LocatedProblem>,
}

/// A definition of an object: the file, and the index among the file's objects. Ordered by precedence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectKey {
    path: Arc<Path>,
    index: usize,
}

/// The definitions of one object. The first one is effective. Nearly every object has one.
enum Definitions {
    One(ObjectKey),
    Many(BTreeSet<ObjectKey>),
}

/// An object as an update contains it.
struct PublishedObject {
    object: Object,
    pair: Option<PemPair>,
    source_map: Option<SourceMap>,
}

// ===== files =====

impl FolderState {
    /// Returns the state of an empty folder. Classes in `own_classes` are ours whatever their controller is.
    pub(super) fn new(own_classes: &[String]) -> Self {
        Self { own_classes: own_classes.iter().cloned().collect(), ..Self::default() }
    }

    /// Replaces the content of a file. A file that held objects and now holds something else keeps its content, because
    /// such a text is more often a mistake than a deletion.
    pub(super) fn set_content(&mut self, path: &Path, content: ParsedFile) {
        let is_no_object = |found: &LocatedProblem| found.problem.reason == Reason::NoObject;
        if content.objects.is_empty() && content.problems.iter().any(is_no_object) && self.has_objects(path) {
            return self.set_failures(path, content.problems);
        }
        self.replace(path, content);
        if let Some(file) = self.files.get_mut(path) {
            self.problems.may_differ |= !file.failures.is_empty();
            (file.is_complete, file.failures) = (true, Vec::new());
        }
    }

    /// Records why a file cannot be read. It keeps its content.
    pub(super) fn set_failures(&mut self, path: &Path, problems: Vec<LocatedProblem>) {
        self.problems.may_differ = true;
        self.files.entry(path.into()).or_default().failures = problems;
    }

    /// Records that documents of a file are invalid. The file keeps its content. If it never had complete content, the
    /// valid documents are used.
    pub(super) fn reject(&mut self, path: &Path, failure: ParseFailure) {
        self.set_failures(path, failure.problems);
        let is_complete = self.files.get(path).is_some_and(|file| file.is_complete);
        if let Some(partial) = failure.partial.filter(|_| !is_complete) {
            self.replace(path, partial);
        }
    }

    /// Removes a file.
    pub(super) fn remove(&mut self, path: &Path) {
        self.replace(path, ParsedFile::default());
        if let Some(file) = self.files.remove(path) {
            self.problems.may_differ |= !file.failures.is_empty();
        }
    }

    /// Returns true if a file has objects.
    pub(super) fn has_objects(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| !file.content.objects.is_empty())
    }

    /// Replaces the Problems of the folder as a whole.
    pub(super) fn set_folder_problems(&mut self, problems: Vec<LocatedProblem>) {
        self.problems.may_differ |= problems != self.folder_problems;
        self.folder_problems = problems;
    }

    /// Replaces the content of a file, and records every object of the old and the new content.
    fn replace(&mut self, path: &Path, content: ParsedFile) {
        let path: Arc<Path> = path.into();
        let references = |content: &ParsedFile| -> Vec<ObjectRef> {
            content.objects.iter().map(|parsed| parsed.object.reference()).collect()
        };
        let old = self.files.get(&path).map(|file| references(&file.content)).unwrap_or_default();
        let new = references(&content);
        for reference in old.iter().chain(&new) {
            self.record_previous(reference);
        }
        for (index, reference) in old.into_iter().enumerate() {
            self.remove_definition(&reference, &ObjectKey { path: Arc::clone(&path), index });
        }
        for (index, reference) in new.into_iter().enumerate() {
            self.add_definition(reference, ObjectKey { path: Arc::clone(&path), index });
        }
        let file = self.files.entry(path).or_default();
        self.problems.may_differ |= !(file.content.problems.is_empty() && content.problems.is_empty());
        file.content = content;
    }
}

// ===== definitions =====

impl FolderState {
    /// Keeps the published version of an object, before its definitions change.
    fn record_previous(&mut self, reference: &ObjectRef) {
        if !self.previous.contains_key(reference) {
            self.previous.insert(reference.clone(), self.current(reference));
        }
    }

    fn add_definition(&mut self, reference: ObjectRef, key: ObjectKey) {
        match self.definitions.entry(reference) {
            Entry::Vacant(entry) => {
                entry.insert(Definitions::One(key));
            }
            Entry::Occupied(mut entry) => {
                self.problems.may_differ = true;
                self.duplicated.insert(entry.key().clone());
                match entry.get_mut() {
                    Definitions::Many(all) => {
                        all.insert(key);
                    }
                    Definitions::One(first) => {
                        let all = BTreeSet::from([first.clone(), key]);
                        entry.insert(Definitions::Many(all));
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

    fn parsed(&self, key: &ObjectKey) -> Option<&ParsedObject> {
        self.files.get(&key.path)?.content.objects.get(key.index)
    }

    /// Returns the effective definition.
    fn effective(&self, definitions: &Definitions) -> Option<&ParsedObject> {
        self.parsed(match definitions {
            Definitions::One(key) => key,
            Definitions::Many(all) => all.first()?,
        })
    }

    /// Returns the effective definitions of one kind, by name.
    fn effective_of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectRef, &ParsedObject)> {
        let first = ObjectRef { kind, name: Name::default() };
        let of_kind =
            self.definitions.range(first..).take_while(move |(reference, _)| reference.kind == kind);
        of_kind.filter_map(|(reference, definitions)| Some((reference, self.effective(definitions)?)))
    }

    /// Returns an object by the present files and the classes of the last update.
    fn current(&self, reference: &ObjectRef) -> Option<PublishedObject> {
        let classes = self.classes.as_ref()?;
        let definitions = self.definitions.get(reference);
        let Some(parsed) = definitions.and_then(|definitions| self.effective(definitions)) else {
            let is_builtin = classes.has_builtin_class && *reference == builtin_class().reference();
            return is_builtin.then(|| PublishedObject {
                object: builtin_class(),
                pair: None,
                source_map: None,
            });
        };
        Some(PublishedObject {
            object: classes.with_default_class(parsed),
            pair: parsed.pair.clone(),
            source_map: Some(parsed.source_map.clone()),
        })
    }
}

// ===== updates =====

impl FolderState {
    /// Returns the changes since the last update. Returns `None` if there are none; the first call always returns an
    /// update.
    pub(super) fn take_update(&mut self) -> Option<Update> {
        self.update_classes();
        let mut update = Update::default();
        let mut applied = Delta::new();
        for (reference, previous) in std::mem::take(&mut self.previous) {
            let current = self.current(&reference);
            let transition = Transition { reference, previous, current };
            applied.extend(transition.add_to(&mut update));
        }
        // Deletions come first.
        update.objects.append(&mut applied);
        let is_first = self.problems.sent.is_none();
        if std::mem::take(&mut self.problems.may_differ) || is_first {
            let problems = self.all_problems();
            if self.problems.sent.as_ref() != Some(&problems) {
                self.problems.sent = Some(problems.clone());
                update.problems = Some(problems);
            }
        }
        let promised = self.files.values().flat_map(|file| &file.content.promised_secrets);
        let promised: BTreeSet<Name> = promised.cloned().collect();
        if promised != self.promised_secrets {
            self.promised_secrets.clone_from(&promised);
            update.promised_secrets = Some(promised);
        }
        let is_empty = update.is_location_only() && update.source_maps.is_empty();
        (is_first || !is_empty).then_some(update)
    }

    /// Recomputes the class defaults, and records all objects that depend on them.
    fn update_classes(&mut self) {
        let classes = self.effective_of_kind(Kind::IngressClass).map(|(_, parsed)| parsed);
        let classes = ClassDefaults::from_objects(classes, &self.own_classes);
        if self.classes.as_ref() == Some(&classes) {
            return;
        }
        let mut affected = vec![builtin_class().reference()];
        if self.classes.as_ref().is_none_or(|previous| previous.default != classes.default) {
            let ingresses = self.effective_of_kind(Kind::Ingress);
            let without_class = ingresses.filter(|(_, parsed)| parsed.names_no_class);
            affected.extend(without_class.map(|(reference, _)| reference.clone()));
        }
        for reference in &affected {
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
            let mut definitions = all.iter().filter_map(|key| self.parsed(key));
            let Some(winner) = definitions.next() else { continue };
            problems
                .extend(definitions.map(|loser| duplicate(reference, &winner.source_map, &loser.source_map)));
        }
        problems.sort();
        problems
    }
}

/// Returns the Problem of a definition that has no effect, at its location.
fn duplicate(object: &ObjectRef, winner: &SourceMap, loser: &SourceMap) -> LocatedProblem {
    let location = loser.start().clone();
    let message =
        format!("defined in {} and again in {location}; the first definition is used", winner.start());
    let (field, reason) = (String::new(), Reason::DuplicateObject);
    let problem = Problem { object: object.clone(), field, reason, message };
    LocatedProblem { problem, location: Some(location) }
}

/// The versions of an object before and after a change; `None` where it does not exist.
struct Transition {
    reference: ObjectRef,
    previous: Option<PublishedObject>,
    current: Option<PublishedObject>,
}

impl Transition {
    /// Adds a deletion, a changed key pair and a changed location to the update. Returns the object if it changed.
    fn add_to(self, update: &mut Update) -> Option<Change> {
        let Self { reference, previous, current } = self;
        let Some(current) = current else {
            previous?;
            if reference.kind == Kind::Secret {
                update.secrets.push(SecretChange { name: reference.name.clone(), pair: None });
            }
            update.objects.push(Change::Delete(reference.clone()));
            update.source_maps.push((reference, None));
            return None;
        };
        let is_moved = previous.as_ref().is_none_or(|previous| previous.source_map != current.source_map);
        let has_new_object = previous.as_ref().is_none_or(|previous| previous.object != current.object);
        let has_new_pair = previous.is_none_or(|previous| previous.pair != current.pair);
        if is_moved {
            update.source_maps.push((reference.clone(), current.source_map));
        }
        if reference.kind == Kind::Secret && has_new_pair {
            update.secrets.push(SecretChange { name: reference.name, pair: current.pair });
        }
        has_new_object.then_some(Change::Apply(current.object))
    }
}

// ===== classes =====

/// The IngressClasses as far as admission depends on them.
#[derive(PartialEq, Eq)]
struct ClassDefaults {
    /// The class of Ingresses without one.
    default: Option<Arc<str>>,
    /// Whether [`BUILTIN_CLASS`] is added because no file defines a class of ours.
    has_builtin_class: bool,
}

impl ClassDefaults {
    fn from_objects<'a>(
        objects: impl Iterator<Item = &'a ParsedObject>,
        own_classes: &BTreeSet<String>,
    ) -> Self {
        let mut classes = Vec::new();
        for parsed in objects {
            if let Object::IngressClass(class) = &parsed.object {
                classes.push((class, parsed.created));
            }
        }
        let is_ours = |class: &IngressClass| {
            let name = &*class.name.name;
            &*class.controller == api::CONTROLLER || name == BUILTIN_CLASS || own_classes.contains(name)
        };
        if !classes.iter().any(|(class, _)| is_ours(class)) {
            // Admission uses the newest of several default classes. The built-in one is newer than all others.
            return Self { default: Some(BUILTIN_CLASS.into()), has_builtin_class: true };
        }
        // The newest, then the first by name. A class without a creation time counts as the newest.
        let default = classes
            .into_iter()
            .filter(|(class, _)| class.is_default)
            .max_by_key(|(class, created)| (created.unwrap_or(i64::MAX), Reverse(class.name.clone())));
        Self { default: default.map(|(class, _)| Arc::clone(&class.name.name)), has_builtin_class: false }
    }

    /// Returns an object as the API server would store it.
    fn with_default_class(&self, parsed: &ParsedObject) -> Object {
        if let (Object::Ingress(ingress), Some(default)) = (&parsed.object, &self.default)
            && parsed.names_no_class
        {
            return Object::Ingress(Ingress { class: Some(Arc::clone(default)), ..ingress.clone() });
        }
        parsed.object.clone()
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
