//! The keys of an issuer: given, or loaded from a service and kept.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use plugin_sdk::SingleFlight;
use plugin_sdk::prelude::*;

use crate::algorithm::Algorithm;
use crate::jwk::{Jwk, Key};
use crate::settings::{Issuer, RemoteJwks};
use crate::token::Token;

/// Minimum time between two loads that requests or failures cause.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum keys of one set.
const MAX_KEYS: usize = 100;

type Keys = Vec<Rc<Key>>;

/// The keys of an issuer.
pub(crate) struct KeySource {
    algorithms: Vec<Algorithm>,
    given: Keys,
    remote: Option<Remote>,
}

struct Remote {
    settings: RemoteJwks,
    keys: RefCell<Option<Keys>>,
    /// When the keys were loaded, and when that was tried.
    loaded_at: Cell<Option<Duration>>,
    tried_at: Cell<Option<Duration>>,
    /// Requests that need the keys at the same time wait for one load.
    loading: SingleFlight<()>,
}

/// A JWK set as a service returns it. Keys that do not even look like one are passed over.
#[derive(Deserialize)]
struct LoadedSet {
    keys: Vec<serde_json::Value>,
}

impl KeySource {
    /// Creates the source of an issuer's keys.
    ///
    /// # Errors
    /// A given key cannot be used. The message begins with its field.
    pub(crate) fn new(issuer: &Issuer) -> Result<Self, String> {
        let algorithms = issuer.algorithms();
        let given = issuer.jwks.iter().flat_map(|set| &set.keys).enumerate().map(|(index, jwk)| {
            Key::new(jwk, algorithms).map(Rc::new).map_err(|reason| format!("jwks.keys[{index}]: {reason}"))
        });
        let given = given.collect::<Result<_, _>>()?;
        let remote = issuer.remote_jwks.as_ref().map(|settings| Remote {
            settings: settings.clone(),
            keys: RefCell::default(),
            loaded_at: Cell::default(),
            tried_at: Cell::default(),
            loading: SingleFlight::new(),
        });
        Ok(Self { algorithms: algorithms.to_vec(), given, remote })
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Were the keys loaded, or given?
    pub(crate) fn is_loaded(&self) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.keys.borrow().is_some())
    }

    /// Must the keys be loaded, apart from any request?
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.remote.as_ref().is_some_and(|remote| {
            let refresh = Duration::from(remote.settings.refresh_interval).max(RETRY_INTERVAL);
            has_passed(remote.loaded_at.get(), refresh, now)
                && has_passed(remote.tried_at.get(), RETRY_INTERVAL, now)
        })
    }

    /// May a request load the keys, since none of them fits?
    pub(crate) fn may_load(&self, now: Duration) -> bool {
        self.remote.as_ref().is_some_and(|remote| {
            remote.keys.borrow().is_none() || has_passed(remote.tried_at.get(), RETRY_INTERVAL, now)
        })
    }

    /// Loads the keys, or waits for the load that runs. A failure is logged, and the keys before stay.
    pub(crate) async fn load(&self) {
        let Some(remote) = &self.remote else { return };
        remote.loading.run(async || self.replace_keys(remote).await).await;
    }

    async fn replace_keys(&self, remote: &Remote) {
        match self.fetch(remote).await {
            Ok(keys) => {
                remote.loaded_at.set(clock::now().ok());
                *remote.keys.borrow_mut() = Some(keys);
            }
            Err(reason) => log::error!("{}{}: {reason}", remote.settings.upstream, remote.settings.path),
        }
    }

    async fn fetch(&self, remote: &Remote) -> Result<Keys, String> {
        let RemoteJwks { upstream, path, authority, timeout, .. } = &remote.settings;
        remote.tried_at.set(clock::now().ok());
        let mut request = callout::http(upstream).path(path).header("accept", "application/json");
        if let Some(authority) = authority {
            request = request.authority(authority);
        }
        let response = request.timeout((*timeout).into()).send().await;
        let response = response.map_err(|error| error.to_string())?;
        if response.status() != 200 {
            return Err(format!("status {}", response.status()));
        }
        let set: LoadedSet =
            serde_json::from_slice(response.body()).map_err(|error| format!("no JWK set: {error}"))?;
        let jwks = set.keys.into_iter().take(MAX_KEYS);
        let keys = jwks.filter_map(|jwk| {
            let jwk: Jwk = serde_json::from_value(jwk).ok()?;
            let key = Key::new(&jwk, &self.algorithms);
            key.inspect_err(|reason| log::info!("a key of {upstream}{path} is passed over: {reason}")).ok()
        });
        Ok(keys.map(Rc::new).collect())
    }

    /// Returns the key that may have signed a token. It is for the token's algorithm only. Of several with the identifier
    /// that the token names, the first counts; a token that names none needs to have only one.
    ///
    /// A token is tried with one key: each try costs milliseconds, so that several would let a client take the time of a
    /// call, and more.
    pub(crate) fn key_for(&self, token: &Token<'_>) -> Option<Rc<Key>> {
        let loaded = self.remote.as_ref().map(|remote| remote.keys.borrow());
        let loaded = loaded.iter().flat_map(|keys| keys.iter().flatten());
        let of_algorithm = self.given.iter().chain(loaded).filter(|key| key.algorithm == token.algorithm);
        let mut candidates = of_algorithm.filter(|key| token.key_id.is_none() || token.key_id == key.id);
        let first = candidates.next()?;
        let is_certain = token.key_id.is_some() || candidates.next().is_none();
        is_certain.then(|| Rc::clone(first))
    }
}

/// Has this time passed since then? It has if there is no then.
fn has_passed(since: Option<Duration>, time: Duration, now: Duration) -> bool {
    since.is_none_or(|since| now.saturating_sub(since) >= time)
}
