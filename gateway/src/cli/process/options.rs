//! What a gateway serves, and how.

use std::path::PathBuf;
use std::sync::Arc;

use plugin_host::GuestObserver;

use crate::filter::Filter;
use crate::settings::Settings;

/// The source of objects.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder with YAML files.
    Files(PathBuf),
    /// The cluster of a kubeconfig file. `None`: the cluster of this pod.
    Kubernetes(Option<PathBuf>),
}

/// What a gateway serves, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source of objects.
    pub source: Source,
    /// All settings.
    pub settings: Settings,
    /// Filters that every route gets besides those of its policy, for programs that embed the gateway.
    pub filters: Vec<Arc<dyn Filter>>,
    /// Sees the calls and log lines of plugins.
    pub observer: Option<Arc<dyn GuestObserver>>,
}

impl Options {
    /// Creates options without further filters.
    pub fn new(source: Source, settings: Settings) -> Self {
        Self { source, settings, filters: Vec::new(), observer: None }
    }
}
