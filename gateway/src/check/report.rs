//! What `check` found, as plain values, and as text for people.
//!
//! Not here: SARIF.

use std::fmt::{self, Display, Formatter};

use routing::object::Kind;
use routing::{Problem, Reason};
use serde::Serialize;

use super::against::Change;
use crate::reload::ProblemView;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Sorted by object and field.
    pub problems: Vec<Finding>,
    /// The requests that the other folder answers otherwise; nothing if none was given.
    pub changes: Option<Vec<Change>>,
}

/// A Problem and where it stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The Problem.
    #[serde(flatten)]
    pub problem: ProblemView,
    /// The file, relative to the folder, as far as the source tells.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u64>,
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        let (file, line) = place(&problem);
        Self { problem: problem.into(), file, line }
    }
}

/// The source's own Problems name file and line: as the object, or at the start of the message.
fn place(problem: &Problem) -> (Option<String>, Option<u64>) {
    if problem.object.kind == Kind::File {
        let line =
            problem.message.strip_prefix("line ").and_then(|rest| rest.split_once(':')?.0.parse().ok());
        return (Some(problem.object.name.name.to_string()), line);
    }
    let text = problem.message.strip_prefix("stands in ").unwrap_or(&problem.message);
    let place = [".yaml:", ".yml:", ".json:"].iter().filter_map(|end| {
        let at = text.find(end)? + end.len();
        let (file, rest) = text.split_at_checked(at)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let line = rest.get(..digits)?.parse().ok()?;
        Some((file.trim_end_matches(':').to_owned(), line))
    });
    // Of two places the one named first, which is the shorter text.
    let place = place.min_by_key(|(file, _)| file.len());
    place.filter(|_| is_of_source(problem)).map_or((None, None), |(file, line)| (Some(file), Some(line)))
}

/// Other Problems' messages may quote anything.
fn is_of_source(problem: &Problem) -> bool {
    matches!(problem.reason, Reason::DuplicateObject | Reason::InvalidValue | Reason::UnknownField)
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ProblemView { kind, namespace, name, field, reason, message } = &self.problem;
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            (Some(file), None) => format!("{file}: "),
            _ => String::new(),
        };
        // For a file, its name has just been said.
        let object = match (kind.as_str(), namespace.as_str()) {
            ("File", _) => String::new(),
            (_, "") => format!("{kind} {name}"),
            _ => format!("{kind} {namespace}/{name}"),
        };
        let words = [object.as_str(), field.as_str()];
        let subject = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let subject = if subject.is_empty() { subject } else { subject + ": " };
        // Some messages begin with the place that has just been said.
        let line = self.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let message = message.strip_prefix(&place).or(message.strip_prefix(&line)).unwrap_or(message);
        write!(f, "{place}{subject}{reason}: {message}")
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match self.problems.len() {
            0 => writeln!(f, "no problems")?,
            1 => writeln!(f, "1 problem")?,
            count => writeln!(f, "{count} problems")?,
        }
        let Some(changes) = &self.changes else { return Ok(()) };
        for change in changes {
            write!(f, "{change}")?;
        }
        match changes.len() {
            0 => writeln!(f, "no request is answered otherwise"),
            1 => writeln!(f, "1 rule's requests are answered otherwise"),
            count => writeln!(f, "{count} rules' requests are answered otherwise"),
        }
    }
}
