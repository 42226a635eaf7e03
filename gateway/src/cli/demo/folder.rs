//! The folder that the demo's YAML is written to.
//!
//! Not here: what is in the files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Names that are tried for a temporary folder: one of a process that was killed may still be there.
const MAX_NAME_ATTEMPTS: u32 = 100;

/// A folder; a temporary one is removed when this is dropped.
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
    /// Takes the folder that was asked for, which is made if it does not exist, or makes a temporary one.
    ///
    /// # Errors
    /// It cannot be made, or something is in it already, which might be somebody's work.
    pub(super) fn new(requested: Option<&Path>) -> anyhow::Result<Self> {
        let Some(requested) = requested else { return Self::temporary() };
        let unusable = || format!("folder {} cannot be used", requested.display());
        fs::create_dir_all(requested).with_context(unusable)?;
        anyhow::ensure!(
            fs::read_dir(requested).with_context(unusable)?.next().is_none(),
            "folder {} is not empty: the demo writes its files to a new or empty one only",
            requested.display()
        );
        // People read and copy this path: it has to hold in other folders too.
        Ok(Self { path: std::path::absolute(requested).with_context(unusable)?, on_drop: OnDrop::Keep })
    }

    fn temporary() -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        for number in 0..MAX_NAME_ATTEMPTS {
            let path = base.join(format!("gateway-demo-{}-{number}", std::process::id()));
            // A key will be inside: nobody else may look.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, on_drop: OnDrop::Remove }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("folder {} cannot be made", path.display()));
                }
            }
        }
        anyhow::bail!("no name for a new folder is free in {}", base.display())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file, for the owner's eyes only.
    ///
    /// # Errors
    /// It cannot be written, or is there already.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        open()
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Remove
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "temporary folder is left behind");
        }
    }
}
