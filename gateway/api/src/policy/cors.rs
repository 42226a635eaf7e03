//! `cors`: which pages of other origins may read responses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::field::is_field_name;
use crate::duration::Duration;
use crate::method::Method;

/// The CORS protocol of the Fetch standard; names are those of HTTPRoute's `CORS` filter. The gateway answers
/// preflight requests itself. Nothing is done until `allowOrigins` is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins such as `https://shop.example`; `https://*.shop.example` covers one label, `*` for all origins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Methods besides GET, HEAD and POST; `*` allows all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Request fields besides those that need no permission; `*` allows all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Response fields that pages may read besides those that need no permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// Whether requests may carry cookies and other credentials. By default they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// How long browsers may keep the result of a preflight request, in whole seconds. By default they decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

impl Cors {
    /// Returns the origins that cannot be honoured.
    pub fn origin_faults(origins: &[String]) -> Vec<Fault> {
        let faults = origins.iter().enumerate().filter(|(_, origin)| !is_origin(origin));
        let message = |origin: &str| {
            format!(
                "{} is not an origin: write scheme and host, such as https://shop.example or https://*.shop.example, or *",
                origin.escape_debug()
            )
        };
        faults.map(|(index, origin)| Fault::entry(index, "", message(origin))).collect()
    }

    /// Returns the methods that cannot be honoured. Browsers compare them by case.
    pub fn method_faults(names: &[String]) -> Vec<Fault> {
        let lower = names.iter().enumerate().filter_map(|(index, name)| {
            let upper = name.to_ascii_uppercase();
            let is_misspelt = *name != upper && upper.parse::<Method>().is_ok();
            is_misspelt
                .then(|| Fault::entry(index, "", format!("methods are compared by case: write {upper}")))
        });
        Self::name_faults(names).into_iter().chain(lower).collect()
    }

    /// Returns what is wrong with a time to keep results.
    pub fn max_age_faults(age: &Duration) -> Vec<Fault> {
        if age.as_millis().is_multiple_of(1000) {
            return Vec::new();
        }
        vec![Fault::new(format!("{age} is not in whole seconds: write a duration such as 10m"))]
    }

    /// Returns the names of methods or fields that cannot be honoured.
    pub fn name_faults(names: &[String]) -> Vec<Fault> {
        let faults = names.iter().enumerate().filter(|(_, name)| !is_field_name(name));
        let message =
            |name: &str| format!("{} is not a name: write letters, digits and `-`", name.escape_debug());
        faults.map(|(index, name)| Fault::entry(index, "", message(name))).collect()
    }
}

/// Is the text `*`, or scheme, host and maybe port, with `*` for the first label at most? Browsers leave the default
/// port out.
fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_scheme = !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let port_at =
        authority.rfind(':').filter(|at| !authority.get(*at..).is_some_and(|rest| rest.contains(']')));
    let (host, port) = authority.split_at(port_at.unwrap_or(authority.len()));
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let is_port = |port: &str| {
        port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    is_scheme && is_origin_host(host) && (port.is_empty() || (port != default_port && is_port(port)))
}

fn is_origin_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.strip_prefix("*.").unwrap_or(host).split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_checked() {
        for (origin, is_valid) in [
            ("*", true),
            ("https://shop.example", true),
            ("http://localhost:3000", true),
            ("https://*.shop.example", true),
            ("https://*", false),
            ("https://a.*.example", false),
            ("shop.example", false),
            ("https://shop.example/", false),
            ("https://shop.example:0", false),
            ("https://shop.example:443", false),
            ("https://shop.example:8443", true),
            ("http://[::1]:3000", true),
            ("http://[::1", false),
            ("null", false),
        ] {
            assert_eq!(is_origin(origin), is_valid, "{origin}");
        }
    }
}
