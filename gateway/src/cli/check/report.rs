//! What `check` found, as plain values, and as text for people.
//!
//! Not here: SARIF.

use std::fmt::{self, Display, Formatter};

use routing::Severity;
use serde::Serialize;

use super::against::Change;
use crate::control::reload::ProblemView;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Sorted by object and field.
    pub problems: Vec<ProblemView>,
    /// The requests that the other folder answers otherwise; nothing if none was given.
    pub changes: Option<Vec<Change>>,
}

impl Report {
    /// How many Problems are more than notes.
    pub fn errors(&self) -> usize {
        let note = Severity::Note.to_string();
        self.problems.iter().filter(|problem| problem.severity != note).count()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let notes = self.problems.len() - self.errors();
        match self.errors() {
            0 => write!(f, "no problems")?,
            1 => write!(f, "1 problem")?,
            count => write!(f, "{count} problems")?,
        }
        match notes {
            0 => writeln!(f)?,
            1 => writeln!(f, " and 1 note")?,
            count => writeln!(f, " and {count} notes")?,
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
