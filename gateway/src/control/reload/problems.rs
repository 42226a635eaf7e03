//! All present Problems, and the files and lines of their objects.
//!
//! Not here: finding them (`routing`, `source`, and `reload` for certificates and DNS names).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};

use routing::Problem;
use routing::object::{Kind, ObjectRef};
use serde::{Deserialize, Serialize};

use crate::control::source::location::{LocatedProblem, Location, SourceMap};

/// All present Problems, in order. Workers never lock it.
#[derive(Debug, Default)]
pub struct Problems(Mutex<State>);

/// Problems that were added and removed.
pub(super) struct ProblemChanges {
    pub(super) added: BTreeSet<Problem>,
    pub(super) removed: BTreeSet<Problem>,
}

#[derive(Debug, Default)]
struct State {
    all: BTreeSet<Problem>,
    /// Added and removed since the last [`Problems::take_changes`]. No Problem is in both.
    added: BTreeSet<Problem>,
    removed: BTreeSet<Problem>,
    /// Locations of the Problems that the source found.
    from_source: BTreeMap<Problem, Option<Location>>,
    /// Locations of objects, for all other Problems.
    source_maps: BTreeMap<ObjectRef, SourceMap>,
}

impl Problems {
    /// Returns all Problems, sorted by object and field.
    pub fn all(&self) -> Vec<Problem> {
        self.lock().all.iter().cloned().collect()
    }

    /// Returns the number of Problems.
    pub fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// Returns all Problems with their locations, in the same order.
    pub fn views(&self) -> Vec<ProblemView> {
        self.views_where(|_| true)
    }

    /// Returns the Problems that match `predicate`, with their locations.
    pub fn views_where(&self, predicate: impl Fn(&Problem) -> bool) -> Vec<ProblemView> {
        let state = self.lock();
        let matching = state.all.iter().filter(|problem| predicate(problem));
        matching.map(|problem| ProblemView::new(problem, state.location(problem))).collect()
    }

    /// Updates the locations of objects. `None` removes one.
    pub(super) fn update_source_maps(&self, source_maps: Vec<(ObjectRef, Option<SourceMap>)>) {
        let mut state = self.lock();
        for (object, map) in source_maps {
            match map {
                Some(map) => state.source_maps.insert(object, map),
                None => state.source_maps.remove(&object),
            };
        }
    }

    /// Replaces all Problems that the source found.
    pub(super) fn replace_source_problems(&self, problems: Vec<LocatedProblem>) {
        let mut state = self.lock();
        for old in std::mem::take(&mut state.from_source).into_keys() {
            state.remove(&old);
        }
        for LocatedProblem { problem, location } in problems {
            state.insert(problem.clone());
            // Of two equal Problems, the first file counts.
            state.from_source.entry(problem).or_insert(location);
        }
    }

    /// Removes and adds Problems that others than the source found.
    pub(super) fn change<'a>(
        &self,
        removed: impl IntoIterator<Item = &'a Problem>,
        added: impl IntoIterator<Item = Problem>,
    ) {
        let mut state = self.lock();
        for old in removed {
            state.remove(old);
        }
        for new in added {
            state.insert(new);
        }
    }

    /// Removes all Problems and locations.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        for old in state.all.clone() {
            state.remove(&old);
        }
        state.from_source.clear();
        state.source_maps.clear();
    }

    /// Returns the changes since the last call. The cost depends on the number of changes only.
    pub(super) fn take_changes(&self) -> ProblemChanges {
        let mut state = self.lock();
        let (added, removed) = (std::mem::take(&mut state.added), std::mem::take(&mut state.removed));
        ProblemChanges { added, removed }
    }

    /// Returns a Problem with its location.
    pub(super) fn view(&self, problem: &Problem) -> ProblemView {
        ProblemView::new(problem, self.lock().location(problem))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the maps in an inconsistent state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, problem: Problem) {
        if self.all.insert(problem.clone()) && !self.removed.remove(&problem) {
            self.added.insert(problem);
        }
    }

    fn remove(&mut self, problem: &Problem) {
        if self.all.remove(problem) && !self.added.remove(problem) {
            self.removed.insert(problem.clone());
        }
    }

    fn location(&self, problem: &Problem) -> Option<Location> {
        let by_object = || self.source_maps.get(&problem.object).map(|map| map.locate(&problem.field));
        self.from_source.get(problem).cloned().flatten().or_else(by_object)
    }
}

/// A Problem in JSON. Prints as one line that begins with file and line, as compilers do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProblemView {
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object; may be empty.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Path of the field in the object; may be empty.
    pub field: String,
    /// Machine-readable reason, in CamelCase.
    pub reason: String,
    /// `error`, or `note` for an object that is correct but names something that does not exist at present.
    pub severity: String,
    /// Description for people.
    pub message: String,
    /// File, relative to the folder. `None` if the object is not from a file.
    pub file: Option<String>,
    /// Line in the file, from 1: of the field, or of the deepest part of its path that exists.
    pub line: Option<u32>,
}

impl ProblemView {
    fn new(problem: &Problem, location: Option<Location>) -> Self {
        Self {
            kind: problem.object.kind.to_string(),
            namespace: problem.object.name.namespace.to_string(),
            name: problem.object.name.name.to_string(),
            field: problem.field.clone(),
            reason: problem.reason.to_string(),
            severity: problem.reason.severity().to_string(),
            message: problem.message.clone(),
            line: location.as_ref().and_then(|location| location.line).map(std::num::NonZero::get),
            file: location.map(|location| location.file.to_string()),
        }
    }
}

impl Display for ProblemView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, field, reason, message, file, line, severity: _ } = self;
        match (file, line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, _) => {}
        }
        // The name of a File object is already printed.
        if *kind != Kind::File.to_string() {
            let slash = if namespace.is_empty() { "" } else { "/" };
            let space = if field.is_empty() { "" } else { " " };
            write!(f, "{kind} {namespace}{slash}{name}{space}{field}: ")?;
        }
        write!(f, "{reason}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use routing::Reason;
    use routing::object::Name;

    use super::*;

    fn problem(name: &str) -> Problem {
        let object = ObjectRef { kind: Kind::Ingress, name: Name::new("shop", name) };
        Problem { object, field: String::new(), reason: Reason::Conflict, message: String::new() }
    }

    #[test]
    fn changes_are_reported_once_and_cancel_out() {
        let problems = Problems::default();
        problems.change(None, [problem("a"), problem("b")]);
        let changes = problems.take_changes();
        assert_eq!((changes.added.len(), changes.removed.len()), (2, 0));
        problems.change([&problem("a"), &problem("b")], [problem("b"), problem("c")]);
        problems.change([&problem("c")], None);
        let changes = problems.take_changes();
        assert_eq!((changes.added.len(), changes.removed), (0, BTreeSet::from([problem("a")])));
        assert_eq!(problems.count(), 1);
        assert_eq!(problems.take_changes().removed.len(), 0);
    }
}
