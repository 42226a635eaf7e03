//! Lets requests with a known API key pass, and gives the endpoint the name of its client.

mod hash;

use plugin_sdk::credential::{Found, Place};
use plugin_sdk::prelude::*;

use hash::KeyHash;

/// Configuration of the plugin.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Where clients send their key. The first place that a request has is used. Default: the header `x-api-key`.
    #[serde(default = "default_places")]
    from: Vec<Place>,
    /// The known keys.
    keys: Vec<Key>,
    /// Whether the endpoint gets the key too. Default: no.
    #[serde(default)]
    forward_key: bool,
    /// Realm of the challenge in `www-authenticate`.
    #[serde(default = "default_realm")]
    realm: String,
}

/// A known key.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Key {
    /// Name of the client. Log lines and `nameHeader` have it.
    name: String,
    /// SHA-256 of the key, in hexadecimal digits: `printf %s KEY | sha256sum`.
    sha256: KeyHash,
    /// Request fields for the endpoint, in place of the client's own.
    #[serde(default)]
    headers: Vec<Field>,
}

/// A header field.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
struct Field {
    /// Name of the field.
    name: String,
    /// Its value.
    value: String,
}

fn default_places() -> Vec<Place> {
    vec![Place::Header { name: "x-api-key".to_owned(), prefix: String::new() }]
}

fn default_realm() -> String {
    "api".to_owned()
}

/// The plugin.
pub struct ApiKey {
    settings: Settings,
    /// Names of all fields that keys set. A client's own are removed.
    owned_fields: Vec<String>,
}

#[plugin]
impl Plugin for ApiKey {
    type Config = Settings;

    fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
        if settings.from.is_empty() {
            return Err(Error::new("from: name at least one place"));
        }
        if settings.keys.is_empty() {
            return Err(Error::new("keys: name at least one key"));
        }
        for (index, key) in settings.keys.iter().enumerate() {
            let mut others = settings.keys.iter().take(index);
            if let Some(other) = others.find(|other| other.sha256 == key.sha256) {
                let (name, other) = (&key.name, &other.name);
                return Err(Error::message(format!("keys[{index}]: {name} has the key of {other}")));
            }
        }
        let fields = settings.keys.iter().flat_map(|key| &key.headers);
        let mut owned_fields: Vec<_> = fields.map(|field| field.name.to_ascii_lowercase()).collect();
        owned_fields.sort();
        owned_fields.dedup();
        Ok(Self { settings, owned_fields })
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        let mut found = None;
        for place in &self.settings.from {
            found = place.find(request)?;
            if found.is_some() {
                break;
            }
        }
        let key = match &found {
            Some(Found::One(key)) => self.key(key),
            // Several keys: which one the endpoint would take is unknown.
            Some(Found::Several) | None => None,
        };
        let Some(key) = key else { return Ok(self.challenge()) };
        for name in &self.owned_fields {
            request.remove(name)?;
        }
        for field in &key.headers {
            request.append(&field.name, &field.value)?;
        }
        if !self.settings.forward_key {
            for place in &self.settings.from {
                place.remove(request)?;
            }
        }
        log::debug!("request of {}", key.name);
        Ok(Flow::Continue)
    }
}

impl ApiKey {
    /// Returns the known key. Each request compares all hashes in full, so that its time says nothing about them.
    fn key(&self, key: &[u8]) -> Option<&Key> {
        let hash = KeyHash::of(key);
        let mut found = None;
        for known in &self.settings.keys {
            if known.sha256.equals(&hash) {
                found = Some(known);
            }
        }
        found
    }

    fn challenge(&self) -> Flow {
        let realm = self.settings.realm.replace(['"', '\\'], "");
        Reply::new(401)
            .header("www-authenticate", format!("ApiKey realm=\"{realm}\""))
            .details("api_key_refused")
            .into()
    }
}

#[cfg(test)]
mod tests;
