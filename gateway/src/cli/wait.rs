//! The status of an Ingress: whether the live table has it completely, in a version that is new enough.
//!
//! The admin page `/ingress` shows it, and `gateway wait` polls it. Not here: why a request is routed to its backend
//! (`explain`).

use std::fmt::{self, Display, Formatter};

use routing::Reason;
use routing::object::{Kind, Name, ObjectRef, ResourceVersion};
use serde::{Deserialize, Serialize};

use crate::control::reload::{ProblemView, Reload};

pub mod command;
mod verdict;

/// The status of an Ingress at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressStatus {
    /// The state, as one word.
    pub state: IngressState,
    /// `metadata.resourceVersion` of the object in the table. `None` if it has none that can be compared.
    pub resource_version: Option<String>,
    /// Generation of the table.
    pub generation: u64,
    /// Why it is not live, for people, if no Problem explains it.
    pub why: Option<String>,
    /// The Problems of the Ingress.
    pub problems: Vec<ProblemView>,
}

/// The state of an Ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IngressState {
    /// The table does not have it.
    Missing,
    /// The table has it in a version that is too old or cannot be compared.
    Older,
    /// The table has it, but serves only a part of it, or nothing.
    Refused,
    /// The table serves all of it.
    Live,
}

impl IngressStatus {
    /// Returns the status of an Ingress between two updates. `min_version` is the oldest acceptable version, if any.
    ///
    /// An Ingress without ready endpoints is live: the table has all of it, and endpoints change without a new table.
    pub fn new(name: &Name, min_version: Option<ResourceVersion>, reload: &Reload) -> Self {
        let object = ObjectRef { kind: Kind::Ingress, name: name.clone() };
        let found = reload.compiler().ingress(name);
        let version = found.and_then(|ingress| ingress.version);
        let problems = reload.problems().views_where(|problem| problem.object == object);
        let harmless = [Reason::NoEndpoints, Reason::StatusNotWritten].map(|reason| reason.to_string());
        let is_complete = problems.iter().all(|problem| harmless.contains(&problem.reason));
        let (state, why) = match found {
            None => (IngressState::Missing, Some(format!("the gateway knows no Ingress {name}"))),
            Some(_) if version < min_version => (IngressState::Older, Some(too_old(version))),
            Some(ingress) => match reload.compiler().unserved_reason(ingress) {
                // If there is a Problem, it has the reason.
                Some(reason) => (IngressState::Refused, problems.is_empty().then_some(reason)),
                None if is_complete => (IngressState::Live, None),
                None => (IngressState::Refused, None),
            },
        };
        let generation = reload.live().load().generation;
        Self {
            state,
            resource_version: version.map(|version| version.to_string()),
            generation,
            why,
            problems,
        }
    }
}

impl Display for IngressStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let version = self.resource_version.as_deref().unwrap_or("none");
        writeln!(f, "{}  version {version}, generation {}", self.state, self.generation)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "{problem}"))?;
        self.why.iter().try_for_each(|why| writeln!(f, "{why}"))
    }
}

impl Display for IngressState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Older => "older",
            Self::Refused => "refused",
            Self::Live => "live",
        })
    }
}

fn too_old(version: Option<ResourceVersion>) -> String {
    match version {
        Some(version) => format!("the gateway still has version {version}"),
        None => "the gateway's object has no resourceVersion that can be compared".to_owned(),
    }
}
