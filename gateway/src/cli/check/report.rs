//! The report of `gateway check`, as values and as text for people. Not here: SARIF (`sarif`).

use std::fmt::{self, Display, Formatter};

use routing::Severity;
use serde::Serialize;

use super::against::RouteChange;
use crate::control::reload::ProblemView;

/// The report of `gateway check`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Problems, sorted by object and field.
    pub problems: Vec<ProblemView>,
    /// Requests that the other folder routes differently. `None` without another folder.
    pub changes: Option<Vec<RouteChange>>,
}

impl CheckReport {
    /// Returns the number of Problems that are not notes.
    pub fn errors(&self) -> usize {
        let note = Severity::Note.to_string();
        self.problems.iter().filter(|problem| problem.severity != note).count()
    }
}

impl Display for CheckReport {
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
            0 => writeln!(f, "no request is routed differently"),
            1 => writeln!(f, "requests of 1 rule are routed differently"),
            count => writeln!(f, "requests of {count} rules are routed differently"),
        }
    }
}
