//! The access log: one entry for each request that ended, including malformed ones.
//!
//! A worker formats entries into a batch ([`LogHandle`]) and sends full batches to one thread (`writer`) over a bounded
//! channel. It never waits for the thread: a batch that finds the channel full is dropped, and its entries are counted.
//! Not here: the outcome of a request (`exchange::record`), and the format of an entry (`format`).

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

use tokio::sync::Notify;

mod format;
mod stamp;
mod writer;

pub use format::{Entry, Field, Format, FormatError, RequestFields, RouteFields, Template, TlsFailure};
use stamp::Stamp;
use writer::Batch;
pub use writer::{LogReader, WriterThread, channel, start};

/// Size at which a batch is sent to the writer.
const BATCH_BYTES: usize = 16 << 10;

/// Capacity beyond [`BATCH_BYTES`] for the last entry of a batch, so that the batch does not grow.
const BATCH_SPARE_BYTES: usize = 4 << 10;

/// Interval at which a worker sends its batch, full or not.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Destination, format and sampling of the access log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogSettings {
    /// The destination of entries.
    pub destination: Destination,
    /// The format of an entry.
    pub format: Format,
    /// The share of requests that are logged.
    pub sample_rate: SampleRate,
}

/// The destination of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// No access log.
    Off,
    /// Standard output. The log of the program is written to standard error.
    #[default]
    Stdout,
    /// A file, to which entries are appended. It is created if missing, and reopened after it was renamed.
    File(PathBuf),
}

/// Why a destination is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The text is empty.
    #[error("off, stdout or a file is expected")]
    Empty,
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err(DestinationError::Empty),
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

/// The share of requests that are logged, 0 to 1. Statuses from 500 on and aborted requests are always logged.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct SampleRate(f64);

impl Default for SampleRate {
    /// All requests.
    fn default() -> Self {
        Self(1.0)
    }
}

/// Why a sample rate is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleRateError {
    /// The text is not a number from 0 to 1.
    #[error("a share from 0.0 to 1.0 is expected, not {0:?}")]
    OutOfRange(String),
}

impl FromStr for SampleRate {
    type Err = SampleRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| SampleRateError::OutOfRange(text.to_owned()))
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The channel from the workers to the writer. Clones share it.
#[derive(Clone, Debug)]
pub struct LogSink {
    batches: SyncSender<Batch>,
    /// Entries that were dropped.
    dropped: Arc<AtomicU64>,
    settings: Arc<LogSettings>,
}

/// The access log of one worker. Dropping it sends the last batch.
#[derive(Debug)]
pub struct LogHandle {
    sink: LogSink,
    batch: RefCell<Batch>,
    /// Wakes [`LogHandle::wait_for_entry`] when a batch gets its first entry.
    first_entry: Notify,
    stamp: RefCell<Stamp>,
    /// The state of the random numbers for sampling (SplitMix64).
    random: Cell<u64>,
}

impl LogHandle {
    /// Creates a handle with an empty batch.
    pub fn new(sink: LogSink) -> Self {
        let random = Cell::new(RandomState::new().hash_one(0));
        Self {
            sink,
            batch: RefCell::default(),
            first_entry: Notify::new(),
            stamp: RefCell::default(),
            random,
        }
    }

    /// Writes an entry if it is sampled or always logged.
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
        if batch.entries == 0 {
            self.first_entry.notify_one();
        }
        batch.entries += 1;
        if batch.text.len() >= BATCH_BYTES {
            self.sink.send(std::mem::take(&mut batch));
        }
    }

    /// Waits until the current batch has an entry.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn wait_for_entry(&self) {
        while self.batch.borrow().entries == 0 {
            self.first_entry.notified().await;
        }
    }

    /// Sends the current batch. Called [`FLUSH_INTERVAL`] after its first entry.
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
        // The upper 53 bits as a number from 0 to 1, excluding 1.
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
        // The worker waits neither for a full channel nor for a writer that has ended.
        if let Err(error) = self.batches.try_send(batch) {
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            let (Full(batch) | Disconnected(batch)) = error;
            self.dropped.fetch_add(batch.entries, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
