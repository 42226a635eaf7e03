//! Who sent a request, and how endpoints are told: `X-Forwarded-*`, `X-Real-IP`, `Forwarded`, `X-Request-ID`.
//!
//! A peer says what it likes, so these fields are written anew, unless the settings trust the peer to be a proxy.
//! Not here: which of the client's fields are left out for that (`headers`).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};
use http1::parse::is_valid_host;
use http1::{Head, KnownName, write};
use ipnet::IpNet;
use rustls::ProtocolVersion;

use super::request_id::RequestId;

/// The peer of a connection: the same for all requests on it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address; an IPv4 address is never written as an IPv6 one.
    pub peer: IpAddr,
    /// How it connected.
    pub scheme: Scheme,
    /// What it speaks.
    pub codec: Codec,
    /// The version of TLS, if any.
    pub tls: Option<ProtocolVersion>,
    trust: Trust,
    /// The fields that are the same for all requests of a peer without trust, up to and into `Forwarded`.
    fields: Box<[u8]>,
}

/// How a client connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// HTTP/1.0 or HTTP/1.1: each request's head says which.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Whether what a peer says of the hops before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    None,
    Proxy,
}

impl Scheme {
    /// The scheme as URLs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme means if it names none.
    fn port(self) -> &'static [u8] {
        match self {
            Self::Http => b"80",
            Self::Https => b"443",
        }
    }
}

impl Client {
    /// Describes a peer; without a version of TLS it came in plaintext. `trusted` are the networks of proxies in
    /// front of the gateway.
    pub fn new(peer: IpAddr, tls: Option<ProtocolVersion>, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let trust = if is_within(peer, trusted) { Trust::Proxy } else { Trust::None };
        let mut fields = BytesMut::new();
        if trust == Trust::None {
            let _ = write!(fields, "x-forwarded-for: {peer}\r\nx-real-ip: {peer}\r\n");
            write::field(&mut fields, b"x-forwarded-proto", scheme.as_str().as_bytes());
            fields.put_slice(b"forwarded: ");
            forwarded(&mut fields, peer, scheme);
        }
        Self { peer, scheme, codec: Codec::Http1, tls, trust, fields: fields[..].into() }
    }

    /// Whether the peer is a proxy in front of the gateway that the settings trust.
    pub fn is_trusted(&self) -> bool {
        self.trust == Trust::Proxy
    }

    /// Where a request comes from: the peer's address; or if that is a trusted proxy, the rightmost address in
    /// `X-Forwarded-For` that is none. What stands left of that was written by somebody unknown.
    pub fn address(&self, head: &Head, trusted: &[IpNet]) -> IpAddr {
        let mut address = self.peer;
        if self.is_trusted() {
            let listed = head
                .get_all(KnownName::XForwardedFor)
                .rev()
                .flat_map(|value| value.rsplit(|byte| *byte == b','));
            for hop in listed.map_while(hop) {
                address = hop;
                if !is_within(hop, trusted) {
                    break;
                }
            }
        }
        address
    }
}

/// Reads one entry of `X-Forwarded-For`: an address, for some proxies with the port.
fn hop(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Begins an element of `Forwarded` (RFC 7239 §4); an IPv6 address has to be in brackets and quoted.
fn forwarded(out: &mut BytesMut, peer: IpAddr, scheme: Scheme) {
    let _ = match peer {
        IpAddr::V4(peer) => write!(out, "for={peer}"),
        IpAddr::V6(peer) => write!(out, "for=\"[{peer}]\""),
    };
    out.put_slice(b";proto=");
    out.put_slice(scheme.as_str().as_bytes());
}

/// Ends an element of `Forwarded` and its line. A host that is no token, for a port or an IPv6 address, is quoted;
/// there is nothing in a host that would have to be escaped.
fn forwarded_host(out: &mut BytesMut, host: Option<&[u8]>) {
    if let Some(host) = host {
        let quote: &[u8] = if host.contains(&b':') { b"\"" } else { b"" };
        for part in [b";host=", quote, host, quote] {
            out.put_slice(part);
        }
    }
    out.put_slice(b"\r\n");
}

/// One request's sender and name.
#[derive(Clone, Copy, Debug)]
pub struct RequestSource<'a> {
    /// The peer.
    pub client: &'a Client,
    /// [`Client::address`].
    pub address: IpAddr,
    /// What the request is called in logs.
    pub id: RequestId<'a>,
}

impl RequestSource<'_> {
    /// Writes the fields that tell an endpoint where this request comes from and what it is called.
    pub(super) fn write(&self, out: &mut BytesMut, head: &Head) {
        match self.client.trust {
            Trust::None => self.write_own(out, head),
            Trust::Proxy => self.write_further(out, head),
        }
        write::field(out, b"x-request-id", self.id.as_bytes());
    }

    /// Nobody else is believed.
    fn write_own(&self, out: &mut BytesMut, head: &Head) {
        let host = head.get(KnownName::Host);
        out.put_slice(&self.client.fields);
        forwarded_host(out, host);
        if let Some(host) = host {
            write::field(out, b"x-forwarded-host", host);
        }
        write::field(out, b"x-forwarded-port", port(host).unwrap_or(self.client.scheme.port()));
    }

    /// Keeps what a trusted proxy says, if it can be true, and adds the hop from there.
    fn write_further(&self, out: &mut BytesMut, head: &Head) {
        let client = self.client;
        out.put_slice(b"x-forwarded-for: ");
        list(out, head, KnownName::XForwardedFor);
        let _ = write!(out, "{}\r\nx-real-ip: {}\r\n", client.peer, self.address);
        let said = |name| only(head, name);
        let scheme = match said(KnownName::XForwardedProto) {
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => Scheme::Http,
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
            _ => client.scheme,
        };
        write::field(out, b"x-forwarded-proto", scheme.as_str().as_bytes());
        out.put_slice(b"forwarded: ");
        list(out, head, KnownName::Forwarded);
        forwarded(out, client.peer, client.scheme);
        let host = head.get(KnownName::Host);
        forwarded_host(out, host);
        let host = said(KnownName::XForwardedHost).filter(|host| is_valid_host(host)).or(host);
        if let Some(host) = host {
            write::field(out, b"x-forwarded-host", host);
        }
        let said = said(KnownName::XForwardedPort).filter(|port| is_port(port));
        write::field(out, b"x-forwarded-port", said.or_else(|| port(host)).unwrap_or(scheme.port()));
    }
}

/// Writes what all fields of this name list, with a comma behind it.
fn list(out: &mut BytesMut, head: &Head, name: KnownName) {
    for value in head.get_all(name).filter(|value| !value.is_empty()) {
        out.put_slice(value);
        out.put_slice(b", ");
    }
}

/// The value of the only field of this name: of two, one is forged or outdated.
fn only(head: &Head, name: KnownName) -> Option<&[u8]> {
    let mut values = head.get_all(name);
    let value = values.next();
    values.next().is_none().then_some(value).flatten()
}

/// The port in a host that was found valid. The port that was connected to says nothing: outside there is a
/// Service or a load balancer, with ports of its own.
fn port(host: Option<&[u8]>) -> Option<&[u8]> {
    let host = host?;
    let colon = host.iter().rposition(|byte| *byte == b':')?;
    // The last colon of an IPv6 address without a port is inside the brackets.
    host.get(colon + 1..).filter(|port| is_port(port))
}

fn is_port(text: &[u8]) -> bool {
    str::from_utf8(text)
        .is_ok_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http1::{HeadLimits, HeadScanner};

    use super::*;
    use crate::data::exchange::request_id::RequestIds;

    fn told(peer: &str, trusted: &[&str], fields: &str) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let text = format!("GET / HTTP/1.1\r\nhost: [::1]:8080\r\n{fields}\r\n");
        let (mut buffer, mut scanner) = (BytesMut::from(text.as_str()), HeadScanner::default());
        let head = http1::parse::request(&mut buffer, &mut scanner, &HeadLimits::default()).unwrap().unwrap();
        let client = Client::new(peer.parse().unwrap(), Some(ProtocolVersion::TLSv1_3), &trusted);
        let id = RequestIds::default().make();
        let caller = RequestSource { client: &client, address: client.address(&head, &trusted), id };
        let mut out = BytesMut::new();
        caller.write(&mut out, &head);
        let text = String::from_utf8(Bytes::from(out).to_vec()).unwrap();
        text.split_once("x-request-id").unwrap().0.to_owned()
    }

    #[test]
    fn ipv6_addresses_are_quoted_in_forwarded_and_bare_elsewhere() {
        assert_eq!(
            told("2001:db8::1", &[], ""),
            "x-forwarded-for: 2001:db8::1\r\nx-real-ip: 2001:db8::1\r\nx-forwarded-proto: https\r\n\
             forwarded: for=\"[2001:db8::1]\";proto=https;host=\"[::1]:8080\"\r\n\
             x-forwarded-host: [::1]:8080\r\nx-forwarded-port: 8080\r\n"
        );
        assert_eq!(
            told(
                "2001:db8::1",
                &["2001:db8::/32"],
                "x-forwarded-for: 2001:db9::7\r\nx-forwarded-host: [::2]\r\n"
            ),
            "x-forwarded-for: 2001:db9::7, 2001:db8::1\r\nx-real-ip: 2001:db9::7\r\nx-forwarded-proto: https\r\n\
             forwarded: for=\"[2001:db8::1]\";proto=https;host=\"[::1]:8080\"\r\n\
             x-forwarded-host: [::2]\r\nx-forwarded-port: 443\r\n"
        );
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_one_of_its_networks() {
        let trusted = told("::ffff:10.0.0.1", &["10.0.0.0/8"], "x-forwarded-for: 192.0.2.1\r\n");
        assert!(
            trusted.starts_with("x-forwarded-for: 192.0.2.1, 10.0.0.1\r\nx-real-ip: 192.0.2.1\r\n"),
            "{trusted}"
        );
    }
}
