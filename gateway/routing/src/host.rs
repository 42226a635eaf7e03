//! Host names: those that objects name, and those that requests carry, in one normal form.
//!
//! Purpose: both sides of a host comparison are normalised here, once. Not here: which host serves what (`table`).

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// RFC 1123 limit on a whole name, without the root's dot.
const MAX_NAME_LENGTH: usize = 253;
/// RFC 1035 limit on one label.
const MAX_LABEL_LENGTH: usize = 63;

/// A host as rules name it, in lower case: labels of letters, digits and inner hyphens (DNS-1123 subdomain). The
/// order is the one in which tables list hosts, and that in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostName {
    /// One name. Make it with [`HostName::parse`].
    Exact(Arc<str>),
    /// All names with exactly one label more than this one, which is held without `*.`.
    Wildcard(Arc<str>),
    /// Whatever no rule names: the host of rules without one.
    Any,
}

/// Why a text is neither a DNS name nor a wildcard before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing is left after dropping a trailing dot.
    #[error("a host must not be empty")]
    Empty,
    /// An IP address; the Ingress API allows names only.
    #[error("an IP address is not allowed, only a DNS name")]
    IpAddress,
    /// A label is empty, too long, or has other characters than letters, digits and inner hyphens.
    #[error("every label must be 1 to 63 letters, digits or inner hyphens")]
    Label,
    /// Text behind a colon.
    #[error("a port is not allowed")]
    Port,
    /// More than 253 characters.
    #[error("a name has at most 253 characters")]
    TooLong,
    /// A star anywhere but in `*.` before a DNS name.
    #[error("a star stands for the first label only, before a DNS name: *.example.com")]
    Wildcard,
}

impl HostName {
    /// Parses the host of a rule: a DNS name, or `*.` before one. Upper case and one trailing dot are normalised away.
    ///
    /// # Errors
    ///
    /// Says what keeps the text from being a host.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            Some(rest) => dns_name(rest).map(|name| Self::Wildcard(name.into())),
            None => dns_name(text).map(|name| Self::Exact(name.into())),
        }
    }

    /// The same as [`HostName::parse`], but holds on to the text if that is in normal form already.
    pub(crate) fn parse_shared(text: &Arc<str>) -> Result<Self, HostError> {
        Self::parse(text).map(|host| match host {
            Self::Exact(name) if name == *text => Self::Exact(Arc::clone(text)),
            other => other,
        })
    }

    /// Whether a certificate for this name is one for the other: for itself, and a wildcard for names of exactly
    /// one label more (RFC 9525 §6.3).
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.matches(name),
            Self::Wildcard(_) | Self::Any => self == other,
        }
    }

    /// Whether a host in normal form is one of those that this name stands for.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(name) => parent(host) == Some(name),
            Self::Any => true,
        }
    }

    /// The text by which hosts of one sort are told apart: the name, or what follows `*.`.
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
    Ok(lower(name))
}

fn is_dns_label(label: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// What follows the first label of a normal host, which is what a wildcard for it is held under.
pub(crate) fn parent(host: &str) -> Option<&str> {
    Some(host.split_once('.')?.1).filter(|parent| !parent.is_empty())
}

/// Takes the host out of a Host header or an authority: the port and one trailing dot go, letters become lower
/// case. Borrows if nothing but the ends had to change, which is the usual case and allocates nothing.
///
/// `None` if it is no host: empty, user information, a port that is no number up to 65535, an empty label, or
/// characters that no DNS name and no IP literal has. Underscores pass, because such names are in use. IPv6 literals keep their brackets.
pub fn normalise(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    if text.starts_with('[') {
        let (literal, port) = text.split_at_checked(text.find(']')? + 1)?;
        literal.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| lower(literal));
    }
    let name = match text.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    is_request_name(name).then(|| lower(name))
}

/// RFC 3986 allows an empty port.
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
