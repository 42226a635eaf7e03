//! What a gateway serves, and how.

use std::path::PathBuf;

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
}
