//! A folder of Kubernetes YAML as a source of objects, for `gateway run --files DIR`.
//!
//! A thread scans the folder when the kernel reports a change in it, and once a second. It reads the files that are due
//! (`read_schedule`) and sends the differences (`folder_state`). Not here: what objects mean (`routing`), and API
//! servers (`kube`).
//!
//! One change is a rename into place, a deletion, a symlink swap (all files at once), or an edit in place (once the
//! file was unchanged for 50 ms). A file that cannot be read keeps its last valid content. Files whose name starts with
//! a dot are skipped: editors, rsync and kubelet's volumes (`..data`) use such names for temporary or duplicate files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use self::folder_state::FolderState;
use self::read_schedule::{ReadSchedule, WriteKind};
use self::scan::{FileRead, FolderId, FolderScan};
use super::Update;

mod document;
mod folder_state;
mod node;
mod path_pattern;
mod read_schedule;
mod scan;
mod yaml;

// The configuration file is parsed by the same rules as the objects.
pub(crate) use self::node::{Node, Value};
pub use self::path_pattern::PathPattern;
pub(crate) use self::yaml::for_each_document;

/// Interval between scans without a reported change. Network file systems report no changes.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum scans in a row if the folder changes during each of them.
const MAX_SCAN_ATTEMPTS: usize = 3;
/// Maximum renames that are remembered between two scans. Further files are read after they were unchanged for 50 ms.
const MAX_RENAMES: usize = 10_000;

/// Why a folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The path exists but is not a folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// The folder does not exist or cannot be read.
    #[error("folder {} cannot be read", path.display())]
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The thread that watches cannot be started.
    #[error("the thread that watches the folder cannot be started")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}

/// Keeps a folder watched until it is dropped, or until the receiver of the updates is closed.
#[derive(Debug)]
pub struct FolderWatcher {
    inbox: Arc<EventInbox>,
}

impl Drop for FolderWatcher {
    fn drop(&mut self) {
        self.inbox.pending().is_stopped = true;
        self.inbox.wake();
    }
}

/// Watches a folder and all folders below it. The first update contains all objects.
///
/// Classes named in `classes` are ours whatever their controller is. Returns once the folder is known to be readable;
/// a thread reads the files. While the channel is full the thread waits, and changes are coalesced into one update.
///
/// # Errors
/// Returns [`FilesError::Unreadable`] or [`FilesError::NotAFolder`] for the path, and [`FilesError::Thread`] if no
/// thread can be started.
pub fn watch(
    folder: &Path,
    classes: &[String],
    updates: mpsc::Sender<Update>,
) -> Result<FolderWatcher, FilesError> {
    watch_except(folder, classes, &[], updates)
}

/// Watches a folder as [`watch`] does, without the files that a pattern matches.
///
/// # Errors
/// As [`watch`].
pub fn watch_except(
    folder: &Path,
    classes: &[String],
    exclude: &[PathPattern],
    updates: mpsc::Sender<Update>,
) -> Result<FolderWatcher, FilesError> {
    let unreadable = |source| FilesError::Unreadable { path: folder.to_owned(), source };
    // Events carry absolute paths, which are compared with paths below this one.
    let root = std::path::absolute(folder).map_err(unreadable)?;
    if !std::fs::metadata(&root).map_err(unreadable)?.is_dir() {
        return Err(FilesError::NotAFolder { path: folder.to_owned() });
    }
    std::fs::read_dir(&root).map_err(unreadable)?;
    let (wake_tx, wake_rx) = sync_channel(1);
    let inbox = Arc::new(EventInbox { pending: Mutex::default(), wake_tx });
    let source = FolderSource {
        root,
        updates,
        inbox: Arc::clone(&inbox),
        kernel_watch: None,
        files: BTreeMap::new(),
        state: FolderState::new(classes),
        exclude: exclude.to_vec(),
        has_sent_first: false,
    };
    std::thread::Builder::new()
        .name("file-source".to_owned())
        .stack_size(yaml::STACK_BYTES)
        .spawn(move || source.run(&wake_rx))
        .map_err(|source| FilesError::Thread { source })?;
    Ok(FolderWatcher { inbox })
}

/// Returns the objects of one text, as the first update of a folder with one file. `name` is the file's name in Problems.
///
/// # Errors
/// Returns [`FilesError::Thread`] if no thread can be started.
pub fn parse_text(name: &str, text: String, classes: &[String]) -> Result<Update, FilesError> {
    let (name, mut state) = (PathBuf::from(name), FolderState::new(classes));
    let parse = move || {
        match document::parse(Path::new("/"), &name, &text) {
            Ok(content) => state.set_content(&name, content),
            Err(failure) => state.reject(&name, failure),
        }
        state.take_update().unwrap_or_default()
    };
    let builder = std::thread::Builder::new().stack_size(yaml::STACK_BYTES);
    let thread = builder.spawn(parse).map_err(|source| FilesError::Thread { source })?;
    Ok(thread.join().unwrap_or_default())
}

// ===== events from other threads =====

/// Events that wait for the watching thread, and the channel that wakes it.
#[derive(Debug)]
struct EventInbox {
    pending: Mutex<PendingEvents>,
    wake_tx: SyncSender<()>,
}

/// The events since the last scan.
#[derive(Debug, Default)]
struct PendingEvents {
    /// Whether the [`FolderWatcher`] was dropped.
    is_stopped: bool,
    /// Whether the kernel reported a change in the folder.
    has_changes: bool,
    /// The new names of renamed files and folders.
    renamed: BTreeSet<PathBuf>,
}

impl EventInbox {
    fn pending(&self) -> MutexGuard<'_, PendingEvents> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A full channel has a wake-up in it already. A closed one means that the thread has ended.
        let _ = self.wake_tx.try_send(());
    }

    fn on_event(&self, event: notify::Result<notify::Event>) {
        let mut pending = self.pending();
        match event {
            // Scans cause access events.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) => {
                let is_rename = matches!(
                    event.kind,
                    EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
                );
                // With `Both` the last path is the new name.
                let new_name = event.paths.into_iter().next_back().filter(|_| is_rename);
                if pending.renamed.len() < MAX_RENAMES {
                    pending.renamed.extend(new_name);
                }
            }
            Err(error) => tracing::debug!(%error, "file event lost; the folder is scanned again"),
        }
        pending.has_changes = true;
        drop(pending);
        self.wake();
    }
}

// ===== the watching thread =====

/// The state of the watching thread.
struct FolderSource {
    /// Absolute, with symlinks unresolved: a symlink in it may be swapped.
    root: PathBuf,
    updates: mpsc::Sender<Update>,
    inbox: Arc<EventInbox>,
    /// `None` if the kernel reports no events for the folder.
    kernel_watch: Option<KernelWatch>,
    /// By path relative to the root.
    files: BTreeMap<PathBuf, ReadSchedule>,
    state: FolderState,
    exclude: Vec<PathPattern>,
    has_sent_first: bool,
}

/// A registration for the kernel's file events.
struct KernelWatch {
    /// The folder that is watched. Another folder may have been moved to its path since.
    folder: FolderId,
    /// Ends the registration when dropped.
    _watcher: notify::RecommendedWatcher,
}

impl FolderSource {
    fn run(mut self, wake_rx: &Receiver<()>) {
        loop {
            let started_at = Instant::now();
            let update = self.poll();
            if let Some(update) = update
                && self.updates.blocking_send(update).is_err()
            {
                return;
            }
            self.has_sent_first = true;
            let now = Instant::now();
            let due = self.files.values().filter_map(ReadSchedule::next_read_at).min();
            let latest = due.map_or(now + RESCAN_INTERVAL, |due| due.min(now + RESCAN_INTERVAL));
            // Limits scans to a fifth of one core, however often the folder changes.
            let earliest = now + 4 * now.duration_since(started_at);
            if !self.wait(wake_rx, earliest, latest.max(earliest)) {
                return;
            }
        }
    }

    /// Waits until `latest`, or for a reported change, but at least until `earliest`. Returns false if the thread must
    /// end.
    fn wait(&self, wake_rx: &Receiver<()>, earliest: Instant, latest: Instant) -> bool {
        loop {
            let (is_stopped, has_changes) = {
                let pending = self.inbox.pending();
                (pending.is_stopped || self.updates.is_closed(), pending.has_changes)
            };
            let until = if has_changes { earliest } else { latest };
            let remaining = until.saturating_duration_since(Instant::now());
            if is_stopped || remaining.is_zero() {
                return !is_stopped;
            }
            if wake_rx.recv_timeout(remaining) == Err(RecvTimeoutError::Disconnected) {
                return false;
            }
        }
    }

    /// Scans the folder, reads the files that are due, and returns the differences.
    fn poll(&mut self) -> Option<Update> {
        let mut renamed = BTreeSet::new();
        for _ in 0..MAX_SCAN_ATTEMPTS {
            self.ensure_kernel_watch();
            {
                let mut pending = self.inbox.pending();
                pending.has_changes = false;
                renamed.append(&mut pending.renamed);
            }
            self.rescan(&renamed);
            let is_consistent = self.read_due();
            // A symlink swap changes many files at one moment, but they are scanned one by one. If a change was
            // reported meanwhile, this scan may have seen a part of it.
            if is_consistent && !self.inbox.pending().has_changes {
                break;
            }
        }
        self.state.take_update()
    }

    /// Registers for the kernel's events, again if another folder was moved to the path.
    fn ensure_kernel_watch(&mut self) {
        let Some(folder) = FolderId::at_path(&self.root) else { return };
        if self.kernel_watch.as_ref().is_some_and(|watch| watch.folder == folder) {
            return;
        }
        let inbox = Arc::clone(&self.inbox);
        let watcher =
            notify::recommended_watcher(move |event| inbox.on_event(event)).and_then(|mut watcher| {
                watcher.watch(&self.root, RecursiveMode::Recursive)?;
                Ok(watcher)
            });
        match watcher {
            Ok(watcher) => self.kernel_watch = Some(KernelWatch { folder, _watcher: watcher }),
            Err(error) => {
                if !self.has_sent_first {
                    tracing::warn!(folder = %self.root.display(), %error, "no file events; the folder is scanned every second");
                }
                self.kernel_watch = None;
            }
        }
    }

    /// Compares the folder with the known files, and schedules reads of new and changed ones.
    fn rescan(&mut self, renamed: &BTreeSet<PathBuf>) {
        let FolderScan { mut files, problems, unreadable, is_root_missing } = scan::scan(&self.root);
        files.retain(|path, _| !self.exclude.iter().any(|pattern| pattern.matches(path)));
        self.state.set_folder_problems(problems);
        if is_root_missing {
            return; // A Problem reports it, and the last content is kept.
        }
        let now = Instant::now();
        let is_unreadable = |path: &Path| unreadable.iter().any(|prefix| path.starts_with(prefix));
        let removed: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !files.contains_key(*path) && !is_unreadable(path))
            .cloned()
            .collect();
        for path in removed {
            self.files.remove(&path);
            self.state.remove(&path);
        }
        for (path, stamp) in files {
            let is_renamed = self.root.join(&path).ancestors().any(|ancestor| renamed.contains(ancestor));
            let kind =
                if is_renamed || !self.has_sent_first { WriteKind::Atomic } else { WriteKind::InPlace };
            match self.files.get_mut(&path) {
                Some(schedule) => schedule.on_stamp(stamp, kind, now),
                None => {
                    self.files.insert(path, ReadSchedule::new(stamp, kind, now));
                }
            }
        }
    }

    /// Reads the files that are due. Returns false if one of them changed meanwhile.
    fn read_due(&mut self) -> bool {
        let mut is_consistent = true;
        for (path, schedule) in &mut self.files {
            let now = Instant::now();
            if schedule.next_read_at().is_none_or(|due| due > now) {
                continue;
            }
            match scan::read(&self.root.join(path), schedule.stamp()) {
                FileRead::Changed => {
                    is_consistent = false;
                    schedule.postpone(now);
                    continue;
                }
                FileRead::Failed(error) => {
                    let problem = document::file_problem(path, error.line(), &error.to_string());
                    self.state.set_failures(path, vec![problem]);
                }
                FileRead::Text(text) if text.trim().is_empty() => {
                    if self.state.has_objects(path) && schedule.defer_if_recent(now) {
                        continue;
                    }
                    self.state.set_content(path, document::ParsedFile::default());
                }
                FileRead::Text(text) => match document::parse(&self.root, path, &text) {
                    Ok(content) => self.state.set_content(path, content),
                    Err(failure) => self.state.reject(path, failure),
                },
            }
            schedule.mark_read(now, SystemTime::now());
        }
        is_consistent
    }
}
