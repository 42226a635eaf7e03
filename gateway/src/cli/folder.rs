//! The folder of YAML that a command serves from.
//!
//! Not here: the contents of the files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Maximum names to attempt for a temporary folder. One of a killed process with the same number may still exist.
const MAX_NAME_ATTEMPTS: u32 = 100;

/// A folder. Dropping a temporary one removes it.
pub(super) struct Folder {
    path: PathBuf,
    on_drop: OnDrop,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Keep,
    Remove,
}

impl Folder {
    /// Opens the requested folder, and creates it if it does not exist. Without a request, creates a temporary one.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be created, or if it is not empty. The demo overwrites no files.
    pub(super) fn new(requested: Option<&Path>) -> anyhow::Result<Self> {
        let Some(requested) = requested else { return Self::temporary("gateway-demo") };
        let unusable = || format!("folder {} cannot be used", requested.display());
        fs::create_dir_all(requested).with_context(unusable)?;
        anyhow::ensure!(
            fs::read_dir(requested).with_context(unusable)?.next().is_none(),
            "folder {} is not empty: the demo writes its files to a new or empty one only",
            requested.display()
        );
        // Absolute, since people copy this path to commands in other folders.
        Ok(Self { path: std::path::absolute(requested).with_context(unusable)?, on_drop: OnDrop::Keep })
    }

    /// Creates a temporary folder, whose name begins with `prefix`.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be created.
    pub(super) fn temporary(prefix: &str) -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        for number in 0..MAX_NAME_ATTEMPTS {
            let path = base.join(format!("{prefix}-{}-{number}", std::process::id()));
            // The folder may contain a private key.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, on_drop: OnDrop::Remove }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("folder {} cannot be created", path.display()));
                }
            }
        }
        anyhow::bail!("no name for a new folder is free in {}", base.display())
    }

    /// Returns the path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file that only its owner can read.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written, or if it exists.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        open()
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Writes a file in one step, so that no reader sees a part of it. Replaces an existing one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!(".{name}")));
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Remove
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "cannot remove the temporary folder");
        }
    }
}
