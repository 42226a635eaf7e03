//! Class handlers of the compiled objects: what they must be asked, and the Problems of their modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::object::{Kind, Name, ObjectRef};
use routing::{Problem, Reason};
use tokio::sync::mpsc;

use super::Reload;
use crate::control::handler::{HandlerUpdate, HandlerWork, LoadedHandler};

/// The channels between a Reload and the task that asks class handlers.
#[derive(Debug)]
pub struct HandlerChannels {
    /// To the task. A closed channel is ignored.
    pub work: mpsc::UnboundedSender<HandlerWork>,
    /// From the task. Closed when it ends.
    pub updates: mpsc::Receiver<HandlerUpdate>,
}

/// The way to the task, and the Problems of modules.
#[derive(Debug, Default)]
pub(super) struct Handlers {
    /// `None` without the task. The caller then asks the handlers itself.
    work: Option<mpsc::UnboundedSender<HandlerWork>>,
    /// By class.
    problems: BTreeMap<Arc<str>, Problem>,
}

impl Handlers {
    pub(super) fn connect(&mut self, work: mpsc::UnboundedSender<HandlerWork>) {
        self.work = Some(work);
    }

    /// Forgets everything, as after a panic.
    pub(super) fn clear(&mut self) {
        self.work = None;
        self.problems.clear();
    }

    /// Replaces the Problem of a module. Returns the former and the present one.
    fn set_problem(&mut self, loaded: &LoadedHandler) -> (Option<Problem>, Option<Problem>) {
        let before = self.problems.remove(&loaded.class);
        let after = loaded.refusal.as_ref().map(|message| Problem {
            object: ObjectRef {
                kind: Kind::IngressClassConfig,
                name: Name { namespace: "".into(), name: Arc::clone(&loaded.config) },
            },
            field: "spec.handler".to_owned(),
            reason: Reason::HandlerRefused,
            message: format!("the module of class {} is refused: {message}", loaded.class),
        });
        if let Some(problem) = &after {
            self.problems.insert(Arc::clone(&loaded.class), problem.clone());
        }
        (before, after)
    }
}

impl Reload {
    /// Returns what handlers must be asked since the last call. Does nothing if the task gets it.
    pub fn take_handler_work(&mut self) -> HandlerWork {
        let definitions = self.compiler.take_handlers();
        if let Some(definitions) = &definitions {
            let is_gone = |class: &Arc<str>| definitions.iter().all(|known| known.class != *class);
            let gone: Vec<_> =
                self.handlers.problems.keys().filter(|class| is_gone(class)).cloned().collect();
            let solved: Vec<_> =
                gone.iter().filter_map(|class| self.handlers.problems.remove(class)).collect();
            self.problems.change(&solved, Vec::new());
        }
        HandlerWork { definitions, calls: self.compiler.take_handler_calls() }
    }

    /// Passes what handlers must be asked to their task.
    pub(super) fn ask_handlers(&mut self) {
        if self.handlers.work.is_none() {
            return;
        }
        let work = self.take_handler_work();
        if work.definitions.is_some() || !work.calls.is_empty() {
            self.send_handler_work(work);
        }
    }

    fn send_handler_work(&self, work: HandlerWork) {
        if let Some(channel) = &self.handlers.work {
            // After a panic of the task, all objects are read again, and a new task gets them.
            let _ = channel.send(work);
        }
    }

    /// Applies what handlers answered, and the Problems of modules. Hosts of a class whose module was loaded are asked again.
    pub fn apply_handlers(&mut self, update: HandlerUpdate) {
        let HandlerUpdate { answers, loaded } = update;
        for loaded in &loaded {
            let (before, after) = self.handlers.set_problem(loaded);
            self.problems.change(before.iter(), Vec::from_iter(after));
            let calls = self.compiler.handler_calls(&loaded.class);
            self.send_handler_work(HandlerWork { definitions: None, calls });
        }
        if answers.is_empty() {
            return self.log_problem_changes();
        }
        let (table, delta) = self.compiler.apply_answers(answers);
        self.publish_compiled(table, delta);
        self.ask_handlers();
    }
}
