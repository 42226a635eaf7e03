//! Reading the bytes of a module: that of a plugin, or of a class handler.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bytes::Bytes;
use plugin_host::{MAX_MODULE_BYTES, ModuleError};
use routing::table::PluginSource;

/// Identifies the content of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl FileStamp {
    /// Was the file replaced by another one, so that it is whole?
    pub(super) fn is_other_file(self, before: Self) -> bool {
        self.inode != before.inode
    }
}

/// Returns the stamp of a module's file. Returns `None` if there is no file, or the source is no file.
pub(super) fn stamp(source: &PluginSource) -> Option<FileStamp> {
    let PluginSource::File { path, .. } = source else { return None };
    let metadata = fs::metadata(path).ok()?;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Some(FileStamp { inode: metadata.ino(), bytes: metadata.len(), modified })
}

/// Returns where a module is, for people.
pub(super) fn url(source: &PluginSource) -> String {
    match source {
        PluginSource::File { path, .. } => format!("file://{}", path.display()),
        PluginSource::ConfigMap { name, key, .. } => format!("ConfigMap {name}, key {key}"),
        PluginSource::Refused(_) => "-".to_owned(),
    }
}

/// Reads a module, up to a byte more than the maximum size. Blocks.
///
/// # Errors
/// A message for the author of the WasmPlugin or the IngressClassConfig.
pub(super) fn read(source: &PluginSource) -> Result<Bytes, String> {
    match source {
        PluginSource::File { path, folder } => read_file(path, folder),
        PluginSource::ConfigMap { bytes: Some(bytes), .. } => Ok(bytes.clone()),
        PluginSource::ConfigMap { name, key, bytes: None } => {
            Err(format!("the ConfigMap {name} does not exist, or has no key {key}"))
        }
        PluginSource::Refused(reason) => Err(reason.clone()),
    }
}

fn read_file(path: &Path, folder: &Path) -> Result<Bytes, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("the file {} does not exist", path.display()),
        _ => format!("the file {} cannot be read: {error}", path.display()),
    };
    let real = path.canonicalize().map_err(failed)?;
    let real_folder = folder.canonicalize().map_err(failed)?;
    if !real.starts_with(&real_folder) {
        return Err(format!(
            "the file {} is a link out of the folder {}: put the module below it",
            path.display(),
            folder.display()
        ));
    }
    let file = File::open(&real).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len > MAX_MODULE_BYTES as u64 {
        return Err(ModuleError::TooLarge(usize::try_from(len).unwrap_or(usize::MAX)).to_string());
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes.into())
}

/// Returns bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
