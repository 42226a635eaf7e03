//! Normal forms of the hosts of rules and requests.
//!
//! Both are normalised once, here, and then compared as they are. Not here: the routes of a host (`table`).

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Maximum length of a name without its final dot (RFC 1123).
const MAX_NAME_LENGTH: usize = 253;
/// Maximum length of a label (RFC 1035).
const MAX_LABEL_LENGTH: usize = 63;

/// The host of a rule in lower case: labels of letters, digits and inner hyphens (DNS-1123 subdomain).
///
/// The order is that of lookup, and that of the hosts in a printed table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostName {
    /// One name. Created by [`HostName::parse`].
    Exact(Arc<str>),
    /// All names with exactly one more label than this one. Held without `*.`.
    Wildcard(Arc<str>),
    /// All hosts that no rule names. The host of rules without one.
    Any,
}

/// Why a text is neither a DNS name nor a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The text is empty, apart from a final dot.
    #[error("a host must not be empty")]
    Empty,
    /// The text is an IP address. The Ingress API allows names only.
    #[error("an IP address is not allowed, only a DNS name")]
    IpAddress,
    /// A label is empty, too long, or has characters other than letters, digits and inner hyphens.
    #[error("every label must be 1 to 63 letters, digits or inner hyphens")]
    Label,
    /// The text has a colon.
    #[error("a port is not allowed")]
    Port,
    /// The name has more than 253 characters.
    #[error("a name must have at most 253 characters")]
    TooLong,
    /// The text has a `*` elsewhere than in `*.` before a DNS name.
    #[error("a '*' is allowed only as the whole first label of a DNS name: *.example.com")]
    Wildcard,
}

impl HostName {
    /// Parses the host of a rule: a DNS name, or `*.` before one. Converts to lower case and drops a final dot.
    ///
    /// # Errors
    ///
    /// Returns the first [`HostError`] of the text.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            Some(rest) => dns_name(rest).map(|name| Self::Wildcard(name.into())),
            None => dns_name(text).map(|name| Self::Exact(name.into())),
        }
    }

    /// Parses like [`HostName::parse`], and shares the text if it is in normal form.
    pub(crate) fn parse_shared(text: &Arc<str>) -> Result<Self, HostError> {
        Self::parse(text).map(|host| match host {
            Self::Exact(name) if name == *text => Self::Exact(Arc::clone(text)),
            other => other,
        })
    }

    /// Returns true if a certificate for this name is valid for the other. A wildcard covers names with exactly one more
    /// label (RFC 9525 §6.3).
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.matches(name),
            Self::Wildcard(_) | Self::Any => self == other,
        }
    }

    /// Returns true if this name matches a host in normal form.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(name) => parent(host) == Some(name),
            Self::Any => true,
        }
    }

    /// Returns the name without `*.`. Empty for [`HostName::Any`].
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => name,
            Self::Any => "",
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("(any other host)"),
        }
    }
}

fn dns_name(text: &str) -> Result<Cow<'_, str>, HostError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.parse::<Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok() || name.starts_with('[') {
        return Err(HostError::IpAddress);
    }
    if name.contains(':') {
        return Err(HostError::Port);
    }
    if name.contains('*') {
        return Err(HostError::Wildcard);
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(HostError::TooLong);
    }
    if !name.split('.').all(is_dns_label) {
        return Err(HostError::Label);
    }
    Ok(to_lower_case(name))
}

fn is_dns_label(label: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn to_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Returns the name above the first label of a host in normal form: the key of the wildcard that matches it.
pub(crate) fn parent(host: &str) -> Option<&str> {
    Some(host.split_once('.')?.1).filter(|parent| !parent.is_empty())
}

/// Returns the normal form of a Host field or an authority: no port, no final dot, lower case. Borrows if only the end
/// changes, which is the usual case.
///
/// Returns `None` for an invalid host: empty, with user information, with an invalid port, with an empty label, or with
/// characters outside of DNS names and IP literals. Underscores are valid, because such names are in use. IPv6 literals
/// keep their brackets.
pub fn normalise(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    if text.starts_with('[') {
        let (literal, port) = text.split_at_checked(text.find(']')? + 1)?;
        literal.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| to_lower_case(literal));
    }
    let name = match text.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    is_request_name(name).then(|| to_lower_case(name))
}

/// Returns true for a port up to 65535, or an empty one (RFC 3986).
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text.is_empty() || text.parse::<u16>().is_ok())
}

fn is_request_name(name: &str) -> bool {
    let mut label = 0_usize;
    for byte in name.bytes() {
        match byte {
            b'.' if label == 0 => return false,
            b'.' => label = 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < MAX_LABEL_LENGTH => label += 1,
            _ => return false,
        }
    }
    label > 0 && name.len() <= MAX_NAME_LENGTH
}
