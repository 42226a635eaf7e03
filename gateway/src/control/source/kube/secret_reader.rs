//! Reading the Secrets that objects name: a GET each, some at a time, again until it works.

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use routing::object::{Name, Secret};
use tokio::sync::Semaphore;

use super::feed::{INITIAL_BACKOFF, MAX_BACKOFF};
use crate::control::source::PemPair;

/// So many are read at a time.
const MAX_CONCURRENT_READS: usize = 16;

static READ_PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_READS);

/// What a GET brought.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// The Secret, its version, and its bytes if both keys are there.
    Found { secret: Secret, version: String, pair: Option<PemPair> },
    /// There is no such Secret.
    Missing,
    /// It may not be read.
    Forbidden(String),
}

/// When to read a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTiming {
    /// At once.
    Immediate,
    /// After the longest wait: the API server forbade it a moment ago.
    Delayed,
}

/// A Secret that was read.
#[derive(Debug)]
pub(super) struct SecretRead {
    pub(super) name: Name,
    pub(super) outcome: ReadOutcome,
}

/// The reads under way.
pub(super) struct SecretReader {
    client: Client,
    running: FuturesUnordered<BoxFuture<'static, SecretRead>>,
}

impl SecretReader {
    /// None yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, running: FuturesUnordered::new() }
    }

    /// Starts to read a Secret.
    pub(super) fn start(&self, name: Name, timing: ReadTiming) {
        let api = Api::<core::Secret>::namespaced(self.client.clone(), &name.namespace);
        let read = async move {
            if timing == ReadTiming::Delayed {
                tokio::time::sleep(MAX_BACKOFF).await;
            }
            read_with_retry(api, name).await
        };
        self.running.push(read.boxed());
    }

    /// The next one that is done; nothing if none is under way.
    pub(super) async fn next(&mut self) -> Option<SecretRead> {
        self.running.next().await
    }
}

async fn read_with_retry(api: Api<core::Secret>, name: Name) -> SecretRead {
    let mut backoff = INITIAL_BACKOFF;
    loop {
        let response = {
            // The semaphore is never closed.
            let _permit = READ_PERMITS.acquire().await;
            api.get_opt(&name.name).await
        };
        let outcome = match response {
            Ok(Some(secret)) => found_outcome(&secret),
            Ok(None) => ReadOutcome::Missing,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                ReadOutcome::Forbidden(status.message.clone())
            }
            Err(error) => {
                tracing::debug!(secret = %name, %error, "reading a Secret failed");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
                continue;
            }
        };
        return SecretRead { name, outcome };
    }
}

fn found_outcome(secret: &core::Secret) -> ReadOutcome {
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
