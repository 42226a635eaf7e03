//! The peer of a client connection: address, scheme, protocol, and whether the settings trust it as a proxy.
//!
//! Not here: the fields by which an endpoint learns of it (`forwarded`).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http1::{Head, KnownName, write};
use ipnet::IpNet;
use routing::table::Backend;
use rustls::ProtocolVersion;

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
            untrusted_fields: fields[..].into(),
            bound: RefCell::default(),
        }
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
    /// `X-Forwarded-For`: entries to the left of it may be forged. For other peers it is the peer's address.
    pub fn address(&self, head: &Head, trusted: &[IpNet]) -> IpAddr {
        let mut address = self.peer;
        if self.is_trusted() {
            let listed = head
                .get_all(KnownName::XForwardedFor)
                .rev()
                .flat_map(|value| value.rsplit(|byte| *byte == b','));
            for hop in listed.map_while(parse_hop) {
                address = hop;
                if !is_within(hop, trusted) {
                    break;
                }
            }
        }
        address
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

/// Parses one entry of `X-Forwarded-For`: an address, to which some proxies add the port.
fn parse_hop(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Writes the start of an element of `Forwarded`, up to the scheme. RFC 7239 §4 demands brackets and quotes around an
/// IPv6 address.
pub(super) fn write_forwarded_element(out: &mut BytesMut, peer: IpAddr, scheme: Scheme) {
    let _ = match peer {
        IpAddr::V4(peer) => write!(out, "for={peer}"),
        IpAddr::V6(peer) => write!(out, "for=\"[{peer}]\""),
    };
    out.put_slice(b";proto=");
    out.put_slice(scheme.as_str().as_bytes());
}
