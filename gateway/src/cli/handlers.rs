//! Asks the class handlers of objects that were read once, as `gateway run` does.
//!
//! Not here: the task that asks while the gateway serves (`control::handler`).

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use plugin_host::{CommandLimits, Engine, HandlerCommand};
use routing::handler::HandlerAnswer;

use crate::control::handler::{self, HandlerUpdate, LoadedHandler};
use crate::control::reload::Reload;

/// Loads all class handlers and asks them about all hosts. Adds a Problem for each module that is refused. Returns the
/// answers. Blocks for about a second for each MiB of modules, and while handlers run.
///
/// # Errors
/// Returns an error if this machine cannot run WebAssembly.
pub(super) fn ask_all(reload: &mut Reload) -> anyhow::Result<Vec<HandlerAnswer>> {
    let work = reload.take_handler_work();
    let definitions = work.definitions.unwrap_or_default();
    if definitions.is_empty() {
        return Ok(Vec::new());
    }
    let engine = Engine::new(None).context("class handlers cannot be asked")?;
    let mut commands: BTreeMap<Arc<str>, Result<HandlerCommand, String>> = BTreeMap::new();
    let mut loaded = Vec::new();
    for definition in definitions {
        let command = handler::load(&engine, &definition);
        let (class, config) = (Arc::clone(&definition.class), definition.config);
        loaded.push(LoadedHandler { class: Arc::clone(&class), config, refusal: command.clone().err() });
        commands.insert(class, command);
    }
    let answers = work.calls.iter().flat_map(|call| match commands.get(&call.subject.class) {
        Some(Ok(command)) => handler::ask(command, call, &CommandLimits::default()).answers,
        Some(Err(reason)) => handler::refused(call, &reason.as_str().into()),
        None => Vec::new(),
    });
    let answers: Vec<_> = answers.collect();
    reload.apply_handlers(HandlerUpdate { answers: answers.clone(), loaded });
    Ok(answers)
}
