//! Checks JSON Web Tokens of requests (RFC 7519), signed by keys of a JWK set (RFC 7517).

mod algorithm;
mod claims;
mod jwk;
mod key_source;
mod settings;
mod token;

use plugin_sdk::credential::Found;
use plugin_sdk::prelude::*;

use claims::Claims;
use jwk::Key;
use key_source::KeySource;
use settings::Issuer;
pub use settings::Settings;
use token::Token;

/// Maximum bytes of a token. Longer ones are refused without a look.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Time between two looks whether key sets must be loaded again.
const TICK_PERIOD: Duration = Duration::from_secs(10);

/// The plugin.
pub struct Jwt {
    settings: Settings,
    /// Keys of the issuers, in their order.
    keys: Vec<KeySource>,
    /// Names of all fields that claims set. A client's own are removed.
    owned_fields: Vec<String>,
}

/// Why a request has no valid token.
#[derive(Debug)]
enum Refusal {
    /// It has no token.
    Missing,
    /// It has several tokens, or one that is no token at all.
    Malformed(&'static str),
    /// Its token is not valid.
    Invalid(&'static str),
    /// The keys of its issuer are not loaded.
    NoKeys,
}

#[plugin]
impl Plugin for Jwt {
    type Config = Settings;

    fn new(settings: Settings, context: &RootContext) -> Result<Self, Error> {
        let keys = settings.issuers.iter().enumerate().map(|(index, issuer)| {
            KeySource::new(issuer).map_err(|error| Error::message(format!("issuers[{index}].{error}")))
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        settings.validate()?;
        let claims = settings.issuers.iter().flat_map(|issuer| &issuer.claims_to_headers);
        let owned_fields = claims.map(|claim| claim.header.clone()).collect();
        if keys.iter().any(KeySource::is_remote) {
            context.set_tick_period(TICK_PERIOD)?;
        }
        Ok(Self { settings, keys, owned_fields })
    }

    async fn on_start(&self) -> Result<(), Error> {
        self.load_keys().await
    }

    async fn on_tick(&self) -> Result<(), Error> {
        self.load_keys().await
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        // What only a valid token may say is never the client's word.
        for name in &self.owned_fields {
            request.remove(name)?;
        }
        let checked = match self.find(request)? {
            Ok(token) => self.check(&token).await?,
            Err(refusal) => Err(refusal),
        };
        let fields = match checked {
            Ok(fields) => fields,
            Err(Refusal::Missing) if self.settings.allow_missing => return Ok(Flow::Continue),
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        for (name, value) in fields {
            request.append(&name, value)?;
        }
        if !self.settings.forward_token {
            for place in &self.settings.from {
                place.remove(request)?;
            }
        }
        Ok(Flow::Continue)
    }
}

impl Jwt {
    async fn load_keys(&self) -> Result<(), Error> {
        for source in &self.keys {
            if source.is_due(clock::now()?) {
                source.load().await;
            }
        }
        Ok(())
    }

    /// Finds the token of a request.
    fn find(&self, request: &Request) -> Result<Result<Vec<u8>, Refusal>, Error> {
        let mut found = None;
        for place in &self.settings.from {
            match (place.find(request)?, &found) {
                (None, _) => {}
                (Some(Found::One(token)), None) => found = Some(token),
                // The endpoint could take another one than was checked.
                (Some(Found::Several), _) | (Some(Found::One(_)), Some(_)) => {
                    return Ok(Err(Refusal::Malformed("several tokens")));
                }
            }
        }
        Ok(found.ok_or(Refusal::Missing))
    }

    /// Checks a token. Returns the fields that its claims set.
    async fn check(&self, token: &[u8]) -> Result<Result<Vec<(String, String)>, Refusal>, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            return Ok(Err(Refusal::Malformed("the token is too long")));
        }
        let token = match Token::parse(token) {
            Ok(token) => token,
            Err(reason) => return Ok(Err(Refusal::Malformed(reason))),
        };
        let issuers = self.settings.issuers.iter().zip(&self.keys);
        let mut of_issuer = issuers.filter(|(issuer, _)| token.claims.issuer() == Some(&issuer.issuer));
        let Some((issuer, source)) = of_issuer.next() else {
            return Ok(Err(Refusal::Invalid("unknown issuer")));
        };
        if !issuer.algorithms().contains(&token.algorithm) {
            return Ok(Err(Refusal::Invalid("the algorithm is not allowed")));
        }
        let mut key = source.key_for(&token);
        if key.is_none() && source.may_load(clock::now()?) {
            source.load().await;
            key = source.key_for(&token);
        }
        match key {
            Some(key) => Ok(verify(&token, &key, issuer, clock::now()?)),
            None if source.is_loaded() => Ok(Err(Refusal::Invalid("no key of the issuer fits"))),
            None => Ok(Err(Refusal::NoKeys)),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Flow {
        let (status, error) = match refusal {
            Refusal::Missing => (401, None),
            Refusal::Malformed(reason) => (401, Some(("invalid_request", *reason))),
            Refusal::Invalid(reason) => (401, Some(("invalid_token", *reason))),
            Refusal::NoKeys => {
                return Reply::new(503).header("retry-after", "5").details("jwt_keys_not_loaded").into();
            }
        };
        // RFC 6750 §3.
        let mut challenge = format!("Bearer realm=\"{}\"", self.settings.realm());
        if let Some((code, reason)) = error {
            log::debug!("refused: {reason}");
            challenge += &format!(", error=\"{code}\", error_description=\"{reason}\"");
        }
        Reply::new(status).header("www-authenticate", challenge).details("jwt_refused").into()
    }
}

/// Verifies signature and claims. Returns the fields that the claims set.
fn verify(
    token: &Token<'_>,
    key: &Key,
    issuer: &Issuer,
    now: Duration,
) -> Result<Vec<(String, String)>, Refusal> {
    if !key.verify(token.signed, &token.signature) {
        return Err(Refusal::Invalid("the signature is wrong"));
    }
    let claims: &Claims = &token.claims;
    let skew = issuer.clock_skew.into();
    claims.check(&issuer.audiences, now, skew).map_err(Refusal::Invalid)?;
    let mut fields = Vec::new();
    for claim in &issuer.claims_to_headers {
        if let Some(value) = claims.text(&claim.claim).map_err(Refusal::Invalid)? {
            fields.push((claim.header.clone(), value));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests;
