//! The watch of one kind: lists, restarts, expired versions, and versions that go back.
//!
//! A watch ends after [`WATCH_SECONDS`] and resumes at its last version. This detects a stalled or half-open
//! connection. A failed watch is repeated within 30 s. `kube`'s own watcher begins a watch that ends at once again
//! without a pause, and keeps resuming at a version that the API server refuses.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::api::{ListParams, WatchEvent as ApiEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Resource, ResourceExt};
use routing::object::Name;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::backoff::{Backoff, RESET_AFTER};
use super::event::{TrimmedObject, WatchEvent, WatchFailure};

/// Duration of one watch request, in seconds.
const WATCH_SECONDS: u32 = 40;

/// Silence after which a watch counts as stalled. The API server should have ended it 5 s before.
const WATCH_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);

/// Objects in one response of a list, as `kubectl` asks for.
const PAGE_OBJECTS: u32 = 500;

/// Age of a list after which the kind is listed again, in case a change was never reported. Up to a quarter more, so
/// that the kinds and the replicas do not list together.
const RELIST_INTERVAL: Duration = Duration::from_secs(4 * 60 * 60);

/// A watch that ends sooner than this, and without an event, is not begun again at once.
const MIN_WATCH_DURATION: Duration = Duration::from_secs(1);

/// The objects that a watch selects.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchConfig {
    fields: Option<String>,
}

impl WatchConfig {
    /// Selects objects by a field.
    pub(super) fn fields(self, selector: &str) -> Self {
        Self { fields: Some(selector.to_owned()) }
    }

    fn list(&self, continue_token: Option<String>) -> ListParams {
        ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE_OBJECTS),
            continue_token,
            ..ListParams::default()
        }
    }

    fn watch(&self) -> WatchParams {
        WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        }
    }
}

/// Returns the selection of all objects.
pub(super) fn config() -> WatchConfig {
    WatchConfig::default()
}

/// Returns the events of one kind, without an end. Failures are repeated after a backoff.
pub(super) fn events<K>(
    api: Api<K>,
    config: WatchConfig,
    trim: fn(K) -> TrimmedObject,
) -> impl futures::Stream<Item = WatchEvent> + Send + 'static
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let watcher = Watcher {
        api,
        config,
        trim,
        step: Step::Start,
        events: VecDeque::new(),
        last_version: None,
        relist_at: Instant::now(),
        backoff: Backoff::default(),
        pause: None,
        expired: ExpiredWatches::default(),
    };
    futures::stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await;
        Some((event, watcher))
    })
}

type ApiStream<K> = BoxStream<'static, kube::Result<ApiEvent<K>>>;

/// What a watcher does next.
enum Step<K> {
    /// Starts a list.
    Start,
    /// Reads a page of the list.
    List { continue_token: Option<String> },
    /// Starts a watch at a version.
    Connect { version: String },
    /// Reads the events of a watch.
    Watch(OpenWatch<K>),
}

/// A watch that the API server has accepted.
struct OpenWatch<K> {
    /// The version of the last event.
    version: String,
    stream: ApiStream<K>,
    began_at: Instant,
    /// Whether it has reported an object.
    has_event: bool,
}

/// The lists and watches of one kind.
struct Watcher<K> {
    api: Api<K>,
    config: WatchConfig,
    trim: fn(K) -> TrimmedObject,
    step: Step<K>,
    /// Events that are not returned yet.
    events: VecDeque<WatchEvent>,
    /// The newest version of a list or an event, if versions have an order.
    last_version: Option<u64>,
    /// When the kind is listed again.
    relist_at: Instant,
    backoff: Backoff,
    /// Time to wait before the next request.
    pause: Option<Duration>,
    expired: ExpiredWatches,
}

impl<K> Watcher<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Returns the next event.
    async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            self.step = match std::mem::replace(&mut self.step, Step::Start) {
                Step::Start => {
                    self.events.push_back(WatchEvent::ListStarted);
                    Step::List { continue_token: None }
                }
                Step::List { continue_token } => self.list(continue_token).await,
                Step::Connect { .. } if Instant::now() >= self.relist_at => Step::Start,
                Step::Connect { version } => self.connect(version).await,
                Step::Watch(watch) => self.read(watch).await,
            };
        }
    }

    async fn list(&mut self, continue_token: Option<String>) -> Step<K> {
        let list = match self.api.list(&self.config.list(continue_token)).await {
            Ok(list) => list,
            Err(error) => {
                self.fail(&error);
                return Step::Start;
            }
        };
        self.events.extend(list.items.into_iter().map(|object| WatchEvent::Listed((self.trim)(object))));
        if let Some(token) = list.metadata.continue_.filter(|token| !token.is_empty()) {
            return Step::List { continue_token: Some(token) };
        }
        self.events.push_back(WatchEvent::ListCompleted);
        self.relist_at = Instant::now() + with_jitter(RELIST_INTERVAL);
        let version = list.metadata.resource_version.unwrap_or_default();
        // The list is complete in both cases.
        let _ = self.is_older(&version);
        Step::Connect { version }
    }

    async fn connect(&mut self, version: String) -> Step<K> {
        match self.api.watch(&self.config.watch(), &version).await {
            Ok(stream) => {
                let (stream, began_at) = (stream.boxed(), Instant::now());
                Step::Watch(OpenWatch { version, stream, began_at, has_event: false })
            }
            Err(error) => self.end_by_error(error, version),
        }
    }

    async fn read(&mut self, mut watch: OpenWatch<K>) -> Step<K> {
        let event = match tokio::time::timeout(WATCH_TIMEOUT, watch.stream.next()).await {
            Ok(Some(Ok(ApiEvent::Error(status)))) => {
                return self.end_by_error(kube::Error::Api(status), watch.version);
            }
            Ok(Some(Err(error))) => return self.end_by_error(error, watch.version),
            Ok(Some(Ok(event))) => event,
            Ok(None) => {
                if !watch.has_event && watch.began_at.elapsed() < MIN_WATCH_DURATION {
                    self.pause = Some(self.backoff.next_delay());
                }
                return Step::Connect { version: watch.version };
            }
            Err(_elapsed) => {
                let message = "the API server neither sent an event nor ended the watch in time".to_owned();
                self.events.push_back(WatchEvent::Failed(WatchFailure { code: None, message }));
                return Step::Connect { version: watch.version };
            }
        };
        let (version, event) = self.convert(event);
        if let Some(version) = version {
            if self.is_older(&version) {
                return Step::Start;
            }
            watch.version = version;
        }
        watch.has_event |= event.is_some();
        self.events.extend(event);
        Step::Watch(watch)
    }

    /// Returns the version of an event, and the event of the feed.
    fn convert(&self, event: ApiEvent<K>) -> (Option<String>, Option<WatchEvent>) {
        match event {
            ApiEvent::Added(object) | ApiEvent::Modified(object) => {
                (object.resource_version(), Some(WatchEvent::Applied((self.trim)(object))))
            }
            ApiEvent::Deleted(object) => {
                let name = Name::new(&object.namespace().unwrap_or_default(), &object.name_any());
                (object.resource_version(), Some(WatchEvent::Deleted(name)))
            }
            ApiEvent::Bookmark(bookmark) => (Some(bookmark.metadata.resource_version), None),
            ApiEvent::Error(_) => (None, None),
        }
    }

    /// Returns what follows a failed watch. An expired or refused version needs a new list. After a 404, too: if a proxy
    /// sent it in error, the objects that the gateway dropped would never be reported again.
    fn end_by_error(&mut self, error: kube::Error, version: String) -> Step<K> {
        let status = api_status(&error);
        let code = status.map(|status| status.code);
        if code == Some(410) && self.expired.is_first() {
            tracing::debug!(message = status.map(|status| &*status.message), "watch expired");
            return Step::Start;
        }
        let needs_list = matches!(code, Some(404 | 410)) || status.is_some_and(is_version_too_large);
        self.fail(&error);
        if needs_list { Step::Start } else { Step::Connect { version } }
    }

    fn fail(&mut self, error: &kube::Error) {
        let status = api_status(error);
        let message = status.map_or_else(|| with_causes(error), |status| status.message.clone());
        let code = status.map(|status| status.code);
        self.events.push_back(WatchEvent::Failed(WatchFailure { code, message }));
        self.pause = Some(self.backoff.next_delay());
    }

    /// Reports a version that is older than one before, as after the restore of a backup. Returns true then.
    fn is_older(&mut self, version: &str) -> bool {
        let Ok(present) = version.parse::<u64>() else { return false };
        match self.last_version.replace(present) {
            Some(before) if present < before => {
                self.events.push_back(WatchEvent::VersionsWentBack { before, present });
                true
            }
            _ => false,
        }
    }
}

/// Adds up to a quarter at random.
fn with_jitter(interval: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0) % 256).unwrap_or(0);
    interval + interval / 1024 * random
}

/// Returns the error response of the API server, if there is one.
fn api_status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Returns true if the API server has not reached a version, such as after the restore of a backup.
fn is_version_too_large(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.map(|cause| &*cause.reason).any(|reason| reason == "ResourceVersionTooLarge")
        || status.message.contains("Too large resource version")
}

/// Formats an error with its causes. Skips a cause whose text an outer error already contains.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Suppresses the error 410 Gone, which a watch receives if its version has expired.
///
/// The list that follows is no repetition of a failure, so it starts without a backoff. A second 410 within
/// [`RESET_AFTER`] is a failure, so a server that always sends 410 does not cause a busy loop.
#[derive(Debug, Default)]
struct ExpiredWatches {
    last: Option<Instant>,
}

impl ExpiredWatches {
    /// Records a 410. Returns true if it must not count as a failure.
    fn is_first(&mut self) -> bool {
        let now = Instant::now();
        let previous = self.last.replace(now);
        previous.is_none_or(|previous| now.duration_since(previous) > RESET_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expired_watch_is_a_failure_only_if_it_repeats() {
        let mut expired = ExpiredWatches::default();
        assert!(expired.is_first());
        assert!(!expired.is_first());
        tokio::time::advance(RESET_AFTER * 2).await;
        assert!(expired.is_first());
    }
}
