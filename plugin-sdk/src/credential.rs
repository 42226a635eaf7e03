//! Where a request carries a credential: a key, a token.

use serde::Deserialize;

use crate::Config;
use crate::Headers as _;
use crate::Request;
use crate::host::HostResult;

/// A place of a credential in a request.
///
/// ```
/// use plugin_sdk::credential::{Found, Place};
/// use plugin_sdk::prelude::*;
///
/// /// Configuration of the plugin.
/// #[derive(Deserialize, Config)]
/// struct Settings {
///     /// Where clients send their token, such as `{in: cookie, name: token}`.
///     from: Place,
/// }
///
/// fn token(settings: &Settings, request: &Request) -> Result<Option<Vec<u8>>, Error> {
///     match settings.from.find(request)? {
///         Some(Found::One(token)) => Ok(Some(token)),
///         Some(Found::Several) => Err(Error::new("several tokens")),
///         None => Ok(None),
///     }
/// }
/// ```
#[derive(Clone, Debug, Deserialize, Config, Eq, PartialEq)]
#[serde(tag = "in", rename_all = "camelCase", deny_unknown_fields)]
pub enum Place {
    /// A header field.
    Header {
        /// Name of the field.
        name: String,
        /// Text before the credential, such as `Bearer `, in any case. A field without it has no credential.
        #[serde(default)]
        prefix: String,
    },
    /// A parameter of the query.
    Query {
        /// Name of the parameter.
        name: String,
    },
    /// A cookie.
    Cookie {
        /// Name of the cookie.
        name: String,
    },
}

/// What a place has.
#[derive(Debug, Eq, PartialEq)]
pub enum Found {
    /// One credential.
    One(Vec<u8>),
    /// Several credentials: it is unknown which one the endpoint would take.
    Several,
}

impl Found {
    /// Collects credentials. Returns `None` if there are none.
    fn collect(keys: impl IntoIterator<Item = Vec<u8>>) -> Option<Self> {
        let mut keys = keys.into_iter();
        let first = keys.next()?;
        Some(if keys.next().is_some() { Self::Several } else { Self::One(first) })
    }
}

impl Place {
    /// Finds the credential of a request. Returns `None` if the place has none.
    ///
    /// # Errors
    /// The host failed.
    pub fn find(&self, request: &Request) -> HostResult<Option<Found>> {
        Ok(match self {
            Self::Header { name, prefix } => {
                let fields = request.fields()?;
                let mut values = fields.get_all_bytes(name);
                let only = values.next().and_then(|value| credential_of(value, prefix));
                // Of several fields, the endpoint may read another one.
                if values.next().is_some() { Some(Found::Several) } else { only.map(Found::One) }
            }
            Self::Query { name } => {
                let path = request.path()?;
                let query = path.split_once('?').map_or("", |(_, query)| query);
                let values = query.split('&').filter_map(|parameter| parameter_value(parameter, name));
                Found::collect(values.map(decode))
            }
            Self::Cookie { name } => {
                let fields = request.fields()?;
                let values = fields.get_all("cookie").flat_map(|cookies| cookie_values(&cookies, name));
                Found::collect(values)
            }
        })
    }

    /// Removes the credential from a request.
    ///
    /// # Errors
    /// The host failed.
    pub fn remove(&self, request: &mut Request) -> HostResult<()> {
        match self {
            Self::Header { name, .. } => request.remove(name)?,
            Self::Query { name } => {
                let path = request.path()?;
                if let Some((bare, query)) = path.split_once('?') {
                    let left = without(query, "&", |parameter| parameter_value(parameter, name).is_some());
                    if left.len() < query.len() {
                        let mark = if left.is_empty() { "" } else { "?" };
                        request.set_path(&format!("{bare}{mark}{left}"))?;
                    }
                }
            }
            Self::Cookie { name } => {
                let values = request.get_all("cookie")?;
                let left: Vec<_> = values
                    .iter()
                    .map(|value| without(value, ";", |cookie| cookie_value(cookie, name).is_some()))
                    .collect();
                if left != values {
                    request.remove("cookie")?;
                    for value in left.iter().filter(|value| !value.is_empty()) {
                        request.append("cookie", value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the credential behind a prefix. White space of any kind and number counts as that at the prefix's end.
fn credential_of(value: &[u8], prefix: &str) -> Option<Vec<u8>> {
    let scheme = prefix.trim_end();
    let (start, rest) = value.split_at_checked(scheme.len())?;
    if !start.eq_ignore_ascii_case(scheme.as_bytes()) {
        return None;
    }
    let credential = rest.trim_ascii_start();
    let has_space = scheme.len() == prefix.len() || credential.len() < rest.len() || rest.is_empty();
    has_space.then(|| credential.to_vec())
}

/// Returns the values of the cookies of a name.
fn cookie_values(cookies: &str, name: &str) -> Vec<Vec<u8>> {
    let values = cookies.split(';').filter_map(|cookie| cookie_value(cookie, name));
    values.map(|value| value.as_bytes().to_vec()).collect()
}

/// Returns the value of a cookie if it has this name.
fn cookie_value<'a>(cookie: &'a str, name: &str) -> Option<&'a str> {
    cookie.trim().split_once('=').filter(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Returns the value of a parameter if it has this name, perhaps encoded.
fn parameter_value<'a>(parameter: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = parameter.split_once('=')?;
    (decode(found) == name.as_bytes()).then_some(value)
}

/// Drops the items of a list that `is_dropped` names.
fn without(list: &str, separator: &str, is_dropped: impl Fn(&str) -> bool) -> String {
    let items: Vec<_> = list.split(separator).filter(|item| !is_dropped(item)).collect();
    items.join(separator).trim_start().to_owned()
}

/// Decodes `%XX` and `+`. Malformed escapes stay.
fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits =
            behind.get(..2).filter(|digits| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let escaped =
            digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        rest = if escaped.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
        decoded.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_follow_their_prefix() {
        for (value, prefix, expected) in [
            ("Bearer abc", "Bearer ", Some("abc")),
            ("bearer\tabc", "Bearer ", Some("abc")),
            ("Bearer   abc", "Bearer ", Some("abc")),
            ("Bearer", "Bearer ", Some("")),
            ("BearerX abc", "Bearer ", None),
            ("Basic abc", "Bearer ", None),
            ("abc", "", Some("abc")),
            ("k-abc", "k-", Some("abc")),
        ] {
            let found = credential_of(value.as_bytes(), prefix);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{value:?} {prefix:?}");
        }
    }

    #[test]
    fn items_of_a_name_are_dropped_from_a_list() {
        for (query, expected) in [
            ("key=1", ""),
            ("a=1&key=2&b=3", "a=1&b=3"),
            ("a=1&%6bey=2&keys=3", "a=1&keys=3"),
            ("key", "key"),
        ] {
            let left = without(query, "&", |parameter| parameter_value(parameter, "key").is_some());
            assert_eq!(left, expected, "{query}");
        }
        for (cookies, expected) in
            [("a=1; key=2; b=3", "a=1; b=3"), ("key=2; b=3", "b=3"), ("%6bey=2", "%6bey=2")]
        {
            let left = without(cookies, ";", |cookie| cookie_value(cookie, "key").is_some());
            assert_eq!(left, expected, "{cookies}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        for (text, expected) in
            [("a%20b+c", "a b c"), ("%2541", "%41"), ("%", "%"), ("%zz", "%zz"), ("%+1", "% 1")]
        {
            assert_eq!(decode(text), expected.as_bytes(), "{text}");
        }
    }
}
