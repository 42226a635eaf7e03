//! Asks a handler about a host, and finds the Ingress at which it fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::class_handler::{ClassInput, ClassItem, ClassOutput};
use bytes::Bytes;
use plugin_host::{CommandError, CommandLimits, HandlerCommand};
use routing::handler::{HandlerAnswer, HandlerCall, HandlerOutcome, HandlerTranslation, split};
use routing::object::Name;

/// The result of asking about a host.
#[derive(Debug, Default)]
pub struct Asked {
    /// One for each Ingress of the input.
    pub answers: Vec<HandlerAnswer>,
    /// Calls of the module that were made.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Whether a call took too long. On another day the same input may succeed.
    pub has_timed_out: bool,
    /// Maximum bytes of memory of a call.
    pub memory: usize,
}

/// A failed call.
struct CallFailure {
    message: String,
    is_timeout: bool,
}

/// Asks about one host. If the call fails, it is repeated for each namespace, and for each Ingress of those that fail: only
/// the Ingresses at fault get no answer. Blocks.
pub fn ask(command: &HandlerCommand, call: &HandlerCall, limits: &CommandLimits) -> Asked {
    let mut asked = Asked::default();
    let outcomes = asked.isolate(command, &call.input, limits);
    let host = &call.subject.host;
    asked.answers = outcomes
        .into_iter()
        .map(|(ingress, outcome)| HandlerAnswer { ingress, host: host.clone(), outcome })
        .collect();
    asked
}

impl Asked {
    fn isolate(
        &mut self,
        command: &HandlerCommand,
        input: &ClassInput,
        limits: &CommandLimits,
    ) -> BTreeMap<Name, HandlerOutcome> {
        let failure = match self.call(command, input, limits) {
            Ok(parts) => return translated(parts),
            Err(failure) => failure,
        };
        let parts = parts(input);
        if parts.is_empty() {
            let message: Arc<str> = failure.message.into();
            return names(input).map(|name| (name, HandlerOutcome::Failed(Arc::clone(&message)))).collect();
        }
        parts.iter().flat_map(|part| self.isolate(command, part, limits)).collect()
    }

    /// Makes one call.
    fn call(
        &mut self,
        command: &HandlerCommand,
        input: &ClassInput,
        limits: &CommandLimits,
    ) -> Result<BTreeMap<Name, HandlerTranslation>, CallFailure> {
        self.calls += 1;
        let result = self.try_call(command, input, limits);
        if let Err(failure) = &result {
            self.failures += 1;
            self.has_timed_out |= failure.is_timeout;
        }
        result
    }

    fn try_call(
        &mut self,
        command: &HandlerCommand,
        input: &ClassInput,
        limits: &CommandLimits,
    ) -> Result<BTreeMap<Name, HandlerTranslation>, CallFailure> {
        let text = serde_json::to_vec(input).map_err(|error| CallFailure::of(error.to_string()))?;
        let output = command.run(Bytes::from(text), limits).map_err(|error| CallFailure {
            message: error.to_string(),
            is_timeout: matches!(error, CommandError::Deadline(_)),
        })?;
        self.memory = self.memory.max(output.memory);
        let parsed: ClassOutput = serde_json::from_slice(&output.stdout).map_err(|error| {
            CallFailure::of(format!("its output is no ResourceList of a handler: {error}"))
        })?;
        split(input, parsed).map_err(|error| CallFailure::of(format!("its output is refused: {error}")))
    }
}

impl CallFailure {
    fn of(message: String) -> Self {
        Self { message, is_timeout: false }
    }
}

fn translated(parts: BTreeMap<Name, HandlerTranslation>) -> BTreeMap<Name, HandlerOutcome> {
    parts.into_iter().map(|(name, part)| (name, HandlerOutcome::Translated(part))).collect()
}

fn names(input: &ClassInput) -> impl Iterator<Item = Name> {
    input.ingresses().map(|ingress| Name::new(&ingress.metadata.namespace, &ingress.metadata.name))
}

/// Divides an input by namespace, or, within one namespace, by Ingress. Returns nothing for a single Ingress.
fn parts(input: &ClassInput) -> Vec<ClassInput> {
    let names: Vec<Name> = names(input).collect();
    let mut namespaces: Vec<&Arc<str>> = names.iter().map(|name| &name.namespace).collect();
    namespaces.sort();
    namespaces.dedup();
    match (namespaces.len(), names.len()) {
        (_, 0 | 1) => Vec::new(),
        (1, _) => names.iter().map(|name| part(input, &name.namespace, Some(&name.name))).collect(),
        (_, _) => namespaces.into_iter().map(|namespace| part(input, namespace, None)).collect(),
    }
}

/// Returns the part of an input that is about one namespace, or one Ingress of it.
fn part(input: &ClassInput, namespace: &str, ingress: Option<&str>) -> ClassInput {
    let items = input.items.iter().filter(|item| match item {
        ClassItem::Ingress(from) => {
            let metadata = &from.metadata;
            metadata.namespace == namespace && ingress.is_none_or(|name| metadata.name == name)
        }
        ClassItem::Service(from) => from.metadata.namespace == namespace,
        ClassItem::ConfigMap(from) => from.metadata.namespace == namespace,
        ClassItem::Secret(from) => from.metadata.namespace == namespace,
    });
    let function_config = input.function_config.clone();
    ClassInput { function_config, items: items.cloned().collect(), ..ClassInput::default() }
}
