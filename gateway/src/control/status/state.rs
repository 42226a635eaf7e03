//! All that reports depend on, and what is due. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::object::{Kind, Name, ObjectRef};
use routing::problem::Severity;
use routing::{ConfigState, Problem};
use tokio::time::Instant;

use super::conditions::has_conditions;
use super::desired::DesiredStatuses;
use super::events::{EventContent, EventQueue};
use crate::control::reload::Published;
use crate::control::source::identity::{Identity, Uid};

/// The state of all objects that reports are about.
#[derive(Debug, Default)]
pub(super) struct ReportState {
    pub(super) statuses: DesiredStatuses,
    pub(super) events: EventQueue,
    /// Identities of all kinds but Ingress.
    identities: BTreeMap<ObjectRef, Identity>,
    problems: BTreeMap<ObjectRef, BTreeSet<Problem>>,
    configs: BTreeMap<Arc<str>, ConfigState>,
    /// Objects whose conditions may have changed.
    changed: BTreeSet<ObjectRef>,
}

impl ReportState {
    /// Applies what a publication changed.
    pub(super) fn apply(&mut self, published: Published, now: Instant) {
        let Published { is_first, identities, ingresses, configs, plugins, added, removed, .. } = published;
        let mut to_check: BTreeSet<Name> = ingresses.iter().map(|(name, _)| name.clone()).collect();
        for (object, identity) in identities {
            self.set_identity(object, identity);
        }
        for (name, reporting) in ingresses {
            self.statuses.set_reporting(&name, reporting);
        }
        if let Some(configs) = configs {
            let before = std::mem::replace(&mut self.configs, configs);
            let names: Vec<_> = before.into_keys().chain(self.configs.keys().cloned()).collect();
            for name in names {
                let name = Name { namespace: "".into(), name };
                self.changed.insert(ObjectRef { kind: Kind::IngressClassConfig, name });
            }
        }
        let plugins = plugins.into_iter().map(|name| ObjectRef { kind: Kind::WasmPlugin, name });
        self.changed.extend(plugins);
        for problem in removed {
            self.remove_problem(&problem, &mut to_check);
        }
        for problem in added {
            self.add_problem(problem, &mut to_check, now);
        }
        for name in to_check {
            self.check_live(name, is_first, now);
        }
    }

    fn set_identity(&mut self, object: ObjectRef, identity: Option<Identity>) {
        match (object.kind, identity) {
            (Kind::Ingress, Some(identity)) => self.statuses.set_identity(&object.name, identity),
            (Kind::Ingress, None) => self.statuses.remove(&object.name),
            (kind, Some(identity)) => {
                if has_conditions(kind) {
                    self.changed.insert(object.clone());
                }
                self.identities.insert(object, identity);
            }
            (_, None) => {
                self.identities.remove(&object);
            }
        }
    }

    fn add_problem(&mut self, problem: Problem, to_check: &mut BTreeSet<Name>, now: Instant) {
        self.note_change(&problem.object, to_check);
        if self.has_events(&problem.object) {
            self.events.add(EventContent::of_problem(&problem), now);
        }
        self.problems.entry(problem.object.clone()).or_default().insert(problem);
    }

    fn remove_problem(&mut self, problem: &Problem, to_check: &mut BTreeSet<Name>) {
        self.note_change(&problem.object, to_check);
        self.events.remove(&EventContent::of_problem(problem));
        if let Some(problems) = self.problems.get_mut(&problem.object) {
            problems.remove(problem);
            if problems.is_empty() {
                self.problems.remove(&problem.object);
            }
        }
    }

    fn note_change(&mut self, object: &ObjectRef, to_check: &mut BTreeSet<Name>) {
        if object.kind == Kind::Ingress {
            to_check.insert(object.name.clone());
        } else if has_conditions(object.kind) {
            self.changed.insert(object.clone());
        }
    }

    /// Returns true if Events are created about an object. A Problem may be about a whole kind or a file, which is none.
    fn has_events(&self, object: &ObjectRef) -> bool {
        match object.kind {
            Kind::File | Kind::Node => false,
            _ if &*object.name.name == "*" => false,
            Kind::Ingress => {
                self.statuses.reporting(&object.name).is_some_and(|reporting| reporting.events.is_on())
            }
            Kind::ConfigMap
            | Kind::EndpointSlice
            | Kind::IngressClass
            | Kind::IngressClassConfig
            | Kind::Namespace
            | Kind::RoutePolicy
            | Kind::Secret
            | Kind::Service
            | Kind::WasmPlugin => true,
        }
    }

    /// Adds an Event if an Ingress has become live, and ends it if it is no longer.
    fn check_live(&mut self, name: Name, is_first: bool, now: Instant) {
        let object = ObjectRef { kind: Kind::Ingress, name };
        let mut problems = self.problems.get(&object).into_iter().flatten();
        let has_error = problems.any(|problem| problem.reason.severity() == Severity::Error);
        let reporting = self.statuses.reporting(&object.name).filter(|_| !has_error);
        let Some(reporting) = reporting else {
            if self.statuses.set_live(&object.name, false) {
                self.events.remove(&EventContent::of_live(object));
            }
            return;
        };
        if !self.statuses.set_live(&object.name, true) || !reporting.events.is_on() {
            return;
        }
        // At the start, most Ingresses have been live for a long time.
        if !is_first || self.statuses.is_first_write(&object.name) {
            self.events.add(EventContent::of_live(object), now);
        }
    }

    /// Returns the uid of an object, if it is known.
    pub(super) fn uid(&self, object: &ObjectRef) -> Option<Uid> {
        if object.kind == Kind::Ingress {
            return self.statuses.uid(&object.name);
        }
        self.identities.get(object).and_then(|identity| identity.uid)
    }

    /// Returns the generation of an object of ours. Returns `None` if it does not exist.
    pub(super) fn generation(&self, object: &ObjectRef) -> Option<i64> {
        self.identities.get(object).map(|identity| identity.generation)
    }

    /// Returns the present Problems of an object.
    pub(super) fn problems(&self, object: &ObjectRef) -> Vec<Problem> {
        self.problems.get(object).into_iter().flatten().cloned().collect()
    }

    /// Returns how an IngressClassConfig is used.
    pub(super) fn config(&self, name: &str) -> Option<&ConfigState> {
        self.configs.get(name)
    }

    /// Returns the objects whose conditions may have changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.changed)
    }

    /// Returns all objects with conditions.
    pub(super) fn all_with_conditions(&self) -> impl Iterator<Item = &ObjectRef> {
        self.identities.keys().filter(|object| has_conditions(object.kind))
    }
}
