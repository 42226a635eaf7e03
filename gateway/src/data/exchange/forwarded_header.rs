//! The field `Forwarded` (RFC 7239) of a trusted proxy, and the scheme in `X-Forwarded-Proto`.
//!
//! Not here: which peers are trusted (`client`), and writing the fields (`forwarded`).

use std::net::{IpAddr, SocketAddr};

use http1::{Head, KnownName};

use crate::message::Scheme;

/// One element: one hop, as the proxy behind it saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedElement<'a> {
    /// Address in `for`; `None` if it is obfuscated or unknown.
    pub(super) address: Option<IpAddr>,
    /// Scheme in `proto`.
    pub(super) scheme: Option<Scheme>,
    /// Value of `host`.
    pub(super) host: Option<&'a [u8]>,
}

/// Returns true if the proxy reports the client by `X-Forwarded-*`. These fields precede `Forwarded` then.
pub(super) fn has_x_forwarded(head: &Head) -> bool {
    [KnownName::XForwardedFor, KnownName::XForwardedProto, KnownName::XForwardedHost]
        .iter()
        .any(|name| head.get(*name).is_some())
}

/// Returns the elements of all fields `Forwarded`, in order.
pub(super) fn elements(head: &Head) -> impl Iterator<Item = ForwardedElement<'_>> {
    let values = head.get_all(KnownName::Forwarded).flat_map(|value| split_unquoted(value, b','));
    values.filter(|element| !element.trim_ascii().is_empty()).map(parse_element)
}

/// Returns the values of all fields of a name, split at commas.
pub(super) fn list_items(head: &Head, name: KnownName) -> impl Iterator<Item = &[u8]> {
    let items = head.get_all(name).flat_map(|value| value.split(|byte| *byte == b','));
    items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Parses a scheme. Those of WebSockets are the schemes of their handshakes.
pub(super) fn parse_scheme(text: &[u8]) -> Option<Scheme> {
    let is_one_of = |known: [&[u8]; 2]| known.iter().any(|known| text.eq_ignore_ascii_case(known));
    match (is_one_of([b"http", b"ws"]), is_one_of([b"https", b"wss"])) {
        (true, _) => Some(Scheme::Http),
        (false, true) => Some(Scheme::Https),
        (false, false) => None,
    }
}

/// Parses an address, to which some proxies add the port.
pub(super) fn parse_hop(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn parse_element(text: &[u8]) -> ForwardedElement<'_> {
    let mut element = ForwardedElement::default();
    for pair in split_unquoted(text, b';') {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = pair.split_at_checked(equals).unwrap_or_default();
        let value = unquoted(value.get(1..).unwrap_or_default().trim_ascii());
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"for" => element.address = parse_hop(value),
            b"proto" => element.scheme = parse_scheme(value),
            b"host" => element.host = Some(value),
            _ => {}
        }
    }
    element
}

/// Splits at a separator outside of quoted strings.
fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if is_quoted && !was_escaped => is_escaped = true,
            b'"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == separator && !is_quoted
    })
}

/// Removes the quotes of a value. A value with escapes is none that the gateway uses.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http1::HeadBuilder;

    use super::*;

    #[test]
    fn elements_have_address_scheme_and_host() {
        let address = |text: &str| Some(text.parse().unwrap());
        struct Row {
            value: &'static str,
            expected: Vec<ForwardedElement<'static>>,
        }
        let plain = ForwardedElement::default();
        for Row { value, expected } in [
            Row {
                value: "for=192.0.2.1;proto=https;host=a.example",
                expected: vec![ForwardedElement {
                    address: address("192.0.2.1"),
                    scheme: Some(Scheme::Https),
                    host: Some(b"a.example"),
                }],
            },
            Row {
                value: "For=\"[2001:db8::1]:4711\";Proto=wss, for=unknown;by=\"x, y;z\"",
                expected: vec![
                    ForwardedElement {
                        address: address("2001:db8::1"),
                        scheme: Some(Scheme::Https),
                        ..plain
                    },
                    plain,
                ],
            },
            Row {
                value: "host=\"a.example:81\",",
                expected: vec![ForwardedElement { host: Some(b"a.example:81"), ..plain }],
            },
            Row { value: "for=_hidden;proto=gopher", expected: vec![plain] },
            Row { value: "garbage", expected: vec![plain] },
            Row { value: "for=\"1.2.3.4", expected: vec![plain] },
        ] {
            let mut head = HeadBuilder::response(200, 1);
            head.field(b"forwarded", value.as_bytes());
            let head = head.build();
            assert_eq!(elements(&head).collect::<Vec<_>>(), expected, "{value}");
        }
    }
}
