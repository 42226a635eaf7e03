//! The watch of one kind: restarts, expired versions, and conversion of `kube`'s events.
//!
//! A watch ends after [`WATCH_SECONDS`] and resumes at its last version. This detects a stalled or half-open
//! connection. A failed watch is repeated within 30 s.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::core::Status;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use routing::object::Name;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::backoff::{Backoff, RESET_AFTER};
use super::event::{TrimmedObject, WatchEvent, WatchFailure};

/// Duration of one watch request, in seconds. `kube` adds 5 s, so a stalled watch is detected within 45 s.
const WATCH_SECONDS: u32 = 40;

/// Returns the watch parameters that all feeds share.
pub(super) fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// Returns the events of one kind, without an end. Failures are repeated after a backoff.
pub(super) fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    trim: fn(K) -> TrimmedObject,
) -> impl futures::Stream<Item = WatchEvent> + Send + 'static
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut expired = ExpiredWatches::default();
    watch(api, config)
        .filter(move |event| std::future::ready(!expired.is_suppressed(event)))
        .backoff(Backoff::default())
        .map(move |event| convert(event, trim))
}

/// Watches a kind without an end, and lists it again after 404.
///
/// `kube` would resume the watch at its last version. If a proxy sent the 404 in error, the objects that the gateway
/// dropped would then never be reported again.
fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let start = move || watcher::watcher(api.clone(), config.clone()).boxed();
    futures::stream::unfold((start(), start), |(mut watch, start)| async move {
        let event = watch.next().await?;
        if event.as_ref().err().and_then(api_status).is_some_and(|status| status.code == 404) {
            watch = start();
        }
        Some((event, (watch, start)))
    })
}

fn convert<K: ResourceExt>(event: watcher::Result<Event<K>>, trim: fn(K) -> TrimmedObject) -> WatchEvent {
    match event {
        Ok(Event::Init) => WatchEvent::ListStarted,
        Ok(Event::InitApply(object)) => WatchEvent::Listed(trim(object)),
        Ok(Event::InitDone) => WatchEvent::ListCompleted,
        Ok(Event::Apply(object)) => WatchEvent::Applied(trim(object)),
        Ok(Event::Delete(object)) => {
            WatchEvent::Deleted(Name::new(&object.namespace().unwrap_or_default(), &object.name_any()))
        }
        Err(error) => {
            let status = api_status(&error);
            let message = status.map_or_else(|| with_causes(&error), |status| status.message.clone());
            WatchEvent::Failed(WatchFailure { code: status.map(|status| status.code), message })
        }
    }
}

/// Returns the error response of the API server, if there is one.
fn api_status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
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
    /// Returns true if the event is a 410 that must not count as a failure.
    fn is_suppressed<T>(&mut self, event: &watcher::Result<T>) -> bool {
        let Err(watcher::Error::WatchError(status)) = event else { return false };
        if status.code != 410 {
            return false;
        }
        tracing::debug!(message = status.message, "watch expired");
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
        let failed = |code| {
            let status = Status { code, ..Status::default() };
            watcher::Result::<()>::Err(watcher::Error::WatchError(Box::new(status)))
        };
        let mut expired = ExpiredWatches::default();
        assert!(!expired.is_suppressed(&failed(500)));
        assert!(expired.is_suppressed(&failed(410)));
        assert!(!expired.is_suppressed(&failed(410)));
        tokio::time::advance(RESET_AFTER * 2).await;
        assert!(expired.is_suppressed(&failed(410)));
        assert!(!expired.is_suppressed(&watcher::Result::Ok(())));
    }
}
