//! The report of `gateway check`, as values and as text for people. Not here: SARIF (`sarif`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use routing::{IngressCounts, Reason, Severity};
use serde::Serialize;

use super::against::RouteChange;
use super::tls_changes::CertificateChange;
use crate::control::reload::ProblemView;

/// Maximum files without an object that the text names.
const MAX_FILES_SHOWN: usize = 5;

/// The report of `gateway check`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Problems, sorted by file and line.
    pub problems: Vec<ProblemView>,
    /// How many Ingresses are served, and how many are not.
    pub ingresses: Ingresses,
    /// Requests that the other folder routes differently. `None` without another folder.
    pub changes: Option<Vec<RouteChange>>,
    /// Hosts for which the other folder has another certificate. `None` without another folder.
    pub certificates: Option<Vec<CertificateChange>>,
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

impl CheckReport {
    /// Writes one line about all files that hold no Kubernetes object.
    fn write_files_without_objects(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let no_object = Reason::NoObject.to_string();
        let of_reason = self.problems.iter().filter(|problem| problem.reason == no_object);
        let files: BTreeSet<&str> = of_reason.filter_map(|problem| problem.file.as_deref()).collect();
        let shown: Vec<_> = files.iter().copied().take(MAX_FILES_SHOWN).collect();
        let further = if files.len() > shown.len() { ", …" } else { "" };
        let list = shown.join(", ");
        match files.len() {
            0 => Ok(()),
            1 => writeln!(f, "1 file with no Kubernetes object ({list}); --exclude leaves it out"),
            count => {
                writeln!(
                    f,
                    "{count} files with no Kubernetes object ({list}{further}); --exclude leaves them out"
                )
            }
        }
    }
}

impl Display for CheckReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let no_object = Reason::NoObject.to_string();
        for problem in self.problems.iter().filter(|problem| problem.reason != no_object) {
            writeln!(f, "{problem}")?;
        }
        self.write_files_without_objects(f)?;
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
            0 => writeln!(f, "no request is routed differently")?,
            1 => writeln!(f, "requests of 1 rule are routed differently")?,
            count => writeln!(f, "requests of {count} rules are routed differently")?,
        }
        let certificates = self.certificates.as_deref().unwrap_or_default();
        certificates.iter().try_for_each(|change| write!(f, "{change}"))?;
        match certificates.len() {
            0 => Ok(()),
            1 => writeln!(f, "1 host has another certificate"),
            count => writeln!(f, "{count} hosts have another certificate"),
        }
    }
}
