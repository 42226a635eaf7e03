//! Field names that the gateway itself reads. A [`crate::Head`] indexes them while parsing.

/// A field name that the gateway reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KnownName {
    /// `Authorization`
    Authorization,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Date`
    Date,
    /// `Expect`
    Expect,
    /// `Forwarded`
    Forwarded,
    /// `Host`
    Host,
    /// `HTTP2-Settings`
    Http2Settings,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Server`
    Server,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `WWW-Authenticate`
    WwwAuthenticate,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Real-IP`
    XRealIp,
    /// `X-Request-ID`
    XRequestId,
}

/// Number of known names.
pub(crate) const COUNT: usize = 22;

/// Known names in lower case, in the order of the variants.
const NAMES: [(&[u8], KnownName); COUNT] = [
    (b"authorization", KnownName::Authorization),
    (b"connection", KnownName::Connection),
    (b"content-length", KnownName::ContentLength),
    (b"date", KnownName::Date),
    (b"expect", KnownName::Expect),
    (b"forwarded", KnownName::Forwarded),
    (b"host", KnownName::Host),
    (b"http2-settings", KnownName::Http2Settings),
    (b"keep-alive", KnownName::KeepAlive),
    (b"proxy-connection", KnownName::ProxyConnection),
    (b"server", KnownName::Server),
    (b"te", KnownName::Te),
    (b"trailer", KnownName::Trailer),
    (b"transfer-encoding", KnownName::TransferEncoding),
    (b"upgrade", KnownName::Upgrade),
    (b"www-authenticate", KnownName::WwwAuthenticate),
    (b"x-forwarded-for", KnownName::XForwardedFor),
    (b"x-forwarded-host", KnownName::XForwardedHost),
    (b"x-forwarded-port", KnownName::XForwardedPort),
    (b"x-forwarded-proto", KnownName::XForwardedProto),
    (b"x-real-ip", KnownName::XRealIp),
    (b"x-request-id", KnownName::XRequestId),
];

impl KnownName {
    /// Returns the variant of a field name, ignoring case. Returns `None` if the name is not known.
    ///
    /// Most fields of a request are not known. Length and first letter exclude nearly all of them before whole names
    /// are compared.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        let first = name.first()?.to_ascii_lowercase();
        let candidates = match (first, name.len()) {
            (b'a', 13) => Self::Authorization,
            (b'c', 10) => Self::Connection,
            (b'c', 14) => Self::ContentLength,
            (b'd', 4) => Self::Date,
            (b'e', 6) => Self::Expect,
            (b'f', 9) => Self::Forwarded,
            (b'h', 4) => Self::Host,
            (b'h', 14) => Self::Http2Settings,
            (b'k', 10) => Self::KeepAlive,
            (b'p', 16) => Self::ProxyConnection,
            (b's', 6) => Self::Server,
            (b't', 2) => Self::Te,
            (b't', 7) => Self::Trailer,
            (b't', 17) => Self::TransferEncoding,
            (b'u', 7) => Self::Upgrade,
            (b'w', 16) => Self::WwwAuthenticate,
            (b'x', 9) => Self::XRealIp,
            (b'x', 12) => Self::XRequestId,
            (b'x', 15) => Self::XForwardedFor,
            (b'x', 16) => return Self::host_or_port(name),
            (b'x', 17) => Self::XForwardedProto,
            _ => return None,
        };
        name.eq_ignore_ascii_case(candidates.as_bytes()).then_some(candidates)
    }

    fn host_or_port(name: &[u8]) -> Option<Self> {
        [Self::XForwardedHost, Self::XForwardedPort]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    }

    /// Returns the name in lower case.
    pub fn as_bytes(self) -> &'static [u8] {
        NAMES.get(self as usize).map_or(b"", |(name, _)| name)
    }

    /// Returns true for fields that concern one connection only (RFC 9110 §7.6.1) and are never forwarded.
    ///
    /// `TE` and `Transfer-Encoding` are included: the gateway frames each side itself.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

/// Returns true for fields in which proxies describe the original request: `X-Forwarded…`, `X-Original-…`,
/// `X-Real-IP`, `Forwarded` and `X-Request-ID`.
///
/// Names with `_` instead of `-` match too: CGI passes fields as environment variables, where both spellings are
/// equal (CVE-2025-64484).
#[inline]
pub fn is_forwarding_field(name: &[u8]) -> bool {
    // Few field names start with these letters, so nearly all calls return here.
    if !matches!(name.first(), Some(b'x' | b'X' | b'f' | b'F')) {
        return false;
    }
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let begins = |start: &[u8]| {
        name.get(..start.len()).is_some_and(|begin| begin.iter().map(folded).eq(start.iter().copied()))
    };
    let is = |whole: &[u8]| name.len() == whole.len() && begins(whole);
    begins(b"x-forwarded")
        || begins(b"x-original-")
        || is(b"x-real-ip")
        || is(b"forwarded")
        || is(b"x-request-id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_field_names_match_in_every_spelling() {
        for name in [
            "X-Forwarded-For",
            "x_forwarded_for",
            "X_Forwarded-PROTO",
            "x-forwarded",
            "X-Forwarded-Prefix",
            "x-original-url",
            "X_ORIGINAL_HOST",
            "x_real_ip",
            "FORWARDED",
            "X-Request_Id",
        ] {
            assert!(is_forwarding_field(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "x",
            "x-forward",
            "forwarded-for",
            "x-real-ips",
            "x-originals",
            "user-agent",
            "x-request-ids",
        ] {
            assert!(!is_forwarding_field(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn known_names_match_in_any_case_at_their_index() {
        for (place, (name, known)) in NAMES.iter().enumerate() {
            assert_eq!(*known as usize, place);
            assert_eq!(KnownName::from_bytes(name), Some(*known));
            assert_eq!(KnownName::from_bytes(&name.to_ascii_uppercase()), Some(*known));
            assert_eq!(known.as_bytes(), *name);
        }
    }

    #[test]
    fn names_close_to_known_ones_are_unknown() {
        for name in ["", "hosts", "hosT2", "x-forwarded-hosp", "conneXtion", "content_length", "tx"] {
            assert_eq!(KnownName::from_bytes(name.as_bytes()), None, "{name}");
        }
    }
}
