//! The thread that writes batches to standard output or a file.
//!
//! A thread and not a task: the reader of standard output may stop reading, and a blocked write must block neither the
//! control runtime nor the end of the process. The thread is never joined; [`WriterThread`] waits at most 500 ms for it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Destination, LogSettings, LogSink};

/// Maximum batches in the channel, about 4 MiB at 16 KiB each. Further batches are dropped.
const MAX_QUEUED_BATCHES: usize = 256;

/// Interval at which the writer checks whether its file was renamed.
const REOPEN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time for writing the last batches when the process ends.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Entries that are sent to the writer together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Complete lines.
    pub(super) text: Vec<u8>,
    /// Number of entries in `text`.
    pub(super) entries: u64,
}

/// The running writer. Dropping it waits until all batches are written, at most 500 ms. Drop it after the workers, since
/// their handles keep the channel open.
#[derive(Debug)]
pub struct WriterThread {
    dropped: Arc<AtomicU64>,
    /// Whether the file must be opened again.
    reopen: Arc<AtomicBool>,
    /// Disconnected when the writer has ended. The mutex only makes the type `Sync`; it is never contended.
    ended: Mutex<Receiver<()>>,
}

/// Opens the destination and starts the writer. Returns `None` for [`Destination::Off`].
///
/// # Errors
/// The file cannot be opened, or the thread cannot be started.
pub fn start(settings: &LogSettings) -> io::Result<Option<(LogSink, WriterThread)>> {
    let Some(output) = Output::open(&settings.destination)? else { return Ok(None) };
    let (batches, waiting) = mpsc::sync_channel(MAX_QUEUED_BATCHES);
    let (presence, ended) = mpsc::sync_channel(0);
    let dropped = Arc::new(AtomicU64::new(0));
    let reopen = Arc::<AtomicBool>::default();
    let (lost, requested) = (Arc::clone(&dropped), Arc::clone(&reopen));
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        output.run(&waiting, &lost, &requested);
        drop(presence);
    })?;
    let sink = LogSink { batches, dropped: Arc::clone(&dropped), settings: Arc::new(settings.clone()) };
    Ok(Some((sink, WriterThread { dropped, reopen, ended: Mutex::new(ended) })))
}

/// Reads the access log in this process, in place of a file.
#[derive(Debug)]
pub struct LogReader(Receiver<Batch>);

/// Returns a [`LogSink`] and a reader of the entries that workers send to it. `settings.destination` has no effect.
pub fn channel(settings: &LogSettings) -> (LogSink, LogReader) {
    let (batches, receiver) = mpsc::sync_channel(MAX_QUEUED_BATCHES);
    let sink = LogSink { batches, dropped: Arc::default(), settings: Arc::new(settings.clone()) };
    (sink, LogReader(receiver))
}

impl LogReader {
    /// Blocks until a worker sends a batch, and returns its entries, one a line. Returns `None` once all workers have
    /// ended.
    pub fn next_batch(&self) -> Option<String> {
        self.0.recv().ok().map(|batch| String::from_utf8_lossy(&batch.text).into_owned())
    }
}

impl WriterThread {
    /// Makes the writer open its file again, whether or not it was renamed, within the interval of such checks.
    pub fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    /// Returns the counter of dropped entries.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        if let Ok(ended) = self.ended.get_mut() {
            let _ = ended.recv_timeout(FINAL_WRITE_TIMEOUT);
        }
    }
}

struct Output {
    file: File,
    /// `None` for standard output, which is not reopened.
    path: Option<PathBuf>,
    last_check: Instant,
    state: WriteState,
}

/// The result of the last write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteState {
    Complete,
    /// It may have ended inside a line. The next write starts with a line end.
    Partial,
}

impl Output {
    fn open(to: &Destination) -> io::Result<Option<Self>> {
        let (file, path) = match to {
            Destination::Off => return Ok(None),
            // Not `io::stdout()`: a blocked write would hold its lock, and its buffer splits batches.
            Destination::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Destination::File(path) => (append(path)?, Some(path.clone())),
        };
        Ok(Some(Self { file, path, last_check: Instant::now(), state: WriteState::Complete }))
    }

    fn run(mut self, waiting: &Receiver<Batch>, dropped: &AtomicU64, reopen: &AtomicBool) {
        loop {
            let next = match self.path {
                Some(_) => waiting.recv_timeout(REOPEN_CHECK_INTERVAL),
                // Standard output is never opened again.
                None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let batch = match next {
                Ok(batch) => batch,
                Err(RecvTimeoutError::Timeout) => {
                    self.reopen_if_moved(reopen.swap(false, Relaxed));
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let is_requested = reopen.swap(false, Relaxed);
            if is_requested || self.last_check.elapsed() >= REOPEN_CHECK_INTERVAL {
                self.reopen_if_moved(is_requested);
            }
            if let Err(error) = self.write(&batch) {
                dropped.fetch_add(batch.entries, Relaxed);
                if self.state == WriteState::Complete {
                    tracing::warn!(%error, "the access log cannot be written");
                }
                self.state = WriteState::Partial;
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if self.state == WriteState::Partial {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(&batch.text)?;
        self.state = WriteState::Complete;
        Ok(())
    }

    /// Reopens the file if a log rotation has renamed or deleted it, or if a signal requests it. On failure, entries are
    /// written to the old file.
    fn reopen_if_moved(&mut self, is_requested: bool) {
        self.last_check = Instant::now();
        let Some(path) = &self.path else { return };
        let place = |file: io::Result<std::fs::Metadata>| file.ok().map(|file| (file.dev(), file.ino()));
        if !is_requested && place(std::fs::metadata(path)) == place(self.file.metadata()) {
            return;
        }
        match append(path) {
            Ok(file) => {
                self.file = file;
                self.state = WriteState::Complete;
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the access log cannot be reopened")
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Batch {
        Batch { text: text.as_bytes().to_vec(), entries: 1 }
    }

    #[test]
    fn renamed_file_is_recreated_and_partial_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("old"));
        std::fs::write(&path, "before\n").unwrap();
        let mut output = Output::open(&Destination::File(path.clone())).unwrap().unwrap();
        output.write(&batch("1\n")).unwrap();
        std::fs::rename(&path, &old).unwrap();
        output.write(&batch("2\n")).unwrap();
        output.reopen_if_moved(false);
        output.state = WriteState::Partial;
        output.write(&batch("3\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "before\n1\n2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\n3\n");
        // The new file may exist already, or be missing.
        output.reopen_if_moved(true);
        std::fs::remove_file(&path).unwrap();
        output.reopen_if_moved(false);
        output.write(&batch("4\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4\n");
    }

    #[test]
    fn entries_of_a_failed_write_are_counted() {
        let full =
            LogSettings { destination: Destination::File("/dev/full".into()), ..LogSettings::default() };
        let (sink, running) = start(&full).unwrap().unwrap();
        for _ in 0..3 {
            sink.send(Batch { text: b"x\n".to_vec(), entries: 2 });
        }
        drop(sink);
        let dropped = running.dropped();
        drop(running);
        assert_eq!(dropped.load(Relaxed), 6);
    }

    #[test]
    fn start_fails_if_the_file_cannot_be_opened() {
        let missing = LogSettings {
            destination: Destination::File("/nonexistent/log".into()),
            ..LogSettings::default()
        };
        assert!(start(&missing).is_err());
        assert!(
            start(&LogSettings { destination: Destination::Off, ..LogSettings::default() })
                .unwrap()
                .is_none()
        );
    }
}
