//! The report of `gateway check`, as values and as text for people. Not here: SARIF (`sarif`).

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use routing::{IngressCounts, Severity};
use serde::Serialize;

use super::against::RouteChange;
use crate::control::reload::ProblemView;

/// The report of `gateway check`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Problems, sorted by object and field.
    pub problems: Vec<ProblemView>,
    /// How many Ingresses are served, and how many are not.
    pub ingresses: Ingresses,
    /// Requests that the other folder routes differently. `None` without another folder.
    pub changes: Option<Vec<RouteChange>>,
}

/// Numbers of Ingresses by what a gateway does with them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingresses {
    /// Served, whole or in part.
    pub served: usize,
    /// Of a served class, but not served because of a mistake.
    pub refused: usize,
    /// Without a class.
    pub without_class: usize,
    /// Of other classes, by class.
    pub other_classes: BTreeMap<String, usize>,
    /// As one line for people.
    #[serde(skip)]
    text: String,
}

impl From<&IngressCounts> for Ingresses {
    fn from(counts: &IngressCounts) -> Self {
        let classes = counts.other_classes.iter().map(|(class, count)| (class.to_string(), *count));
        let advice = match counts.other_classes.keys().next() {
            Some(class) if counts.served == 0 => {
                format!(
                    "; nothing is served: name a class that this gateway should serve, such as --class {class}"
                )
            }
            None if counts.served == 0 => "; nothing is served".to_owned(),
            _ => String::new(),
        };
        Self {
            served: counts.served,
            refused: counts.refused,
            without_class: counts.without_class,
            other_classes: classes.collect(),
            text: format!("{counts}{advice}"),
        }
    }
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
            0 => {}
            1 => write!(f, " and 1 note")?,
            count => write!(f, " and {count} notes")?,
        }
        writeln!(f, "; {}", self.ingresses.text)?;
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
