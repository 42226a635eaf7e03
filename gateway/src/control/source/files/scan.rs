//! Lists the files below a folder with their metadata, and reads one of them. All file I/O of this source.
//!
//! Opens regular files only; skips FIFOs, sockets and devices. Visits each folder once, which ends symlink loops. Not
//! here: the content of files.

use std::collections::{BTreeMap, HashSet};
use std::fs::{DirEntry, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::document::file_problem;
use crate::control::source::location::LocatedProblem;

/// Maximum bytes of a file. A larger file is a Problem and is not read. 64 MiB hold about 100,000 Ingresses.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum files below the folder. Further files are not read, and the first of them is a Problem.
const MAX_FILES: usize = 100_000;
/// Maximum nesting of folders. A deeper folder is a Problem and is not read.
const MAX_DEPTH: usize = 32;
/// Keeps `open` from waiting for a writer if a FIFO has replaced the file since the scan. The value is the same on all
/// Linux architectures in tier 1 of Rust.
#[cfg(target_os = "linux")]
const O_NONBLOCK: i32 = 0o4000;
#[cfg(not(target_os = "linux"))]
const O_NONBLOCK: i32 = 0;

/// Why a file or folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// The watched folder does not exist.
    #[error("the folder is gone; its last content is kept")]
    RootMissing,
    /// A folder is nested deeper than [`MAX_DEPTH`].
    #[error("more than {MAX_DEPTH} folders inside each other")]
    TooDeep,
    /// There are more than [`MAX_FILES`] files.
    #[error("more than 100,000 files; this one and those after it are not read")]
    TooManyFiles,
    /// A file is larger than [`MAX_BYTES`].
    #[error("larger than {} MiB", MAX_BYTES / 1024 / 1024)]
    TooLarge,
    /// A file is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8 {
        /// The line of the first invalid byte, from 1.
        line: u64,
    },
    /// The system reports an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ScanError {
    /// Returns the line of the error, from 1; `None` if it is about the whole file.
    pub(super) fn line(&self) -> Option<u64> {
        match self {
            Self::NotUtf8 { line } => Some(*line),
            Self::RootMissing | Self::TooDeep | Self::TooManyFiles | Self::TooLarge | Self::Io(_) => None,
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The metadata of a version of a file. A file with another stamp is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// In bytes.
    pub(super) size: u64,
    /// Time of the last write to the content.
    pub(super) modified: SystemTime,
    /// Time of the last change of content or inode, in seconds and nanoseconds. Programs cannot set it.
    pub(super) changed: (i64, i64),
    /// The canonical path, if a symlink leads to the file.
    pub(super) resolved: Option<PathBuf>,
}

impl FileStamp {
    fn new(metadata: &Metadata, resolved: Option<PathBuf>) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            resolved,
        }
    }

    fn matches(&self, metadata: &Metadata) -> bool {
        *self == Self::new(metadata, self.resolved.clone())
    }
}

/// The identity of a folder: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FolderId(u64, u64);

impl FolderId {
    /// Returns the folder at a path. Returns `None` if there is none.
    pub(super) fn at_path(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().filter(Metadata::is_dir).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FolderId {
    fn from(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

// ===== scanning =====

/// The files below a folder.
#[derive(Debug, Default)]
pub(super) struct FolderScan {
    /// By path relative to the folder.
    pub(super) files: BTreeMap<PathBuf, FileStamp>,
    pub(super) problems: Vec<LocatedProblem>,
    /// Paths that cannot be read. Known files at or below them are kept.
    pub(super) unreadable: Vec<PathBuf>,
    pub(super) is_root_missing: bool,
}

impl FolderScan {
    fn skip(&mut self, path: &Path, error: &ScanError) {
        self.problems.push(file_problem(path, None, &error.to_string()));
        self.unreadable.push(path.to_owned());
    }
}

/// Lists all files below a folder, in path order.
pub(super) fn scan(root: &Path) -> FolderScan {
    let mut scan = FolderScan::default();
    let Ok(metadata) = std::fs::metadata(root) else {
        scan.is_root_missing = true;
        scan.skip(Path::new("."), &ScanError::RootMissing);
        return scan;
    };
    let visited = HashSet::from([FolderId::from(&metadata)]);
    let mut walk = FolderWalk { root, visited, has_too_many_files: false, scan };
    walk.visit_folder(Path::new(""), WalkPosition { depth: 0, via_symlink: false });
    walk.scan
}

/// A position in the tree.
#[derive(Clone, Copy)]
struct WalkPosition {
    depth: usize,
    /// Whether a symlink leads to it.
    via_symlink: bool,
}

struct FolderWalk<'a> {
    root: &'a Path,
    visited: HashSet<FolderId>,
    /// Whether a file was skipped because of [`MAX_FILES`].
    has_too_many_files: bool,
    scan: FolderScan,
}

impl FolderWalk<'_> {
    fn visit_folder(&mut self, folder: &Path, position: WalkPosition) {
        let entries =
            std::fs::read_dir(self.root.join(folder)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            // Removed since its parent was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && position.depth > 0 => return,
            Err(error) => return self.scan.skip(folder, &error.into()),
        };
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(entry.file_name());
            if let Err(error) = self.visit_entry(&entry, &path, position)
                // Not found: a dangling symlink, or a file that was removed since the folder was read.
                && !error.is_not_found()
            {
                self.scan.skip(&path, &error);
            }
        }
    }

    fn visit_entry(
        &mut self,
        entry: &DirEntry,
        path: &Path,
        position: WalkPosition,
    ) -> Result<(), ScanError> {
        let absolute = entry.path();
        let kind = entry.file_type()?;
        let has_our_extension = has_our_extension(path);
        // Skips the metadata of all other entries.
        let is_candidate = kind.is_dir() || kind.is_symlink() || (kind.is_file() && has_our_extension);
        if !is_candidate {
            return Ok(());
        }
        let via_symlink = position.via_symlink || kind.is_symlink();
        let metadata = match std::fs::metadata(&absolute) {
            // A broken symlink whose name has another extension is no Problem.
            Err(_) if kind.is_symlink() && !has_our_extension => return Ok(()),
            other => other?,
        };
        if metadata.is_dir() {
            if position.depth >= MAX_DEPTH {
                return Err(ScanError::TooDeep);
            }
            if self.visited.insert(FolderId::from(&metadata)) {
                self.visit_folder(path, WalkPosition { depth: position.depth + 1, via_symlink });
            }
        } else if metadata.is_file() && has_our_extension {
            if self.scan.files.len() >= MAX_FILES {
                self.report_too_many_files(path);
                return Ok(());
            }
            let resolved = if via_symlink { Some(std::fs::canonicalize(&absolute)?) } else { None };
            self.scan.files.insert(path.to_owned(), FileStamp::new(&metadata, resolved));
        }
        Ok(())
    }

    /// Adds a Problem at the first file beyond the limit.
    fn report_too_many_files(&mut self, path: &Path) {
        if !self.has_too_many_files {
            self.has_too_many_files = true;
            let reason = ScanError::TooManyFiles.to_string();
            self.scan.problems.push(file_problem(path, None, &reason));
        }
    }
}

fn has_our_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

// ===== reading =====

/// The result of reading a file.
#[derive(Debug)]
pub(super) enum FileRead {
    /// The text, without a byte order mark.
    Text(String),
    /// The file changed since it was stamped.
    Changed,
    /// The file cannot be read.
    Failed(ScanError),
}

/// Reads a file whose stamp has not changed.
pub(super) fn read(path: &Path, stamp: &FileStamp) -> FileRead {
    match read_bytes(path, stamp) {
        Ok(None) => FileRead::Changed,
        Ok(Some(bytes)) => decode(bytes),
        // Removed since the scan. The next scan handles it.
        Err(error) if error.is_not_found() => FileRead::Changed,
        Err(error) => FileRead::Failed(error),
    }
}

fn decode(bytes: Vec<u8>) -> FileRead {
    match String::from_utf8(bytes) {
        Ok(text) => FileRead::Text(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
            let line = (1..)
                .zip(valid.filter(|byte| **byte == b'\n'))
                .last()
                .map_or(1, |(newlines, _)| newlines + 1);
            FileRead::Failed(ScanError::NotUtf8 { line })
        }
    }
}

/// Returns `None` if the file is not the one with this stamp.
fn read_bytes(path: &Path, stamp: &FileStamp) -> Result<Option<Vec<u8>>, ScanError> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    let is_unchanged = |file: &File| Ok::<_, io::Error>(stamp.matches(&file.metadata()?));
    if !file.metadata()?.is_file() || !is_unchanged(&file)? {
        return Ok(None);
    }
    if stamp.size > MAX_BYTES {
        return Err(ScanError::TooLarge);
    }
    let mut bytes = Vec::new();
    (&file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(ScanError::TooLarge);
    }
    Ok(is_unchanged(&file)?.then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        scan(root).files.keys().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_with_our_extensions_are_listed_in_path_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("b/..2024")).unwrap();
        for name in
            ["c.yaml", "b/z.yml", "b/a.json", "a.yaml", "notes.txt", ".hidden.yaml", "b/..2024/x.yaml"]
        {
            std::fs::write(root.join(name), "x").unwrap();
        }
        assert_eq!(names(root), ["a.yaml", "b/a.json", "b/z.yml", "c.yaml"]);
    }

    #[test]
    fn symlink_loops_end_and_dangling_symlinks_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a.yaml"), "x").unwrap();
        symlink(root, root.join("sub/up")).unwrap();
        symlink("sub", root.join("twin")).unwrap();
        symlink("nothing", root.join("dangling.yaml")).unwrap();
        symlink("self.yaml", root.join("self.yaml")).unwrap();
        let found = scan(root);
        assert_eq!(names(root), ["sub/a.yaml"]);
        assert_eq!(found.unreadable, [PathBuf::from("self.yaml")]);
        assert_eq!(found.problems.len(), 1);
    }

    #[test]
    fn sockets_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.yaml")).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn file_with_another_stamp_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "one").unwrap();
        let stamp = scan(folder.path()).files.remove(Path::new("a.yaml")).unwrap();
        assert!(matches!(read(&path, &stamp), FileRead::Text(text) if text == "one"));
        std::fs::write(&path, "longer").unwrap();
        assert!(matches!(read(&path, &stamp), FileRead::Changed));
    }

    #[test]
    fn invalid_utf8_is_reported_with_its_line() {
        let FileRead::Failed(error) = decode(b"a\nb\xff".to_vec()) else { panic!("it is not UTF-8") };
        assert_eq!((error.line(), error.to_string().as_str()), (Some(2), "not UTF-8"));
        assert!(matches!(decode(b"\xff".to_vec()), FileRead::Failed(ScanError::NotUtf8 { line: 1 })));
        assert!(matches!(decode(b"\xef\xbb\xbfa".to_vec()), FileRead::Text(text) if text == "a"));
    }

    #[test]
    fn file_beyond_the_size_limit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let stamp = scan(folder.path()).files.remove(Path::new("a.yaml")).unwrap();
        let FileRead::Failed(error) = read(&path, &stamp) else { panic!("it is too large") };
        assert_eq!((error.line(), error.to_string().as_str()), (None, "larger than 64 MiB"));
    }
}
