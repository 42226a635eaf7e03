//! What the mock host knows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use api::LogLine;
use api::RecordedMessage;

use super::answer::Answer;
use super::message::FieldList;
use super::mock_stream::MockStream;
use crate::host::Level;
use crate::host::MetricKind;

thread_local! {
    /// The last number of a context or callout. They are unique on a thread, as wakers and waiting callouts are.
    static LAST_ID: Cell<u32> = const { Cell::new(0) };
}

/// A function of the host beyond the ABI.
pub(super) type ForeignFunction = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// State of the mock host.
pub(super) struct State {
    pub(super) root: u32,
    /// The effective context.
    pub(super) effective: u32,
    pub(super) streams: BTreeMap<u32, MockStream>,
    pub(super) configuration: Vec<u8>,
    pub(super) vm_configuration: Vec<u8>,
    /// Time since the Unix epoch.
    pub(super) now: Duration,
    pub(super) tick_period: Duration,
    pub(super) level: Level,
    pub(super) log: Vec<LogLine>,
    /// Properties by path, its segments joined by NUL.
    pub(super) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) shared_data: BTreeMap<String, (Vec<u8>, u32)>,
    /// Values that another instance writes before the next writes of the plugin.
    pub(super) conflicts: BTreeMap<String, VecDeque<Vec<u8>>>,
    pub(super) last_version: u32,
    pub(super) metrics: Vec<MockMetric>,
    pub(super) callouts: Vec<MockCallout>,
    pub(super) answers: VecDeque<Answer>,
    /// The answer that is being delivered.
    pub(super) delivered: Option<Delivered>,
    /// Upstreams that the plugin may call. `None`: all.
    pub(super) upstreams: Option<Vec<String>>,
    pub(super) functions: BTreeMap<String, ForeignFunction>,
    pub(super) failure: Failure,
    /// Calls that no host would accept.
    pub(super) misuse: Vec<String>,
}

/// What the host does when a plugin reports a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// It responds 503, as with `FAIL_CLOSE`.
    Close,
    /// It goes on without the plugin, as with `FAIL_OPEN`.
    Open,
    /// It does not know the function.
    Unknown,
}

/// A metric.
pub(super) struct MockMetric {
    pub(super) kind: MetricKind,
    pub(super) name: String,
    /// Value of a counter or gauge, or the last one of a histogram.
    pub(super) value: u64,
}

/// A callout of the plugin.
pub(super) struct MockCallout {
    pub(super) token: u32,
    pub(super) upstream: String,
    pub(super) message: RecordedMessage,
    pub(super) timeout: Duration,
    pub(super) is_answered: bool,
}

/// The answer that is being delivered.
#[derive(Default)]
pub(super) struct Delivered {
    pub(super) headers: FieldList,
    pub(super) body: Vec<u8>,
    pub(super) trailers: FieldList,
    /// Message of a gRPC status.
    #[cfg(feature = "grpc")]
    pub(super) message: String,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            root: next_id(),
            effective: 0,
            streams: BTreeMap::new(),
            configuration: Vec::new(),
            vm_configuration: Vec::new(),
            // 2026-01-01T00:00:00Z
            now: Duration::from_secs(1_767_225_600),
            tick_period: Duration::ZERO,
            level: Level::Trace,
            log: Vec::new(),
            properties: BTreeMap::new(),
            shared_data: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            last_version: 0,
            metrics: Vec::new(),
            callouts: Vec::new(),
            answers: VecDeque::new(),
            delivered: None,
            upstreams: None,
            functions: BTreeMap::new(),
            failure: Failure::Close,
            misuse: Vec::new(),
        }
    }

    /// Writes shared data with a new version.
    pub(super) fn write_shared_data(&mut self, key: &str, value: Vec<u8>) {
        self.last_version += 1;
        self.shared_data.insert(key.to_owned(), (value, self.last_version));
    }
}

/// Returns a number that no context or callout of this thread has.
pub(super) fn next_id() -> u32 {
    LAST_ID.set(LAST_ID.get() + 1);
    LAST_ID.get()
}
