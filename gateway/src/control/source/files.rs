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

use self::merge::Merge;
use self::scan::{Contents, Identity, Scan};
use self::settle::{Arrival, Tracked};
use super::Update;

mod document;
mod merge;
mod node;
mod scan;
mod settle;
mod yaml;

// The configuration file is read by the same rules as the objects.
pub(crate) use self::node::{Node, Value};
pub(crate) use self::yaml::documents;

/// How often the folder is looked at when nothing reports a change: network file systems report none.
const RESCAN: Duration = Duration::from_secs(1);
/// How often a round starts over because something moved while it looked.
const ATTEMPTS: usize = 3;
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
    #[error("the thread that watches the folder could not be started")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// Keeps a folder watched; watching ends when this is dropped, or when the receiver of its updates is.
#[derive(Debug)]
pub struct Watcher {
    signals: Arc<Signals>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.signals.pending().stopped = true;
        self.signals.wake();
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
) -> Result<Watcher, FilesError> {
    let unreadable = |source| FilesError::Unreadable { path: folder.to_owned(), source };
    // Events carry absolute paths, so the names that they are compared with have to be absolute too.
    let root = std::path::absolute(folder).map_err(unreadable)?;
    if !std::fs::metadata(&root).map_err(unreadable)?.is_dir() {
        return Err(FilesError::NotAFolder { path: folder.to_owned() });
    }
    std::fs::read_dir(&root).map_err(unreadable)?;
    let (wakeups, woken) = sync_channel(1);
    let signals = Arc::new(Signals { pending: Mutex::default(), wakeups });
    let source = Source {
        root,
        updates,
        signals: Arc::clone(&signals),
        watching: None,
        files: BTreeMap::new(),
        merge: Merge::new(classes),
        started: false,
    };
    std::thread::Builder::new()
        .name("file-source".to_owned())
        .stack_size(yaml::STACK_BYTES)
        .spawn(move || source.run(&woken))
        .map_err(|source| FilesError::Thread { source })?;
    Ok(Watcher { signals })
}

/// What other threads tell the one that watches.
#[derive(Debug)]
struct Signals {
    pending: Mutex<Pending>,
    wakeups: SyncSender<()>,
}

/// What happened since the last look.
#[derive(Debug, Default)]
struct Pending {
    /// The handle is gone.
    stopped: bool,
    /// Something changed in the folder.
    changed: bool,
    /// Paths that something was renamed to.
    renamed: BTreeSet<PathBuf>,
}

impl Signals {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A full channel means that a wake-up is under way already; a closed one that the thread has ended.
        let _ = self.wakeups.try_send(());
    }

    fn note(&self, event: notify::Result<notify::Event>) {
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
struct Source {
    /// Absolute, but not resolved: a symlink here may be swapped.
    root: PathBuf,
    updates: mpsc::Sender<Update>,
    signals: Arc<Signals>,
    /// The kernel's watch and the folder that it stands on; absent when it could not be set up.
    watching: Option<(Identity, notify::RecommendedWatcher)>,
    /// By path relative to the root.
    files: BTreeMap<PathBuf, Tracked>,
    merge: Merge,
    /// Whether the first update was sent.
    started: bool,
}

impl Source {
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            let began = Instant::now();
            let update = self.round();
            if let Some(update) = update
                && self.updates.blocking_send(update).is_err()
            {
                return;
            }
            self.started = true;
            let now = Instant::now();
            let due = self.files.values().filter_map(Tracked::due).min();
            let next = due.map_or(now + RESCAN, |due| due.min(now + RESCAN));
            // Looking never takes more than a fifth of one core, however busy the folder is.
            let rested = now + 4 * now.duration_since(began);
            if !self.wait(woken, rested, next.max(rested)) {
                return;
            }
        }
    }

    /// Waits until `next`, or until a change is reported, but at least until `rested`. Returns false at the end.
    fn wait(&self, woken: &Receiver<()>, rested: Instant, next: Instant) -> bool {
        loop {
            let (over, changed) = {
                let pending = self.signals.pending();
                (pending.stopped || self.updates.is_closed(), pending.changed)
            };
            let until = if changed { rested } else { next };
            let left = until.saturating_duration_since(Instant::now());
            if over || left.is_zero() {
                return !over;
            }
            if woken.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
                return false;
            }
        }
    }

    /// Looks at the folder and reads what is due.
    fn round(&mut self) -> Option<Update> {
        let mut renamed = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            self.rewatch();
            {
                let mut pending = self.signals.pending();
                pending.changed = false;
                renamed.append(&mut pending.renamed);
            }
            let whole = self.look(&renamed) && self.read_due();
            // What moved meanwhile may belong to the change that was seen in part: a swapped symlink moves
            // many files at one moment, but they are looked at one after the other.
            if whole && !self.signals.pending().changed {
                break;
            }
        }
        self.merge.update()
    }

    /// Sets up the kernel's watch, again when another folder stands at our path.
    fn rewatch(&mut self) {
        let Some(identity) = Identity::of(&self.root) else { return };
        if self.watching.as_ref().is_some_and(|(watched, _)| *watched == identity) {
            return;
        }
        let signals = Arc::clone(&self.signals);
        let watching =
            notify::recommended_watcher(move |event| signals.note(event)).and_then(|mut watcher| {
                watcher.watch(&self.root, RecursiveMode::Recursive)?;
                Ok(watcher)
            });
        match watching {
            Ok(watcher) => self.watching = Some((identity, watcher)),
            Err(error) => {
                if !self.started {
                    tracing::warn!(folder = %self.root.display(), %error, "no file events; looking every second");
                }
                self.watching = None;
            }
        }
    }

    /// Compares the folder with what is known of it. Returns false when it has to be done again.
    fn look(&mut self, renamed: &BTreeSet<PathBuf>) -> bool {
        let Scan { files, problems, unreadable, root_missing } = scan::scan(&self.root);
        self.merge.set_folder_problems(problems);
        if root_missing {
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
            self.merge.remove(&path);
        }
        for (path, stamp) in files {
            let by_rename = self.root.join(&path).ancestors().any(|ancestor| renamed.contains(ancestor));
            let arrival = if by_rename || !self.started { Arrival::Whole } else { Arrival::Gradual };
            match self.files.get_mut(&path) {
                Some(tracked) => tracked.see(stamp, arrival, now),
                None => {
                    self.files.insert(path, Tracked::new(stamp, arrival, now));
                }
            }
        }
        true
    }

    /// Reads the files that are due. Returns false when one of them changed under our hands.
    fn read_due(&mut self) -> bool {
        let mut whole = true;
        for (path, tracked) in &mut self.files {
            let now = Instant::now();
            if tracked.due().is_none_or(|due| due > now) {
                continue;
            }
            match scan::read(&self.root.join(path), tracked.stamp()) {
                Contents::Changed => {
                    whole = false;
                    tracked.postpone(now);
                }
                Contents::Unreadable { line, reason } => {
                    self.merge.fail(path, vec![document::file_problem(path, line, &reason)]);
                    tracked.was_read(now, SystemTime::now());
                }
                Contents::Text(text) if text.trim().is_empty() => {
                    if self.merge.holds(path) && tracked.waits_for_content(now) {
                        continue;
                    }
                    self.merge.set(path, document::Content::default());
                    tracked.was_read(now, SystemTime::now());
                }
                Contents::Text(text) => {
                    match document::read(path, &text) {
                        Ok(content) => self.merge.set(path, content),
                        Err(failure) => self.merge.refuse(path, failure),
                    }
                    tracked.was_read(now, SystemTime::now());
                }
            }
        }
        whole
    }
}
