//! Class handlers, as far as compiling needs them: which class has one, what each call reads, and what it answered.
//!
//! The control plane takes the calls of a Compiler, runs them, and gives the answers back. Not here: running a handler
//! (`plugin-host`), and the routes that answers compile to (`compiler::answered`).

mod split;

use std::sync::Arc;

use api::class_handler::AnnotationResult;
use api::class_handler::ClassInput;
use api::class_handler::EmittedPolicy;
use api::class_handler::EmittedRoute;

use crate::host::HostName;
use crate::object::Name;
use crate::table::PluginSource;

pub use split::SplitError;
pub use split::split;

/// The handler of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerDefinition {
    /// The IngressClass.
    pub class: Arc<str>,
    /// Name of the IngressClassConfig.
    pub config: Arc<str>,
    /// Where the module is.
    pub source: PluginSource,
    /// SHA-256 that the module must have.
    pub sha256: Option<[u8; 32]>,
    /// Prefixes of the annotations that the handler speaks for.
    pub dialect: Box<[Box<str>]>,
}

impl HandlerDefinition {
    /// Returns true if the handler has the verdict on annotations with this key.
    pub fn speaks_for(&self, key: &str) -> bool {
        self.dialect.iter().any(|prefix| key.starts_with(&**prefix))
    }
}

/// One host of a class. Each has its own calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerHost {
    /// The IngressClass.
    pub class: Arc<str>,
    /// The host. [`HostName::Any`]: rules without a host, default backends, and Ingresses without rules.
    pub host: HostName,
}

/// What a handler must be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct HandlerCall {
    /// The class and the host.
    pub subject: HandlerHost,
    /// What the handler reads. Has no Ingress if the class serves none on the host any more.
    pub input: ClassInput,
    /// Whether the Compiler has an answer for each Ingress of the input, perhaps an older one. Then an input that was
    /// answered before need not be asked about again.
    pub is_answered: bool,
}

/// What a handler said about one Ingress on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct HandlerAnswer {
    /// The Ingress.
    pub ingress: Name,
    /// The host of the call.
    pub host: HostName,
    /// The result.
    pub outcome: HandlerOutcome,
}

/// The result of a call for one Ingress.
#[derive(Clone, Debug, PartialEq)]
pub enum HandlerOutcome {
    /// The handler answered.
    Translated(HandlerTranslation),
    /// It failed, with the reason. Its last answer for the Ingress stays; without one, the paths are closed.
    Failed(Arc<str>),
}

/// The part of a handler's output that comes from one Ingress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandlerTranslation {
    /// Routes.
    pub routes: Vec<EmittedRoute>,
    /// Settings of the routes.
    pub policies: Vec<EmittedPolicy>,
    /// Verdicts.
    pub results: Vec<AnnotationResult>,
}
