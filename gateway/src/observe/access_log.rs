//! The access log: one line for every request that ended, malformed ones included.
//!
//! A worker formats into memory of its own ([`Lines`]) and hands whole batches to one thread (`writer`) over a bounded
//! channel. It never waits for that thread: a batch that finds the channel full is dropped and its lines are counted.
//! Not here: what is known of a request (`exchange::record`), how a line looks (`format`).

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

mod format;
mod stamp;
mod writer;

pub use format::{Entry, Field, Format, FormatError, RequestFields, RouteFields, Template};
use stamp::Stamp;
use writer::Batch;
pub use writer::{LogReader, WriterThread, channel, start};

/// A batch of so many bytes goes to the writer at once.
const BATCH_BYTES: usize = 16 << 10;

/// Room beyond that for the line that fills a batch, so that it need not grow.
const BATCH_SPARE_BYTES: usize = 4 << 10;

/// How often a worker hands over what it has, full or not.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// What is logged, where and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogSettings {
    /// Where lines go.
    pub destination: Destination,
    /// How they look.
    pub format: Format,
    /// How many of them there are.
    pub sample_rate: SampleRate,
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// Standard output. The program's own log goes to standard error.
    #[default]
    Stdout,
    /// To the end of a file, which is made if it is not there, and opened anew when it was moved away.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("off, stdout or a file is expected"),
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            file => Ok(Self::File(file.into())),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The share of requests that are logged, 0 to 1. Answers from 500 on and aborted exchanges are logged whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct SampleRate(f64);

impl Default for SampleRate {
    /// All.
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for SampleRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| format!("a share from 0.0 to 1.0 is expected, not {text:?}"))
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The way from workers to the writer; clones are the same way.
#[derive(Clone, Debug)]
pub struct LogSink {
    batches: SyncSender<Batch>,
    /// Lines that nobody will ever see.
    dropped: Arc<AtomicU64>,
    settings: Arc<LogSettings>,
}

/// One worker's end of the log. Dropping it hands over what is left.
#[derive(Debug)]
pub struct LogHandle {
    sink: LogSink,
    batch: RefCell<Batch>,
    stamp: RefCell<Stamp>,
    /// The state of the numbers by which lines are picked (splitmix64).
    random: Cell<u64>,
}

impl LogHandle {
    /// Begins with nothing written.
    pub fn new(sink: LogSink) -> Self {
        let random = Cell::new(RandomState::new().hash_one(0));
        Self { sink, batch: RefCell::default(), stamp: RefCell::default(), random }
    }

    /// Writes a line, if it is one of those that are to be written.
    pub fn log(&self, entry: &Entry<'_>) {
        if !entry.is_always_logged() && !self.is_sampled() {
            return;
        }
        let mut batch = self.batch.borrow_mut();
        if batch.text.capacity() == 0 {
            batch.text.reserve_exact(BATCH_BYTES + BATCH_SPARE_BYTES);
        }
        let mut stamp = self.stamp.borrow_mut();
        let time = stamp.at(SystemTime::now());
        self.sink.settings.format.write(&mut batch.text, entry, time);
        batch.entries += 1;
        if batch.text.len() >= BATCH_BYTES {
            self.sink.send(std::mem::take(&mut batch));
        }
    }

    /// Hands over what there is; called every [`FLUSH_INTERVAL`].
    pub fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if batch.entries > 0 {
            self.sink.send(std::mem::take(&mut batch));
        }
    }

    fn is_sampled(&self) -> bool {
        let SampleRate(share) = self.sink.settings.sample_rate;
        if share >= 1.0 {
            return true;
        }
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The upper 53 bits as a number from 0 to 1, without 1.
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 <= share && share > 0.0
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.flush();
    }
}

impl LogSink {
    fn send(&self, batch: Batch) {
        // Full or gone: the request's way does not wait either way.
        if let Err(error) = self.batches.try_send(batch) {
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            let (Full(batch) | Disconnected(batch)) = error;
            self.dropped.fetch_add(batch.entries, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
