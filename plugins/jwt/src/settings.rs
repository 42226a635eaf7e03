//! Configuration.

use plugin_sdk::credential::Place;
use plugin_sdk::prelude::*;

use crate::algorithm::Algorithm;
use crate::jwk::Jwk;

/// Configuration of the plugin.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Issuers whose tokens are accepted.
    pub(crate) issuers: Vec<Issuer>,
    /// Where clients send their token. A request has one token at most. Default: `Authorization: Bearer TOKEN`.
    #[serde(default = "default_places")]
    pub(crate) from: Vec<Place>,
    /// Whether requests without a token pass. Default: no. A token that is not valid never passes.
    #[serde(default)]
    pub(crate) allow_missing: bool,
    /// Whether the endpoint gets the token too. Default: yes.
    #[serde(default = "default_forward_token")]
    pub(crate) forward_token: bool,
    /// Realm of the challenge in `www-authenticate`.
    #[serde(default = "default_realm")]
    realm: String,
}

/// An issuer of tokens.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Issuer {
    /// The claim `iss` of its tokens.
    pub(crate) issuer: String,
    /// Audiences, one of which must be in the claim `aud`.
    pub(crate) audiences: Vec<String>,
    /// Its keys, as a JWK set.
    pub(crate) jwks: Option<JwkSet>,
    /// Where its keys are loaded from.
    pub(crate) remote_jwks: Option<RemoteJwks>,
    /// Algorithms that it signs with. A key without `alg` is for the only one of them that fits its type. Default:
    /// `RS256`, `ES256`, `ES384` and `EdDSA`.
    #[serde(default)]
    algorithms: Vec<Algorithm>,
    /// Time that the clocks of issuer and gateway may differ. Default: `1m`.
    #[serde(default = "default_clock_skew")]
    pub(crate) clock_skew: TimeSpan,
    /// Claims that the endpoint gets as request fields, in place of the client's own.
    #[serde(default)]
    pub(crate) claims_to_headers: Vec<ClaimToHeader>,
}

/// Keys of an issuer.
#[derive(Deserialize, Config)]
pub(crate) struct JwkSet {
    /// The keys. Those that cannot verify a signature are passed over.
    pub(crate) keys: Vec<Jwk>,
}

/// Where keys are loaded from.
#[derive(Clone, Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RemoteJwks {
    /// The service, one of the plugin's `allowedUpstreams`. In Envoy, the name of a cluster.
    pub(crate) upstream: String,
    /// Path of the JWK set.
    pub(crate) path: String,
    /// Host of the request. Default: the name of the service.
    pub(crate) authority: Option<String>,
    /// Time until the keys must have arrived. Default: `1s`.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: TimeSpan,
    /// Time after which they are loaded again. A token with an unknown key loads them earlier, at most each 10 s. If that
    /// fails, the keys before stay. Default: `5m`.
    #[serde(default = "default_refresh_interval")]
    pub(crate) refresh_interval: TimeSpan,
}

/// A claim as a request field.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimToHeader {
    /// Name of the claim. Names within objects follow behind a dot: `realm_access.roles`.
    pub(crate) claim: String,
    /// Name of the field. An array of texts is joined by commas.
    pub(crate) header: String,
}

fn default_places() -> Vec<Place> {
    vec![Place::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() }]
}

fn default_forward_token() -> bool {
    true
}

fn default_realm() -> String {
    "api".to_owned()
}

fn default_clock_skew() -> TimeSpan {
    Duration::from_secs(60).into()
}

fn default_timeout() -> TimeSpan {
    Duration::from_secs(1).into()
}

fn default_refresh_interval() -> TimeSpan {
    Duration::from_secs(300).into()
}

impl Settings {
    /// Checks what the types do not say.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.from.is_empty() {
            return Err(Error::new("from: name at least one place"));
        }
        if self.issuers.is_empty() {
            return Err(Error::new("issuers: name at least one issuer"));
        }
        for (index, issuer) in self.issuers.iter().enumerate() {
            if issuer.audiences.is_empty() {
                return Err(Error::message(format!(
                    "issuers[{index}].audiences: name at least one: a token for another service would pass otherwise"
                )));
            }
            if self.issuers.iter().take(index).any(|other| other.issuer == issuer.issuer) {
                return Err(Error::message(format!(
                    "issuers[{index}].issuer: {} is there twice",
                    issuer.issuer
                )));
            }
            if issuer.jwks.is_none() && issuer.remote_jwks.is_none() {
                return Err(Error::message(format!(
                    "issuers[{index}]: give its keys in `jwks` or `remoteJwks`"
                )));
            }
        }
        Ok(())
    }

    /// Returns the realm, safe within quotes.
    pub(crate) fn realm(&self) -> String {
        self.realm.chars().filter(|char| !char.is_control() && !matches!(char, '"' | '\\')).collect()
    }
}

impl Issuer {
    /// Returns the algorithms that it signs with.
    pub(crate) fn algorithms(&self) -> &[Algorithm] {
        if self.algorithms.is_empty() { Algorithm::DEFAULT } else { &self.algorithms }
    }
}
