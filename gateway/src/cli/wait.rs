//! Whether an Ingress is live: held by the table that serves, in a version that is new enough, and as it was written.
//!
//! The admin page `/ingress` tells it, and `gateway wait` asks until it is so. Not here: why one request goes where
//! it goes (`explain`).

use std::fmt::{self, Display, Formatter};

use routing::Reason;
use routing::object::{Kind, Name, ObjectRef, ResourceVersion};
use serde::{Deserialize, Serialize};

use crate::control::reload::{ProblemView, Reload};

pub mod command;
mod verdict;

/// How an Ingress stands at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The word for machines.
    pub state: State,
    /// `metadata.resourceVersion` of what the table was made from; nothing: it has none that can be compared.
    pub resource_version: Option<String>,
    /// The number of the table that was asked.
    pub generation: u64,
    /// Why it is not live, for people, where the Problems do not say it.
    pub why: Option<String>,
    /// The Ingress's own Problems.
    pub problems: Vec<ProblemView>,
}

/// The word for a [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The table does not know it.
    Missing,
    /// The table holds it in an older version than was asked for, or in one that cannot be compared.
    Older,
    /// The table holds it, but not all of it is served as it was written, or nothing of it.
    Refused,
    /// Requests are answered by it, as it was written.
    Live,
}

impl Standing {
    /// Looks an Ingress up between two updates. `at_least` is the version that is waited for; nothing: any.
    ///
    /// That no endpoint is ready is told but refuses nothing: the table holds what was written, and endpoints come and
    /// go in cells of their own.
    pub fn of(name: &Name, at_least: Option<ResourceVersion>, reload: &Reload) -> Self {
        let object = ObjectRef { kind: Kind::Ingress, name: name.clone() };
        let known = reload.compiler().ingress(name);
        let version = known.and_then(|ingress| ingress.version);
        let problems = reload.problems().views_where(|problem| problem.object == object);
        let is_as_written = problems.iter().all(|problem| problem.reason == Reason::NoEndpoints.to_string());
        let (state, why) = match known {
            None => (State::Missing, Some(format!("the gateway knows no Ingress {name}"))),
            Some(_) if version < at_least => (State::Older, Some(older(version))),
            Some(ingress) => match reload.compiler().unserved_reason(ingress) {
                // A refusal that is a Problem is told there.
                Some(refusal) => (State::Refused, problems.is_empty().then_some(refusal)),
                None if is_as_written => (State::Live, None),
                None => (State::Refused, None),
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

impl Display for Standing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let version = self.resource_version.as_deref().unwrap_or("none");
        writeln!(f, "{}  version {version}, generation {}", self.state, self.generation)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "{problem}"))?;
        self.why.iter().try_for_each(|why| writeln!(f, "{why}"))
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Older => "older",
            Self::Refused => "refused",
            Self::Live => "live",
        })
    }
}

fn older(version: Option<ResourceVersion>) -> String {
    match version {
        Some(version) => format!("the gateway still has version {version}"),
        None => "what the gateway has says no resourceVersion that can be compared".to_owned(),
    }
}
