//! All Problems of this moment, and where they stand.
//!
//! Not here: how they come about (`routing`, `source`, and certificates in `reload`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};

use routing::Problem;
use routing::object::{Kind, ObjectRef};
use serde::{Deserialize, Serialize};

use crate::control::source::location::{LocatedProblem, Location, SourceMap};

/// All Problems of this moment, in order. Only control work locks it.
#[derive(Debug, Default)]
pub struct Problems(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    all: BTreeSet<Problem>,
    /// Those that came and went since that was asked last. None is in both.
    came: BTreeSet<Problem>,
    went: BTreeSet<Problem>,
    /// Where those of the source stand.
    of_source: BTreeMap<Problem, Option<Location>>,
    /// Where objects stand, for all others.
    places: BTreeMap<ObjectRef, SourceMap>,
}

impl Problems {
    /// A copy of all Problems, sorted by object and field.
    pub fn all(&self) -> Vec<Problem> {
        self.lock().all.iter().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// All Problems with where they stand, in the same order.
    pub fn views(&self) -> Vec<ProblemView> {
        self.views_of(|_| true)
    }

    /// The same for some of them only.
    pub fn views_of(&self, is_wanted: impl Fn(&Problem) -> bool) -> Vec<ProblemView> {
        let known = self.lock();
        let wanted = known.all.iter().filter(|problem| is_wanted(problem));
        wanted.map(|problem| ProblemView::new(problem, known.location(problem))).collect()
    }

    /// Takes note of where objects stand now.
    pub(super) fn set_places(&self, source_maps: Vec<(ObjectRef, Option<SourceMap>)>) {
        let mut known = self.lock();
        for (object, place) in source_maps {
            match place {
                Some(place) => known.places.insert(object, place),
                None => known.places.remove(&object),
            };
        }
    }

    /// Replaces all Problems of the source.
    pub(super) fn set_source(&self, found: Vec<LocatedProblem>) {
        let mut known = self.lock();
        for old in std::mem::take(&mut known.of_source).into_keys() {
            known.remove(&old);
        }
        for LocatedProblem { problem, location } in found {
            known.insert(problem.clone());
            // Of two equal Problems the first by file is told.
            known.of_source.entry(problem).or_insert(location);
        }
    }

    /// Removes and adds Problems of others.
    pub(super) fn change<'a>(
        &self,
        removed: impl IntoIterator<Item = &'a Problem>,
        added: impl IntoIterator<Item = Problem>,
    ) {
        let mut known = self.lock();
        for old in removed {
            known.remove(old);
        }
        for new in added {
            known.insert(new);
        }
    }

    /// Removes all of them, and where things stand.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        for old in known.all.clone() {
            known.remove(&old);
        }
        known.of_source.clear();
        known.places.clear();
    }

    /// What came, with where it stands, and what went since this was asked last. Costs what changed.
    pub(super) fn take_changes(&self) -> (Vec<ProblemView>, BTreeSet<Problem>) {
        let mut known = self.lock();
        let (came, went) = (std::mem::take(&mut known.came), std::mem::take(&mut known.went));
        (came.iter().map(|problem| ProblemView::new(problem, known.location(problem))).collect(), went)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Maps and sets are whole after any panic: each of their operations is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn insert(&mut self, problem: Problem) {
        if self.all.insert(problem.clone()) && !self.went.remove(&problem) {
            self.came.insert(problem);
        }
    }

    fn remove(&mut self, problem: &Problem) {
        if self.all.remove(problem) && !self.came.remove(problem) {
            self.went.insert(problem.clone());
        }
    }

    fn location(&self, problem: &Problem) -> Option<Location> {
        let by_object = || self.places.get(&problem.object).map(|place| place.locate(&problem.field));
        self.of_source.get(problem).cloned().flatten().or_else(by_object)
    }
}

/// A Problem as JSON shows it. Prints as one line for people, with its place first, as compilers do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProblemView {
    /// The object's kind.
    pub kind: String,
    /// The object's namespace; may be empty.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// Where in the object; may be empty.
    pub field: String,
    /// The word for machines.
    pub reason: String,
    /// `error`, or `note` for what is well written and not there at the moment.
    pub severity: String,
    /// The sentence for people.
    pub message: String,
    /// The file, relative to the folder; nothing if the object comes from no file.
    pub file: Option<String>,
    /// The line in it, from 1: that of the field, or of the deepest part of its path that is there.
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
        // A file's name has just been said.
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
    fn changes_are_told_once_and_what_came_back_is_none() {
        let problems = Problems::default();
        problems.change(None, [problem("a"), problem("b")]);
        let (came, went) = problems.take_changes();
        assert_eq!((came.len(), went.len()), (2, 0));
        problems.change([&problem("a"), &problem("b")], [problem("b"), problem("c")]);
        problems.change([&problem("c")], None);
        let (came, went) = problems.take_changes();
        assert_eq!((came.len(), went), (0, BTreeSet::from([problem("a")])));
        assert_eq!(problems.count(), 1);
        assert_eq!(problems.take_changes().1.len(), 0);
    }
}
