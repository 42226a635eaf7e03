//! The peer of a client connection: address, scheme, protocol, and whether the settings trust it as a proxy.
//!
//! Not here: the fields by which an endpoint learns of it (`forwarded`).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http1::{Head, KnownName, write};
use ipnet::IpNet;
use routing::table::Backend;
use rustls::ProtocolVersion;

use super::forwarded_header::{self, has_x_forwarded, list_items, parse_hop, parse_scheme};
use crate::data::upstream::{BoundConnection, PooledConnection};
use crate::message::Scheme;

/// The peer of a connection. It is the same for all requests on it.
#[derive(Debug)]
pub struct Client {
    /// Address of the peer. IPv4-mapped IPv6 addresses are stored as IPv4.
    pub peer: IpAddr,
    /// Scheme of its requests.
    pub scheme: Scheme,
    /// Protocol of the connection.
    pub codec: Codec,
    /// TLS version; `None` for plaintext.
    pub tls: Option<ProtocolVersion>,
    trust: Trust,
    /// Whether it speaks plaintext on the port for TLS. Its requests are refused.
    is_on_tls_port: bool,
    /// Fields that are the same for all requests of an untrusted peer, up to the begun value of `Forwarded`.
    pub(super) untrusted_fields: Box<[u8]>,
    /// Connection to an endpoint that the client has authenticated.
    bound: RefCell<Option<Box<BoundConnection>>>,
}

/// Address and transport of a client, for the access log.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo {
    /// Address of the client.
    pub address: IpAddr,
    /// Scheme of its requests.
    pub scheme: Scheme,
    /// TLS version; `None` for plaintext, or before the handshake has ended.
    pub tls: Option<ProtocolVersion>,
}

/// Protocol of a client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// HTTP/1.0 or HTTP/1.1; the head of each request has the version.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Whether the forwarding fields of a peer are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    None,
    Proxy,
}

impl Client {
    /// Describes the peer of an HTTP/1 connection. `tls` is `None` for plaintext. `trusted` lists the networks of the
    /// proxies in front of the gateway.
    pub fn new(peer: IpAddr, tls: Option<ProtocolVersion>, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let trust = if is_within(peer, trusted) { Trust::Proxy } else { Trust::None };
        let mut fields = BytesMut::new();
        if trust == Trust::None {
            let _ = write!(fields, "x-forwarded-for: {peer}\r\nx-real-ip: {peer}\r\n");
            write::field(&mut fields, b"x-forwarded-proto", scheme.as_str().as_bytes());
            fields.put_slice(b"forwarded: ");
            write_forwarded_element(&mut fields, peer, scheme);
        }
        Self {
            peer,
            scheme,
            codec: Codec::Http1,
            tls,
            trust,
            is_on_tls_port: false,
            untrusted_fields: fields[..].into(),
            bound: RefCell::default(),
        }
    }

    /// Returns the peer of a plaintext connection to the port for TLS.
    #[must_use]
    pub fn on_tls_port(self) -> Self {
        Self { is_on_tls_port: true, ..self }
    }

    /// Returns true if the peer speaks plaintext on the port for TLS.
    pub fn is_on_tls_port(&self) -> bool {
        self.is_on_tls_port
    }

    /// Returns true if the peer is a proxy that the settings trust.
    pub fn is_trusted(&self) -> bool {
        self.trust == Trust::Proxy
    }

    /// Keeps a connection to an endpoint for later requests of this client connection only. It closes with it, or when
    /// the client is bound to another Service. Requests of one HTTP/2 connection may come from several users of a proxy,
    /// so there the connection closes at once.
    pub(super) fn bind(&self, opened: PooledConnection) {
        if self.codec == Codec::Http1 {
            self.bound.replace(Some(Box::new(BoundConnection::new(opened))));
        }
    }

    /// Takes the kept connection if it leads to this backend and is open.
    pub(super) fn take_bound(&self, backend: &Arc<Backend>) -> Option<PooledConnection> {
        let bound = self.bound.borrow_mut().take_if(|bound| bound.is_for(backend))?;
        bound.into_opened()
    }

    pub(super) fn trust(&self) -> Trust {
        self.trust
    }

    /// Returns the address and the transport of the peer.
    pub fn connection_info(&self) -> ConnectionInfo {
        ConnectionInfo { address: self.peer, scheme: self.scheme, tls: self.tls }
    }

    /// Returns the address that a request comes from. For a trusted peer that is the rightmost untrusted address in
    /// `X-Forwarded-For`: entries to the left of it may be forged. Without `X-Forwarded-*` it is that of `Forwarded`. For
    /// other peers it is the peer's address.
    pub fn address(&self, head: &Head, trusted: &[IpNet]) -> IpAddr {
        if !self.is_trusted() {
            return self.peer;
        }
        let listed =
            head.get_all(KnownName::XForwardedFor).rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
        if has_x_forwarded(head) {
            return self.first_untrusted(listed.map(parse_hop), trusted);
        }
        let elements: Vec<_> = forwarded_header::elements(head).map(|element| element.address).collect();
        self.first_untrusted(elements.into_iter().rev(), trusted)
    }

    /// Returns the first address outside of the trusted networks. An entry that is no address ends the search.
    fn first_untrusted(&self, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
        let mut address = self.peer;
        for hop in hops.map_while(|hop| hop) {
            address = hop;
            if !is_within(hop, trusted) {
                break;
            }
        }
        address
    }

    /// Returns the scheme that the client used: that of the connection, or what a trusted proxy reports. Of a list with an
    /// entry for each address in `X-Forwarded-For` it is that of `address`, else the first.
    pub(super) fn request_scheme(&self, head: &Head, address: IpAddr) -> Scheme {
        if !self.is_trusted() {
            return self.scheme;
        }
        if !has_x_forwarded(head) {
            let first = forwarded_header::elements(head).next();
            return first.and_then(|element| element.scheme).unwrap_or(self.scheme);
        }
        let reported: Vec<_> = list_items(head, KnownName::XForwardedProto).collect();
        let hops: Vec<_> = list_items(head, KnownName::XForwardedFor).map(parse_hop).collect();
        let aligned = hops.iter().rposition(|hop| *hop == Some(address));
        let position = aligned.filter(|_| hops.len() == reported.len()).unwrap_or(0);
        reported.get(position).and_then(|scheme| parse_scheme(scheme)).unwrap_or(self.scheme)
    }
}

/// Returns the TLS version as logs write it. The gateway negotiates no other version.
pub(super) fn tls_version(version: Option<ProtocolVersion>) -> Option<&'static str> {
    match version? {
        ProtocolVersion::TLSv1_2 => Some("1.2"),
        ProtocolVersion::TLSv1_3 => Some("1.3"),
        _ => None,
    }
}

fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Writes an address as the parameter `for`.
pub(super) fn write_forwarded_for(out: &mut BytesMut, address: IpAddr) {
    let _ = match address {
        IpAddr::V4(address) => write!(out, "for={address}"),
        IpAddr::V6(address) => write!(out, "for=\"[{address}]\""),
    };
}

/// Writes the start of an element of `Forwarded`, up to the scheme. RFC 7239 §4 demands brackets and quotes around an
/// IPv6 address.
pub(super) fn write_forwarded_element(out: &mut BytesMut, peer: IpAddr, scheme: Scheme) {
    write_forwarded_for(out, peer);
    out.put_slice(b";proto=");
    out.put_slice(scheme.as_str().as_bytes());
}
