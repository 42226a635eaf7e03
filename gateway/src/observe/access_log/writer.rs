//! The thread that writes batches to standard output or a file.
//!
//! A thread of its own and not a task: whoever reads standard output may stop reading, and a blocked write must hold
//! neither the control runtime nor the end of the process. Nobody ever joins it; [`Running`] waits for it for a moment.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Settings, Sink, To};

/// Batches that may wait for the writer: 4 MiB, since none is much larger than 16 KiB.
const MOST_WAITING: usize = 256;

/// How often a file is looked for where it was.
const LOOK: Duration = Duration::from_secs(1);

/// How long the end of the process waits for what is still to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Lines on their way to the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whole lines.
    pub(super) text: Vec<u8>,
    /// How many.
    pub(super) lines: u64,
}

/// The running writer. Dropping it waits until all is written, half a second at most; that makes sense when all workers
/// have been told to end.
#[derive(Debug)]
pub struct Running {
    dropped: Arc<AtomicU64>,
    /// Disconnected when the writer has ended. Nobody ever waits for the lock: it makes this sharable.
    ended: Mutex<Receiver<()>>,
}

/// Opens the log and starts its writer; nothing if there is to be no log.
///
/// # Errors
/// The file cannot be opened, or the system gives no thread.
pub fn start(settings: &Settings) -> io::Result<Option<(Sink, Running)>> {
    let Some(output) = Output::open(&settings.to)? else { return Ok(None) };
    let (batches, waiting) = mpsc::sync_channel(MOST_WAITING);
    let (presence, ended) = mpsc::sync_channel(0);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        output.run(&waiting, &lost);
        drop(presence);
    })?;
    let sink = Sink { batches, dropped: Arc::clone(&dropped), settings: Arc::new(settings.clone()) };
    Ok(Some((sink, Running { dropped, ended: Mutex::new(ended) })))
}

impl Running {
    /// Lines that were dropped since the start, to be read at any time.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(ended) = self.ended.get_mut() {
            let _ = ended.recv_timeout(LAST_WORDS);
        }
    }
}

struct Output {
    file: File,
    /// Nothing for standard output, which cannot be opened anew.
    path: Option<PathBuf>,
    looked: Instant,
    state: State,
}

/// How the last write ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// In the middle of a line, perhaps: the next one has to begin behind a line end.
    Torn,
}

impl Output {
    fn open(to: &To) -> io::Result<Option<Self>> {
        let (file, path) = match to {
            To::Off => return Ok(None),
            // Not `io::stdout()`: its lock would be held by a blocked write, and its buffer splits batches.
            To::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            To::File(path) => (append(path)?, Some(path.clone())),
        };
        Ok(Some(Self { file, path, looked: Instant::now(), state: State::Fine }))
    }

    fn run(mut self, waiting: &Receiver<Batch>, dropped: &AtomicU64) {
        loop {
            let batch = match waiting.recv_timeout(LOOK) {
                Ok(batch) => batch,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
            if let Err(error) = self.write(&batch) {
                dropped.fetch_add(batch.lines, Relaxed);
                if self.state == State::Fine {
                    tracing::warn!(%error, "the access log cannot be written");
                }
                self.state = State::Torn;
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if self.state == State::Torn {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(&batch.text)?;
        self.state = State::Fine;
        Ok(())
    }

    /// Opens the file anew if it is no longer where it was: whoever rotates logs moves it away. If that fails, lines go
    /// on to the old one.
    fn look(&mut self) {
        self.looked = Instant::now();
        let Some(path) = &self.path else { return };
        let place = |file: io::Result<std::fs::Metadata>| file.ok().map(|file| (file.dev(), file.ino()));
        if place(std::fs::metadata(path)) == place(self.file.metadata()) {
            return;
        }
        match append(path) {
            Ok(file) => {
                self.file = file;
                self.state = State::Fine;
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the access log cannot be opened anew")
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
        Batch { text: text.as_bytes().to_vec(), lines: 1 }
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew_and_a_torn_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("old"));
        std::fs::write(&path, "before\n").unwrap();
        let mut output = Output::open(&To::File(path.clone())).unwrap().unwrap();
        output.write(&batch("1\n")).unwrap();
        std::fs::rename(&path, &old).unwrap();
        output.write(&batch("2\n")).unwrap();
        output.look();
        output.state = State::Torn;
        output.write(&batch("3\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "before\n1\n2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\n3\n");
        // The file that replaces it may be there already, and may be gone altogether.
        output.look();
        std::fs::remove_file(&path).unwrap();
        output.look();
        output.write(&batch("4\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let full = Settings { to: To::File("/dev/full".into()), ..Settings::default() };
        let (sink, running) = start(&full).unwrap().unwrap();
        for _ in 0..3 {
            sink.send(Batch { text: b"x\n".to_vec(), lines: 2 });
        }
        drop(sink);
        let dropped = running.dropped();
        drop(running);
        assert_eq!(dropped.load(Relaxed), 6);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_at_the_start() {
        let missing = Settings { to: To::File("/nonexistent/log".into()), ..Settings::default() };
        assert!(start(&missing).is_err());
        assert!(start(&Settings { to: To::Off, ..Settings::default() }).unwrap().is_none());
    }
}
