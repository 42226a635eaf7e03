//! Asks an authorization service about each request.
//!
//! Status 200 to 299 lets the request pass. Any other status is the client's response. Without an answer the request is
//! refused.

mod cache;

use std::cell::RefCell;

use plugin_sdk::prelude::*;

use cache::{Cache, CacheKey};

/// Configuration of the plugin.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The authorization service, one of the plugin's `allowedUpstreams`. In Envoy, the name of a cluster.
    upstream: String,
    /// Path of the question. With a `/` at its end, the path of the request follows.
    #[serde(default = "default_path")]
    path: String,
    /// Host of the question. Default: the name of the service.
    authority: Option<String>,
    /// Time until the service must have answered. Default: `1s`.
    #[serde(default = "default_timeout")]
    timeout: TimeSpan,
    /// Request fields that the service gets. It also gets `x-forwarded-method`, `x-forwarded-uri` and `x-forwarded-host`.
    #[serde(default = "default_request_headers")]
    request_headers: Vec<String>,
    /// Fields of an answer that lets the request pass, which the endpoint gets in place of the client's own.
    #[serde(default)]
    upstream_headers: Vec<String>,
    /// Fields of an answer that lets the request pass, which the client's response gets.
    #[serde(default)]
    response_headers: Vec<String>,
    /// Fields of a refusal that the client gets, with status and body.
    #[serde(default = "default_denied_headers")]
    denied_headers: Vec<String>,
    /// Status for the client if the service does not answer, or answers 500 to 599.
    #[serde(default = "default_error_status")]
    error_status: u16,
    /// How long answers that let requests pass are kept. Default: not at all.
    cache: Option<CacheSettings>,
}

/// How answers are kept.
#[derive(Deserialize, Config)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CacheSettings {
    /// Time that an answer is kept, such as `30s`.
    ttl: TimeSpan,
    /// Maximum answers. The oldest is dropped beyond.
    #[serde(default = "default_max_entries")]
    max_entries: usize,
    /// Request fields that the service decides by, `:method`, `:path` and `:authority` among them. Requests that are equal
    /// in all of them share an answer.
    key: Vec<String>,
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_timeout() -> TimeSpan {
    Duration::from_secs(1).into()
}

fn default_request_headers() -> Vec<String> {
    ["authorization", "cookie"].map(str::to_owned).to_vec()
}

fn default_denied_headers() -> Vec<String> {
    ["content-type", "location", "set-cookie", "www-authenticate"].map(str::to_owned).to_vec()
}

fn default_error_status() -> u16 {
    503
}

fn default_max_entries() -> usize {
    1000
}

/// The plugin.
pub struct ExtAuth {
    settings: Settings,
    cache: Option<RefCell<Cache>>,
}

/// What an answer adds to a request that passes, and to its response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permit {
    upstream: Vec<(String, Vec<u8>)>,
    response: Vec<(String, Vec<u8>)>,
}

/// Fields of the answer for the response.
#[derive(Default)]
pub struct Stream(Vec<(String, Vec<u8>)>);

#[plugin]
impl Plugin for ExtAuth {
    type Config = Settings;
    type Stream = Stream;

    fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
        if !(200..=599).contains(&settings.error_status) {
            return Err(Error::message(format!("errorStatus: {} is not 200 to 599", settings.error_status)));
        }
        if Duration::from(settings.timeout).is_zero() {
            return Err(Error::new("timeout: expected at least `1ms`"));
        }
        if !settings.path.starts_with('/') {
            return Err(Error::new("path: expected a path that begins with `/`"));
        }
        if let Some(cache) = &settings.cache
            && (cache.key.is_empty() || cache.max_entries == 0)
        {
            return Err(Error::new(
                "cache: name at least one field in `key`, and at least one entry in `maxEntries`",
            ));
        }
        let cache = settings
            .cache
            .as_ref()
            .map(|cache| RefCell::new(Cache::new(cache.ttl.into(), cache.max_entries)));
        Ok(Self { settings, cache })
    }

    async fn on_request(&self, stream: &mut Stream, request: &mut Request) -> Result<Flow, Error> {
        let fields = request.fields()?;
        let key = self.settings.cache.as_ref().map(|cache| CacheKey::of(&cache.key, &fields));
        if let Some(permit) = self.cached(key.as_ref())? {
            return self.permit(permit, stream, request);
        }
        let answer = match self.question(request, &fields)?.send().await {
            Ok(answer) if !(500..=599).contains(&answer.status()) => answer,
            Ok(answer) => return Ok(self.unavailable(&format!("status {}", answer.status()))),
            Err(error) => return Ok(self.unavailable(&error.to_string())),
        };
        if !(200..=299).contains(&answer.status()) {
            return Ok(self.denied(&answer));
        }
        let permit = Permit {
            upstream: selected(answer.headers(), &self.settings.upstream_headers),
            response: selected(answer.headers(), &self.settings.response_headers),
        };
        if let (Some(cache), Some(key)) = (&self.cache, key) {
            cache.borrow_mut().insert(key, permit.clone(), clock::now()?);
        }
        self.permit(permit, stream, request)
    }

    async fn on_response(&self, stream: &mut Stream, response: &mut Response) -> Result<Flow, Error> {
        for (name, value) in &stream.0 {
            response.append(name, value)?;
        }
        Ok(Flow::Continue)
    }
}

impl ExtAuth {
    fn cached(&self, key: Option<&CacheKey>) -> Result<Option<Permit>, Error> {
        let (Some(cache), Some(key)) = (&self.cache, key) else { return Ok(None) };
        let now = clock::now()?;
        Ok(cache.borrow_mut().get(key, now))
    }

    /// Makes the request to the service.
    fn question(&self, request: &Request, fields: &Fields) -> Result<callout::HttpCall, Error> {
        let (settings, path) = (&self.settings, request.path()?);
        let target = match settings.path.strip_suffix('/') {
            Some(prefix) => format!("{prefix}{path}"),
            None => settings.path.clone(),
        };
        let mut question = callout::http(&settings.upstream)
            .path(target)
            .header("x-forwarded-method", request.method()?)
            .header("x-forwarded-uri", path)
            .header("x-forwarded-host", request.authority()?)
            .timeout(settings.timeout.into());
        if let Some(authority) = &settings.authority {
            question = question.authority(authority);
        }
        for (name, value) in selected(fields, &settings.request_headers) {
            question = question.header(&name, value);
        }
        Ok(question)
    }

    /// Lets a request pass.
    fn permit(&self, permit: Permit, stream: &mut Stream, request: &mut Request) -> Result<Flow, Error> {
        // A client cannot claim what only the service says.
        for name in &self.settings.upstream_headers {
            request.remove(name)?;
        }
        for (name, value) in &permit.upstream {
            request.append(name, value)?;
        }
        stream.0 = permit.response;
        Ok(Flow::Continue)
    }

    fn denied(&self, answer: &CalloutResponse) -> Flow {
        // A status that is no response to a client, such as 101, is a refusal too.
        let status = if (300..=499).contains(&answer.status()) { answer.status() } else { 403 };
        let mut reply = Reply::new(status).body(answer.body()).details("ext_auth_denied");
        for (name, value) in selected(answer.headers(), &self.settings.denied_headers) {
            reply = reply.header(&name, value);
        }
        reply.into()
    }

    fn unavailable(&self, reason: &str) -> Flow {
        log::warn!("{} did not decide: {reason}", self.settings.upstream);
        Reply::new(self.settings.error_status).details("ext_auth_unavailable").into()
    }
}

/// Returns the fields of these names.
fn selected(fields: &Fields, names: &[String]) -> Vec<(String, Vec<u8>)> {
    let values_of = |name: &'_ String| {
        let values = fields.get_all_bytes(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let name = name.clone();
        values.into_iter().map(move |value| (name.clone(), value))
    };
    names.iter().flat_map(values_of).collect()
}

#[cfg(test)]
mod tests;
