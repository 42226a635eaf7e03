//! Reads the Secrets that objects refer to: one GET each, a limited number at a time, repeated until it succeeds.

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use routing::object::{Name, Secret};
use tokio::sync::Semaphore;

use super::backoff::{self, Backoff};
use super::watch::with_causes;
use crate::control::source::PemPair;

/// Maximum concurrent GETs. Further reads wait. It limits the load of a start with thousands of Secrets.
const MAX_CONCURRENT_READS: usize = 16;

static READ_PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_READS);

/// The result of a GET.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// The Secret exists. `pair` is `None` if one of its two keys is missing or empty.
    Found { secret: Secret, version: String, pair: Option<PemPair> },
    /// The Secret does not exist.
    Missing,
    /// The gateway may not read the Secret. Holds the message of the API server.
    Forbidden(String),
}

/// When a Secret is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTiming {
    Immediate,
    /// After [`backoff::MAX_DELAY`]: the last read was forbidden, or no watch reports changes.
    Delayed,
}

/// A completed read.
#[derive(Debug)]
pub(super) struct SecretRead {
    pub(super) name: Name,
    pub(super) outcome: ReadOutcome,
}

/// The reads in flight.
pub(super) struct SecretReader {
    client: Client,
    reads: FuturesUnordered<BoxFuture<'static, SecretRead>>,
}

impl SecretReader {
    /// Returns a reader without reads.
    pub(super) fn new(client: Client) -> Self {
        Self { client, reads: FuturesUnordered::new() }
    }

    /// Adds a read. It makes progress while [`Self::next`] is polled.
    pub(super) fn start(&self, name: Name, timing: ReadTiming) {
        let api = Api::<core::Secret>::namespaced(self.client.clone(), &name.namespace);
        let read = async move {
            match timing {
                ReadTiming::Immediate => {}
                ReadTiming::Delayed => tokio::time::sleep(backoff::MAX_DELAY).await,
            }
            read_with_retry(api, name).await
        };
        self.reads.push(read.boxed());
    }

    /// Returns the next completed read; `None` if no read is in flight.
    pub(super) async fn next(&mut self) -> Option<SecretRead> {
        self.reads.next().await
    }
}

/// Repeats the GET until the API server says that the Secret exists, is missing, or may not be read.
async fn read_with_retry(api: Api<core::Secret>, name: Name) -> SecretRead {
    let mut backoff = Backoff::default();
    loop {
        let response = {
            // The semaphore is never closed.
            let _permit = READ_PERMITS.acquire().await;
            api.get_opt(&name.name).await
        };
        let outcome = match response {
            Ok(Some(secret)) => found(&secret),
            Ok(None) => ReadOutcome::Missing,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                ReadOutcome::Forbidden(status.message.clone())
            }
            Err(error) => {
                tracing::debug!(secret = %name, error = with_causes(&error), "cannot read a Secret; it is read again");
                tokio::time::sleep(backoff.next_delay()).await;
                continue;
            }
        };
        return SecretRead { name, outcome };
    }
}

fn found(secret: &core::Secret) -> ReadOutcome {
    let bytes = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|value| value.0.clone()).filter(|value| !value.is_empty())
    };
    let pair = match (bytes("tls.crt"), bytes("tls.key")) {
        (Some(chain), Some(key)) => Some(PemPair { chain, key }),
        _ => None,
    };
    let version = secret.metadata.resource_version.clone().unwrap_or_default();
    ReadOutcome::Found { secret: Secret::from_kubernetes(secret).0, version, pair }
}
