//! Class handlers: loads their modules, asks them about hosts, and returns their answers.
//!
//! The compiler says which hosts changed. A call runs on a blocking thread of the control runtime. Publishing and readiness
//! never wait for it. Not here: what an answer means (`routing`), and how a module runs (`plugin_host`).

mod ask;
mod board;
mod load;
mod task;

use std::path::PathBuf;
use std::sync::Arc;

use routing::handler::{HandlerAnswer, HandlerCall, HandlerDefinition};

pub use ask::{Asked, ask};
pub use board::{HandlerBoard, HandlerState, HandlerStatus};
pub use load::load;
pub use task::{refused, run};

/// What the compiler wants of the handlers.
#[derive(Debug, Default)]
pub struct HandlerWork {
    /// All handlers, if one of them may have changed.
    pub definitions: Option<Vec<HandlerDefinition>>,
    /// Hosts whose input may have changed.
    pub calls: Vec<HandlerCall>,
}

/// What handlers answered, and what became of their modules.
#[derive(Debug, Default)]
pub struct HandlerUpdate {
    /// Answers.
    pub answers: Vec<HandlerAnswer>,
    /// Classes whose module was loaded or refused.
    pub loaded: Vec<LoadedHandler>,
}

/// The result of loading the module of a class.
#[derive(Debug)]
pub struct LoadedHandler {
    /// The IngressClass. All its hosts must be asked again.
    pub class: Arc<str>,
    /// The IngressClassConfig.
    pub config: Arc<str>,
    /// Why the newest module is refused. `None` if it serves.
    pub refusal: Option<String>,
}

/// What the handlers need of the process.
#[derive(Clone, Debug, Default)]
pub struct HandlerContext {
    /// Folder for compiled code. `None`: compiled again after each start.
    pub cache: Option<PathBuf>,
    /// The state of each handler, for the admin pages.
    pub board: Arc<HandlerBoard>,
}
