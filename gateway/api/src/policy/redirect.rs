//! `redirect`: the client is sent to another URL.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Fault;
use super::field::is_field_value;

/// Where requests are sent instead of to an endpoint. A request whose URL already is the target passes, so no
/// redirect leads to itself. Names are those of HTTPRoute's `RequestRedirect` where it has one.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// Which plaintext requests go to the same URL over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsRedirect>,
    /// What happens to ACME HTTP-01 challenges (`/.well-known/acme-challenge/`) where plaintext goes to HTTPS. By
    /// default they pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_challenges: Option<AcmeChallenges>,
    /// The scheme of the target. By default that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<RedirectScheme>,
    /// The host of the target. By default that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port of the target. Beside `https` it is that of the upgrade alone. By default that of the scheme if scheme or
    /// host change, else that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// The path of the target, instead of the request's. The query stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308. By default 308 where only plaintext goes to HTTPS, else 302.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RedirectStatus>,
}

/// Which plaintext requests go to HTTPS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum HttpsRedirect {
    /// None.
    Never,
    /// Those for hosts that `spec.tls` of their Ingress names.
    TlsHosts,
    /// All.
    Always,
}

/// What happens to ACME HTTP-01 challenges.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum AcmeChallenges {
    /// They are served over plaintext, so that the first certificate can be issued.
    #[default]
    Pass,
    /// They go to HTTPS as all requests.
    Redirect,
}

/// A scheme to redirect to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RedirectScheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

/// The status of a redirect (RFC 9110 §15.4).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RedirectStatus(u16);

impl RedirectStatus {
    /// The statuses that can be chosen.
    pub const ALL: [u16; 5] = [301, 302, 303, 307, 308];

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        if Self::ALL.contains(&status) {
            return Ok(Self(status));
        }
        Err(format!("{status} is not a redirect: write one of 301, 302, 303, 307, 308"))
    }
}

impl From<RedirectStatus> for u16 {
    fn from(status: RedirectStatus) -> Self {
        status.0
    }
}

impl JsonSchema for RedirectStatus {
    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 301, "maximum": 308 })
    }
}

impl fmt::Display for RedirectStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HttpsRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for AcmeChallenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for RedirectScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl Redirect {
    /// Returns what is wrong with a host to redirect to. `is_host` parses DNS names.
    pub fn host_faults(host: &str, is_host: impl Fn(&str) -> bool) -> Vec<Fault> {
        if is_host(host) {
            return Vec::new();
        }
        let host = host.escape_debug();
        vec![Fault::new(format!(
            "{host} is not a host: write a name such as www.example.com, without scheme and port"
        ))]
    }

    /// Returns what is wrong with a path to redirect to. `is_canonical` says whether requests for it are matched as it is
    /// written.
    pub fn path_faults(path: &str, is_canonical: impl Fn(&str) -> bool) -> Vec<Fault> {
        let is_path = path.starts_with('/')
            && !path.starts_with("//")
            && path.is_ascii()
            && is_field_value(path.as_bytes())
            && !path.contains([' ', '?', '#', '\\'])
            && is_canonical(path);
        if is_path {
            return Vec::new();
        }
        let path = path.escape_debug();
        vec![Fault::new(format!(
            "{path} is not a path: write one that begins with one `/`, percent-encoded, without query and dot segments"
        ))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_are_checked() {
        for (host, is_valid) in [
            ("www.example.com", true),
            ("a", true),
            ("a.example:8080", false),
            ("https://a", false),
            ("", false),
        ] {
            assert_eq!(
                Redirect::host_faults(host, |host| !host.is_empty() && !host.contains([':', '/'])).is_empty(),
                is_valid,
                "{host}"
            );
        }
        for (path, is_valid) in
            [("/", true), ("/a%20b", true), ("a", false), ("//evil", false), ("/a?b", false)]
        {
            assert_eq!(Redirect::path_faults(path, |_| true).is_empty(), is_valid, "{path}");
        }
    }
}
