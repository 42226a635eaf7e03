//! The side of a Compiler that faces class handlers: which calls are due, and what their answers change.
//!
//! Not here: when a call is made, and whether its input is one that was answered before (the control plane).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::class_handler::ClassInput;

use super::Compiler;
use super::Dirty;
use super::ProblemDelta;
use super::change_set::ChangeSet;
use super::handler_input;
use super::problem_delta::ProblemDeltaBuilder;
use crate::handler::HandlerAnswer;
use crate::handler::HandlerCall;
use crate::handler::HandlerDefinition;
use crate::handler::HandlerHost;
use crate::table::PluginSource;
use crate::table::RoutingTable;

impl Compiler {
    /// Returns the class handlers if one of them may have changed since the last call. They have the present bytes of their
    /// ConfigMaps.
    pub fn take_handlers(&mut self) -> Option<Vec<HandlerDefinition>> {
        std::mem::take(&mut self.have_handlers_changed).then(|| self.handlers())
    }

    /// Returns the class handlers, by class.
    pub fn handlers(&self) -> Vec<HandlerDefinition> {
        let definitions = self.classes.handlers().map(|settings| {
            let mut definition = settings.definition.clone();
            if let PluginSource::ConfigMap { name, key, bytes } = &mut definition.source {
                *bytes = self.plugins.config_map(name).and_then(|map| map.data.get(key)).cloned();
            }
            definition
        });
        definitions.collect()
    }

    /// Returns the calls whose input may have changed since the last call of this function.
    pub fn take_handler_calls(&mut self) -> Vec<HandlerCall> {
        let dirty = self.handlers.take_dirty();
        dirty.into_iter().map(|subject| self.handler_call(subject)).collect()
    }

    /// Returns the calls of all hosts of a class.
    pub fn handler_calls(&self, class: &str) -> Vec<HandlerCall> {
        self.handlers.subjects(class).map(|subject| self.handler_call(subject.clone())).collect()
    }

    fn handler_call(&self, subject: HandlerHost) -> HandlerCall {
        let Some(handler) = self.classes.handler(&subject.class) else {
            return HandlerCall { subject, input: ClassInput::default(), is_answered: false };
        };
        let members = self.handlers.members(&subject);
        let ingresses = members.filter_map(|name| self.ingresses.get(name)).map(|entry| &entry.ingress);
        let service = |name: &_| self.backends.service(name);
        let input = handler_input::build(handler.context.clone(), &subject.host, ingresses, service);
        let is_answered = self.handlers.is_answered(&subject);
        HandlerCall { subject, input, is_answered }
    }

    /// Applies answers of class handlers. Returns the new table, and the Problems that were added and removed.
    pub fn apply_answers(&mut self, answers: Vec<HandlerAnswer>) -> (RoutingTable, ProblemDelta) {
        let answered = self.handlers.answer(answers, &self.own_namespace);
        let dirty = Dirty { recompile: answered.clone(), answered, ..Dirty::default() };
        self.rebuild(BTreeMap::new(), dirty, ProblemDeltaBuilder::default())
    }

    /// Marks the hosts whose handlers read a changed Service, and notes changed modules.
    pub(super) fn note_handler_inputs(&mut self, changes: &ChangeSet) {
        self.have_handlers_changed |= !changes.config_maps.is_empty();
        if self.handlers.is_empty() {
            return;
        }
        for service in changes.services.keys() {
            for name in self.ingresses_in(&service.namespace) {
                let Some(ingress) = self.ingresses.get(&name).map(|entry| &entry.ingress) else { continue };
                let Some(class) = ingress.class_name().map(Arc::clone) else { continue };
                if handler_input::names_service(ingress, service) {
                    self.handlers.mark(&class, &name);
                }
            }
        }
    }
}
