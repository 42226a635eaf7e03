//! The file source: a folder of Kubernetes YAML, watched, as one stream of [`Update`]s.
//!
//! Purpose: `gateway run --files DIR`. One thread of its own looks at the folder whenever the kernel reports
//! a change in it, and once a second besides, reads the files that are due (`settle`), and sends what became
//! different (`merge`). Not here: what the objects mean (`routing`), and anything from an API server.
//!
//! What counts as one change: a rename into place, a deletion, a symlink swap (all at once), and an edit in
//! place (when the file stood still for 50 ms). A file that cannot be read keeps its last good content.
//! Files whose name starts with a dot are not read: editors, rsync and kubelet's volumes (`..data`) use such
//! names for what is not meant to be seen yet, or to be seen twice.

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
mod read_schedule;
mod scan;
mod yaml;

// The configuration file is read by the same rules as the objects.
pub(crate) use self::node::{Node, Value};
pub(crate) use self::yaml::for_each_document;

/// How often the folder is looked at when nothing reports a change: network file systems report none.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);
/// How often a round starts over because something moved while it looked.
const MAX_SCAN_ATTEMPTS: usize = 3;
/// How many renames are remembered between two rounds; files beyond that wait for 50 ms of stillness.
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
        /// What the system said.
        source: io::Error,
    },
    /// The thread that watches could not be started.
    #[error("the thread that watches the folder could not be has_sent_first")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// Keeps a folder watched; watching ends when this is dropped, or when the receiver of its updates is.
#[derive(Debug)]
pub struct FolderWatcher {
    inbox: Arc<EventInbox>,
}

impl Drop for FolderWatcher {
    fn drop(&mut self) {
        self.inbox.pending().stopped = true;
        self.inbox.wake();
    }
}

/// Watches a folder and everything below it; the first update holds all that is there. These classes are ours whatever
/// their controller is.
///
/// Returns as soon as the folder is known to be readable; reading goes on in a thread. A full channel makes
/// that thread wait, and what happens meanwhile goes into one later update.
///
/// # Errors
/// The folder does not exist, cannot be read or is not a folder; or no thread could be started.
pub fn watch(
    folder: &Path,
    classes: &[String],
    updates: mpsc::Sender<Update>,
) -> Result<FolderWatcher, FilesError> {
    let unreadable = |source| FilesError::Unreadable { path: folder.to_owned(), source };
    // Events carry absolute paths, so the names that they are compared with have to be absolute too.
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
        watch: None,
        files: BTreeMap::new(),
        state: FolderState::new(classes),
        has_sent_first: false,
    };
    std::thread::Builder::new()
        .name("file-source".to_owned())
        .stack_size(yaml::STACK_BYTES)
        .spawn(move || source.run(&wake_rx))
        .map_err(|source| FilesError::Thread { source })?;
    Ok(FolderWatcher { inbox })
}

/// What other threads tell the one that watches.
#[derive(Debug)]
struct EventInbox {
    pending: Mutex<PendingEvents>,
    wake_tx: SyncSender<()>,
}

/// What happened since the last look.
#[derive(Debug, Default)]
struct PendingEvents {
    /// The handle is gone.
    stopped: bool,
    /// Something changed in the folder.
    changed: bool,
    /// Paths that something was renamed to.
    renamed: BTreeSet<PathBuf>,
}

impl EventInbox {
    fn pending(&self) -> MutexGuard<'_, PendingEvents> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A full channel means that a wake-up is under way already; a closed one that the thread has ended.
        let _ = self.wake_tx.try_send(());
    }

    fn on_event(&self, event: notify::Result<notify::Event>) {
        let mut pending = self.pending();
        match event {
            // Our own reading causes these.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) => {
                let whole = matches!(
                    event.kind,
                    EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
                );
                // With `Both` the last path is the new name.
                let target = event.paths.into_iter().next_back().filter(|_| whole);
                if pending.renamed.len() < MAX_RENAMES {
                    pending.renamed.extend(target);
                }
            }
            Err(error) => tracing::debug!(%error, "file event lost; the folder is looked at again"),
        }
        pending.changed = true;
        drop(pending);
        self.wake();
    }
}

/// The watching thread's state.
struct FolderSource {
    /// Absolute, but not resolved: a symlink here may be swapped.
    root: PathBuf,
    updates: mpsc::Sender<Update>,
    inbox: Arc<EventInbox>,
    /// The kernel's watch and the folder that it stands on; absent when it could not be set up.
    watch: Option<(FolderId, notify::RecommendedWatcher)>,
    /// By path relative to the root.
    files: BTreeMap<PathBuf, ReadSchedule>,
    state: FolderState,
    /// Whether the first update was sent.
    has_sent_first: bool,
}

impl FolderSource {
    fn run(mut self, wake_rx: &Receiver<()>) {
        loop {
            let began = Instant::now();
            let update = self.poll();
            if let Some(update) = update
                && self.updates.blocking_send(update).is_err()
            {
                return;
            }
            self.has_sent_first = true;
            let now = Instant::now();
            let due = self.files.values().filter_map(ReadSchedule::next_read_at).min();
            let next = due.map_or(now + RESCAN_INTERVAL, |due| due.min(now + RESCAN_INTERVAL));
            // Looking never takes more than a fifth of one core, however busy the folder is.
            let earliest = now + 4 * now.duration_since(began);
            if !self.wait(wake_rx, earliest, next.max(earliest)) {
                return;
            }
        }
    }

    /// Waits until `next`, or until a change is reported, but at least until `rested`. Returns false at the end.
    fn wait(&self, wake_rx: &Receiver<()>, earliest: Instant, next: Instant) -> bool {
        loop {
            let (is_over, changed) = {
                let pending = self.inbox.pending();
                (pending.stopped || self.updates.is_closed(), pending.changed)
            };
            let until = if changed { earliest } else { next };
            let remaining = until.saturating_duration_since(Instant::now());
            if is_over || remaining.is_zero() {
                return !is_over;
            }
            if wake_rx.recv_timeout(remaining) == Err(RecvTimeoutError::Disconnected) {
                return false;
            }
        }
    }

    /// Looks at the folder and reads what is due.
    fn poll(&mut self) -> Option<Update> {
        let mut renamed = BTreeSet::new();
        for _ in 0..MAX_SCAN_ATTEMPTS {
            self.ensure_watch();
            {
                let mut pending = self.inbox.pending();
                pending.changed = false;
                renamed.append(&mut pending.renamed);
            }
            let is_consistent = self.rescan(&renamed) && self.read_due();
            // What moved meanwhile may belong to the change that was seen in part: a swapped symlink moves
            // many files at one moment, but they are looked at one after the other.
            if is_consistent && !self.inbox.pending().changed {
                break;
            }
        }
        self.state.take_update()
    }

    /// Sets up the kernel's watch, again when another folder stands at our path.
    fn ensure_watch(&mut self) {
        let Some(identity) = FolderId::at_path(&self.root) else { return };
        if self.watch.as_ref().is_some_and(|(watched, _)| *watched == identity) {
            return;
        }
        let inbox = Arc::clone(&self.inbox);
        let watch =
            notify::recommended_watcher(move |event| inbox.on_event(event)).and_then(|mut watcher| {
                watcher.watch(&self.root, RecursiveMode::Recursive)?;
                Ok(watcher)
            });
        match watch {
            Ok(watcher) => self.watch = Some((identity, watcher)),
            Err(error) => {
                if !self.has_sent_first {
                    tracing::warn!(folder = %self.root.display(), %error, "no file events; looking every second");
                }
                self.watch = None;
            }
        }
    }

    /// Compares the folder with what is known of it. Returns false when it has to be done again.
    fn rescan(&mut self, renamed: &BTreeSet<PathBuf>) -> bool {
        let FolderScan { files, problems, unreadable, is_root_missing } = scan::scan(&self.root);
        self.state.set_folder_problems(problems);
        if is_root_missing {
            return true; // The folder's own Problem says so, and its last content stays.
        }
        let now = Instant::now();
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| {
                !files.contains_key(*path) && !unreadable.iter().any(|lost| path.starts_with(lost))
            })
            .cloned()
            .collect();
        for path in gone {
            self.files.remove(&path);
            self.state.remove(&path);
        }
        for (path, stamp) in files {
            let by_rename = self.root.join(&path).ancestors().any(|ancestor| renamed.contains(ancestor));
            let kind = if by_rename || !self.has_sent_first { WriteKind::Atomic } else { WriteKind::InPlace };
            match self.files.get_mut(&path) {
                Some(schedule) => schedule.on_stamp(stamp, kind, now),
                None => {
                    self.files.insert(path, ReadSchedule::new(stamp, kind, now));
                }
            }
        }
        true
    }

    /// Reads the files that are due. Returns false when one of them changed under our hands.
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
                }
                FileRead::Unreadable { line, reason } => {
                    self.state.set_failures(path, vec![document::file_problem(path, line, &reason)]);
                    schedule.mark_read(now, SystemTime::now());
                }
                FileRead::Text(text) if text.trim().is_empty() => {
                    if self.state.has_objects(path) && schedule.defer_if_recent(now) {
                        continue;
                    }
                    self.state.set_content(path, document::ParsedFile::default());
                    schedule.mark_read(now, SystemTime::now());
                }
                FileRead::Text(text) => {
                    match document::parse(path, &text) {
                        Ok(content) => self.state.set_content(path, content),
                        Err(failure) => self.state.reject(path, failure),
                    }
                    schedule.mark_read(now, SystemTime::now());
                }
            }
        }
        is_consistent
    }
}
