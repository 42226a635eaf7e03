//! Changes of a plugin's sources, its configuration or its module.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// The sources of the crate, or the module that is already built.
    Module,
    /// The configuration.
    Config,
}

/// Files and folders whose changes are reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// The sources of a crate: folders and files.
    pub(super) sources: Vec<PathBuf>,
    /// The configuration.
    pub(super) config: Option<PathBuf>,
}

impl Watched {
    /// Watches until the watcher is dropped. One edit may send several changes.
    ///
    /// # Errors
    /// The system cannot watch a folder.
    pub(super) fn watch(
        self,
        changes: mpsc::UnboundedSender<FileChange>,
    ) -> anyhow::Result<RecommendedWatcher> {
        let absolute = |path: &PathBuf| {
            path.canonicalize().with_context(|| format!("{} cannot be watched", path.display()))
        };
        let sources = self.sources.iter().map(absolute).collect::<anyhow::Result<Vec<_>>>()?;
        let config = self.config.as_ref().map(absolute).transpose()?;
        let roots: Vec<_> = sources.iter().chain(&config).cloned().collect();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            let touches = |root: &Path| event.paths.iter().any(|path| path.starts_with(root));
            if config.as_deref().is_some_and(touches) {
                // The receiver ends with the command.
                let _ = changes.send(FileChange::Config);
            } else if sources.iter().any(|root| touches(root)) {
                let _ = changes.send(FileChange::Module);
            }
        })
        .context("changes cannot be watched")?;
        for root in roots {
            // Editors replace files, so the folder of a file is watched.
            let (folder, mode) = match root.parent() {
                Some(parent) if root.is_file() => (parent, RecursiveMode::NonRecursive),
                _ => (root.as_path(), RecursiveMode::Recursive),
            };
            watcher.watch(folder, mode).with_context(|| format!("{} cannot be watched", folder.display()))?;
        }
        Ok(watcher)
    }
}
