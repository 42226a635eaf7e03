//! What `check` found, as plain values, and as text for people.
//!
//! Not here: SARIF.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::against::Change;
use crate::reload::ProblemView;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Sorted by object and field.
    pub problems: Vec<ProblemView>,
    /// The requests that the other folder answers otherwise; nothing if none was given.
    pub changes: Option<Vec<Change>>,
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
