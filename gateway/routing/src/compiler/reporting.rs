//! What is reported to the API: which Ingresses get a status and Events, and how IngressClassConfigs are used.
//!
//! Not here: the Problems, which are results of compiling, and the writes (`gateway::control`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::Switch;

use super::Compiler;
use crate::object::Name;

/// The reports to the API about an Ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reporting {
    /// Whether the addresses of the gateway are written to its status.
    pub status: Switch,
    /// Whether Events about it are created.
    pub events: Switch,
}

/// How an IngressClassConfig is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// The Ingresses of a class are served with it.
    Served,
    /// It is invalid, so that no Ingress of its class is served. Holds the message for people.
    Invalid(String),
}

impl Compiler {
    /// Returns the Ingresses that were created, changed, compiled again or deleted since the last call.
    pub fn take_changed_ingresses(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed_ingresses)
    }

    /// Returns the reports about an Ingress. Returns `None` if it does not exist, or belongs to another controller.
    pub fn reporting(&self, name: &Name) -> Option<Reporting> {
        self.ingress(name).and_then(|ingress| self.classes.reporting(ingress))
    }

    /// Returns the state of each IngressClassConfig that a class of ours names.
    pub fn config_states(&self) -> BTreeMap<Arc<str>, ConfigState> {
        self.classes.config_states()
    }
}
