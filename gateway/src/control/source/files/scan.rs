//! Looks at a folder: which files there are and how they look from outside; and reads one of them.
//!
//! Purpose: all of the source's file I/O. Only regular files are opened; FIFOs, sockets and devices are passed
//! over, folders are walked once each (which also ends symlink loops). Not here: what the files say.

use std::collections::{BTreeMap, HashSet};
use std::fs::{DirEntry, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::document::file_problem;
use crate::control::source::location::LocatedProblem;

/// The largest file that is read: 64 MiB hold about 100,000 Ingresses.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The most files that are looked at in one folder.
const MAX_FILES: usize = 100_000;
/// The most folders inside each other.
const MAX_DEPTH: usize = 32;
/// Opening a FIFO that replaced a file since we looked would wait for a writer. The number is the same on all
/// Linux architectures that Rust's standard library calls tier 1.
#[cfg(target_os = "linux")]
const O_NONBLOCK: i32 = 0o4000;
#[cfg(not(target_os = "linux"))]
const O_NONBLOCK: i32 = 0;

/// How a file looks from outside; another stamp means another content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    /// The device that holds it.
    pub(super) device: u64,
    /// Its number on that device.
    pub(super) inode: u64,
    /// Its size in bytes.
    pub(super) size: u64,
    /// When its content was last written.
    pub(super) modified: SystemTime,
    /// When its content or its inode last changed: seconds and nanoseconds. Programs cannot set it back.
    pub(super) changed: (i64, i64),
    /// Where it really stands if a symlink leads to it.
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

/// Which folder stands at a path: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FolderId(u64, u64);

impl FolderId {
    /// Says which folder stands there now, if any.
    pub(super) fn at_path(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().filter(Metadata::is_dir).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FolderId {
    fn from(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// What a folder holds at one moment.
#[derive(Debug, Default)]
pub(super) struct FolderScan {
    /// The files to read, by path relative to the folder.
    pub(super) files: BTreeMap<PathBuf, FileStamp>,
    /// What could not be looked at, and why.
    pub(super) problems: Vec<LocatedProblem>,
    /// Paths that could not be looked at: whatever was known at or below them stays.
    pub(super) unreadable: Vec<PathBuf>,
    /// The folder itself is not there.
    pub(super) is_root_missing: bool,
}

/// Looks at all files below a folder, in path order.
pub(super) fn scan(root: &Path) -> FolderScan {
    let mut scan = FolderScan::default();
    let Ok(metadata) = std::fs::metadata(root) else {
        scan.is_root_missing = true;
        scan.skip(Path::new("."), "the folder is gone; its last content is kept");
        return scan;
    };
    let mut walk =
        FolderWalk { root, visited: HashSet::from([FolderId::from(&metadata)]), has_overflowed: false, scan };
    walk.visit_folder(Path::new(""), WalkPosition { depth: 0, via_symlink: false });
    walk.scan
}

/// What reading a file gave.
#[derive(Debug)]
pub(super) enum FileRead {
    /// The text, without a byte order mark.
    Text(String),
    /// It changed since it was stamped.
    Changed,
    /// It cannot be read.
    Unreadable {
        /// Where, from 1, if it is a matter of one line.
        line: Option<u64>,
        /// Why.
        reason: String,
    },
}

/// Reads one file, if it still is what the stamp says.
pub(super) fn read(path: &Path, stamp: &FileStamp) -> FileRead {
    match read_bytes(path, stamp) {
        Ok(None) => FileRead::Changed,
        Ok(Some(bytes)) => decode(bytes),
        // Gone since the folder was looked at: the next look sees that.
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileRead::Changed,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let reason = format!("larger than {} MiB", MAX_BYTES / 1024 / 1024);
            FileRead::Unreadable { line: None, reason }
        }
        Err(error) => FileRead::Unreadable { line: None, reason: error.to_string() },
    }
}

fn decode(bytes: Vec<u8>) -> FileRead {
    match String::from_utf8(bytes) {
        Ok(text) => FileRead::Text(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
            let line = u64::try_from(before).ok().map(|before| before + 1);
            FileRead::Unreadable { line, reason: "not UTF-8".to_owned() }
        }
    }
}

fn read_bytes(path: &Path, stamp: &FileStamp) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    let unchanged = |file: &File| Ok::<_, io::Error>(stamp.matches(&file.metadata()?));
    if !file.metadata()?.is_file() || !unchanged(&file)? {
        return Ok(None);
    }
    if stamp.size > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    (&file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(unchanged(&file)?.then_some(bytes))
}

impl FolderScan {
    fn skip(&mut self, path: &Path, reason: &str) {
        self.problems.push(file_problem(path, None, reason));
        self.unreadable.push(path.to_owned());
    }
}

/// Where a walk stands.
#[derive(Clone, Copy)]
struct WalkPosition {
    depth: usize,
    /// Whether a symlink was followed on the way.
    via_symlink: bool,
}

struct FolderWalk<'a> {
    root: &'a Path,
    visited: HashSet<FolderId>,
    /// Whether a file was passed over because there are too many.
    has_overflowed: bool,
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
            Err(error) => return self.scan.skip(folder, &error.to_string()),
        };
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(entry.file_name());
            if let Err(error) = self.visit_entry(&entry, path.clone(), position)
                // A symlink to nothing is the same as no file; so is what vanished since the folder was read.
                && error.kind() != io::ErrorKind::NotFound
            {
                self.scan.skip(&path, &error.to_string());
            }
        }
    }

    /// Says once that there are too many files, at the first one that is passed over.
    fn report_overflow(&mut self, path: &Path) {
        if !self.has_overflowed {
            self.has_overflowed = true;
            let reason = "more than 100,000 files; this one and those after it are not read";
            self.scan.problems.push(file_problem(path, None, reason));
        }
    }

    fn visit_entry(&mut self, entry: &DirEntry, path: PathBuf, position: WalkPosition) -> io::Result<()> {
        let absolute = entry.path();
        let kind = entry.file_type()?;
        let has_extension = has_our_extension(&path);
        // What is neither of these is not even looked at more closely.
        let is_candidate = kind.is_dir() || kind.is_symlink() || (kind.is_file() && has_extension);
        if !is_candidate {
            return Ok(());
        }
        let via_symlink = position.via_symlink || kind.is_symlink();
        let metadata = match std::fs::metadata(&absolute) {
            // A broken link under a name that we would not read is nobody's problem.
            Err(_) if kind.is_symlink() && !has_extension => return Ok(()),
            other => other?,
        };
        if metadata.is_dir() {
            if position.depth >= MAX_DEPTH {
                self.scan.skip(&path, "more than 32 folders inside each other");
            } else if self.visited.insert(FolderId::from(&metadata)) {
                self.visit_folder(&path, WalkPosition { depth: position.depth + 1, via_symlink });
            }
        } else if metadata.is_file() && has_extension {
            if self.scan.files.len() >= MAX_FILES {
                self.report_overflow(&path);
                return Ok(());
            }
            let resolved = if via_symlink { Some(std::fs::canonicalize(&absolute)?) } else { None };
            self.scan.files.insert(path, FileStamp::new(&metadata, resolved));
        }
        Ok(())
    }
}

fn has_our_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        scan(root).files.keys().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_come_in_path_order_and_only_ours() {
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
    fn symlink_loops_end_and_dangling_links_are_no_files() {
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
    fn sockets_and_fifos_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.yaml")).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_file_that_is_not_its_stamp_any_more_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "one").unwrap();
        let stamp = scan(folder.path()).files.remove(Path::new("a.yaml")).unwrap();
        assert!(matches!(read(&path, &stamp), FileRead::Text(text) if text == "one"));
        std::fs::write(&path, "longer").unwrap();
        assert!(matches!(read(&path, &stamp), FileRead::Changed));
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_line() {
        assert!(
            matches!(decode(b"a\nb\xff".to_vec()), FileRead::Unreadable { line: Some(2), reason } if reason == "not UTF-8")
        );
        assert!(matches!(decode(b"\xef\xbb\xbfa".to_vec()), FileRead::Text(text) if text == "a"));
    }

    #[test]
    fn a_file_beyond_the_limit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let stamp = scan(folder.path()).files.remove(Path::new("a.yaml")).unwrap();
        assert!(
            matches!(read(&path, &stamp), FileRead::Unreadable { line: None, reason } if reason == "larger than 64 MiB")
        );
    }
}
