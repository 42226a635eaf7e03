//! Reading the Secrets that objects name: a GET each, some at a time, again until it works.

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use routing::object::{Name, Secret};
use tokio::sync::Semaphore;

use super::feed::{FIRST_WAIT, LONGEST_WAIT};
use crate::control::source::PemPair;

/// So many are read at a time.
const MOST_AT_ONCE: usize = 16;

static SLOTS: Semaphore = Semaphore::const_new(MOST_AT_ONCE);

/// What a GET brought.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The Secret, its version, and its bytes if both keys are there.
    Found { secret: Secret, version: String, pair: Option<PemPair> },
    /// There is no such Secret.
    Missing,
    /// It may not be read.
    Forbidden(String),
}

/// When to read a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At once.
    Now,
    /// After the longest wait: the API server forbade it a moment ago.
    Later,
}

/// A Secret that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) name: Name,
    pub(super) outcome: Outcome,
}

/// The reads under way.
pub(super) struct Reads {
    client: Client,
    running: FuturesUnordered<BoxFuture<'static, Read>>,
}

impl Reads {
    /// None yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, running: FuturesUnordered::new() }
    }

    /// Starts to read a Secret.
    pub(super) fn start(&self, name: Name, when: When) {
        let api = Api::<core::Secret>::namespaced(self.client.clone(), &name.namespace);
        let read = async move {
            if when == When::Later {
                tokio::time::sleep(LONGEST_WAIT).await;
            }
            read(api, name).await
        };
        self.running.push(read.boxed());
    }

    /// The next one that is done; nothing if none is under way.
    pub(super) async fn next(&mut self) -> Option<Read> {
        self.running.next().await
    }
}

async fn read(api: Api<core::Secret>, name: Name) -> Read {
    let mut wait = FIRST_WAIT;
    loop {
        let got = {
            // The semaphore is never closed.
            let _slot = SLOTS.acquire().await;
            api.get_opt(&name.name).await
        };
        let outcome = match got {
            Ok(Some(secret)) => found(&secret),
            Ok(None) => Outcome::Missing,
            Err(kube::Error::Api(status)) if status.code == 403 => Outcome::Forbidden(status.message.clone()),
            Err(error) => {
                tracing::debug!(secret = %name, %error, "reading a Secret failed");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                continue;
            }
        };
        return Read { name, outcome };
    }
}

fn found(secret: &core::Secret) -> Outcome {
    let bytes = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|value| value.0.clone()).filter(|value| !value.is_empty())
    };
    let pair = match (bytes("tls.crt"), bytes("tls.key")) {
        (Some(chain), Some(key)) => Some(PemPair { chain, key }),
        _ => None,
    };
    let version = secret.metadata.resource_version.clone().unwrap_or_default();
    Outcome::Found { secret: Secret::from_kubernetes(secret).0, version, pair }
}
