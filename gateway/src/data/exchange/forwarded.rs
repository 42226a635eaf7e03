//! Fields by which an endpoint learns where a request comes from: `X-Forwarded-*`, `X-Real-IP`, `Forwarded` and
//! `X-Request-ID`.
//!
//! Clients can forge these fields, so the gateway writes its own values. It keeps the values of peers that the settings
//! trust. Not here: dropping the client's fields (`headers`).

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http1::parse::is_valid_host;
use http1::{Head, KnownName, write};

use super::client::{Client, ConnectionInfo, Trust, write_forwarded_element, write_forwarded_for};
use super::forwarded_header::{self, has_x_forwarded, list_items, parse_hop};
use super::request_id::RequestId;
use crate::message::Scheme;

/// The sender of one request, and the ID of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestSource<'a> {
    /// Peer of the connection.
    pub(super) client: &'a Client,
    /// Address that the request comes from: [`Client::address`].
    pub(super) address: IpAddr,
    /// Scheme that the client used: [`Client::request_scheme`].
    pub(super) scheme: Scheme,
    /// ID of the request in logs.
    pub(super) id: RequestId<'a>,
}

impl RequestSource<'_> {
    /// Returns the sender's address, and the transport that it used.
    pub(super) fn connection_info(&self) -> ConnectionInfo {
        ConnectionInfo { address: self.address, scheme: self.scheme, ..self.client.connection_info() }
    }

    /// Writes the forwarding fields and the request ID.
    pub(super) fn write(&self, out: &mut BytesMut, head: &Head) {
        match self.client.trust() {
            Trust::None => self.write_untrusted(out, head),
            Trust::Proxy => self.write_trusted(out, head),
        }
        write::field(out, b"x-request-id", self.id.as_bytes());
    }

    /// Writes fields that describe the peer only.
    fn write_untrusted(&self, out: &mut BytesMut, head: &Head) {
        let host = head.get(KnownName::Host);
        out.put_slice(&self.client.untrusted_fields);
        write_forwarded_host(out, host);
        out.put_slice(b"\r\n");
        if let Some(host) = host {
            write::field(out, b"x-forwarded-host", host);
        }
        let port = port(host).unwrap_or(default_port(self.client.scheme));
        write::field(out, b"x-forwarded-port", port);
    }

    /// Writes the trusted proxy's values, except malformed ones, and appends the proxy as a hop. `Forwarded` and
    /// `X-Forwarded-*` say the same: the proxy's `X-Forwarded-*` count, or its `Forwarded` if it has none of them.
    fn write_trusted(&self, out: &mut BytesMut, head: &Head) {
        let (peer, scheme) = (self.client.peer, self.scheme);
        let own_host = head.get(KnownName::Host);
        let has_x = has_x_forwarded(head);
        let first = forwarded_header::elements(head).next().filter(|_| !has_x).unwrap_or_default();
        let reported = match has_x {
            true => single_value(head, KnownName::XForwardedHost),
            false => first.host,
        };
        let host = reported.filter(|host| is_valid_host(host)).or(own_host);
        out.put_slice(b"x-forwarded-for: ");
        if has_x {
            write_list(out, head, KnownName::XForwardedFor);
        } else {
            for element in forwarded_header::elements(head) {
                let _ = match element.address {
                    Some(address) => write!(out, "{address}, "),
                    None => write!(out, "unknown, "),
                };
            }
        }
        let _ = write!(out, "{peer}\r\nx-real-ip: {}\r\n", self.address);
        write::field(out, b"x-forwarded-proto", scheme.as_str().as_bytes());
        out.put_slice(b"forwarded: ");
        match has_x {
            true => self.write_converted(out, head, host),
            false => {
                write_list(out, head, KnownName::Forwarded);
                write_forwarded_element(out, peer, self.client.scheme);
                write_forwarded_host(out, own_host);
            }
        }
        out.put_slice(b"\r\n");
        if let Some(host) = host {
            write::field(out, b"x-forwarded-host", host);
        }
        let forwarded_port = single_value(head, KnownName::XForwardedPort).filter(|port| is_port(port));
        let port = forwarded_port.or_else(|| port(host)).unwrap_or(default_port(scheme));
        write::field(out, b"x-forwarded-port", port);
    }

    /// Writes the elements of `Forwarded` that `X-Forwarded-*` amount to. The first one has the client's scheme and host.
    fn write_converted(&self, out: &mut BytesMut, head: &Head, host: Option<&[u8]>) {
        let mut is_first = true;
        for hop in list_items(head, KnownName::XForwardedFor) {
            match parse_hop(hop) {
                Some(address) => write_forwarded_for(out, address),
                None => out.put_slice(b"for=unknown"),
            }
            if std::mem::take(&mut is_first) {
                let _ = write!(out, ";proto={}", self.scheme.as_str());
                write_forwarded_host(out, host);
            }
            out.put_slice(b", ");
        }
        if is_first {
            write_forwarded_element(out, self.client.peer, self.scheme);
            write_forwarded_host(out, host);
        } else {
            write_forwarded_element(out, self.client.peer, self.client.scheme);
            write_forwarded_host(out, head.get(KnownName::Host));
        }
    }
}

/// Returns the port of a scheme's URLs that name none.
fn default_port(scheme: Scheme) -> &'static [u8] {
    match scheme {
        Scheme::Http => b"80",
        Scheme::Https => b"443",
    }
}

/// Writes the host of an element of `Forwarded`. A host with a colon (port or IPv6 address) is no token, so it is
/// quoted. A valid host contains nothing that would need an escape.
fn write_forwarded_host(out: &mut BytesMut, host: Option<&[u8]>) {
    if let Some(host) = host {
        let quote: &[u8] = if host.contains(&b':') { b"\"" } else { b"" };
        for part in [b";host=", quote, host, quote] {
            out.put_slice(part);
        }
    }
}

/// Writes the values of all fields of this name, each with a comma after it.
fn write_list(out: &mut BytesMut, head: &Head, name: KnownName) {
    for value in head.get_all(name).filter(|value| !value.is_empty()) {
        out.put_slice(value);
        out.put_slice(b", ");
    }
}

/// Returns the value of the only field of this name. Returns `None` if there are several: one is forged or outdated.
fn single_value(head: &Head, name: KnownName) -> Option<&[u8]> {
    let mut values = head.get_all(name);
    let value = values.next();
    values.next().is_none().then_some(value).flatten()
}

/// Returns the port in a valid host. The port of the listener is no substitute: clients connect to a Service or a load
/// balancer with other ports.
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
    use ipnet::IpNet;
    use rustls::ProtocolVersion;

    use super::*;
    use crate::data::exchange::request_id::RequestIds;

    /// Returns the forwarding fields that a TLS peer's request gets.
    fn forwarded_fields(peer: &str, trusted: &[&str], fields: &str) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let text = format!("GET / HTTP/1.1\r\nhost: [::1]:8080\r\n{fields}\r\n");
        let (mut buffer, mut scanner) = (BytesMut::from(text.as_str()), HeadScanner::default());
        let head = http1::parse::request(&mut buffer, &mut scanner, &HeadLimits::default()).unwrap().unwrap();
        let client = Client::new(peer.parse().unwrap(), Some(ProtocolVersion::TLSv1_3), &trusted);
        let id = RequestIds::default().generate();
        let address = client.address(&head, &trusted);
        let scheme = client.request_scheme(&head, address);
        let source = RequestSource { client: &client, address, scheme, id };
        let mut out = BytesMut::new();
        source.write(&mut out, &head);
        let text = String::from_utf8(Bytes::from(out).to_vec()).unwrap();
        text.split_once("x-request-id").unwrap().0.to_owned()
    }

    #[test]
    fn ipv6_address_is_quoted_only_in_forwarded() {
        assert_eq!(
            forwarded_fields("2001:db8::1", &[], ""),
            "x-forwarded-for: 2001:db8::1\r\nx-real-ip: 2001:db8::1\r\nx-forwarded-proto: https\r\n\
             forwarded: for=\"[2001:db8::1]\";proto=https;host=\"[::1]:8080\"\r\n\
             x-forwarded-host: [::1]:8080\r\nx-forwarded-port: 8080\r\n"
        );
        assert_eq!(
            forwarded_fields(
                "2001:db8::1",
                &["2001:db8::/32"],
                "x-forwarded-for: 2001:db9::7\r\nx-forwarded-host: [::2]\r\n"
            ),
            "x-forwarded-for: 2001:db9::7, 2001:db8::1\r\nx-real-ip: 2001:db9::7\r\nx-forwarded-proto: https\r\n\
             forwarded: for=\"[2001:db9::7]\";proto=https;host=\"[::2]\", for=\"[2001:db8::1]\";proto=https;\
             host=\"[::1]:8080\"\r\n\
             x-forwarded-host: [::2]\r\nx-forwarded-port: 443\r\n"
        );
    }

    #[test]
    fn forwarded_and_x_forwarded_agree() {
        struct Row {
            sent: &'static str,
            forwarded: &'static str,
            x_for: &'static str,
            proto: &'static str,
            host: &'static str,
        }
        let own = "for=10.0.0.1;proto=https;host=\"[::1]:8080\"";
        for Row { sent, forwarded, x_for, proto, host } in [
            Row {
                sent: "x-forwarded-for: 203.0.113.7\r\nx-forwarded-proto: http\r\n",
                forwarded: "for=203.0.113.7;proto=http;host=\"[::1]:8080\", OWN",
                x_for: "203.0.113.7, 10.0.0.1",
                proto: "http",
                host: "[::1]:8080",
            },
            Row {
                sent: "x-forwarded-proto: http\r\n",
                forwarded: "for=10.0.0.1;proto=http;host=\"[::1]:8080\"",
                x_for: "10.0.0.1",
                proto: "http",
                host: "[::1]:8080",
            },
            Row {
                sent: "x-forwarded-proto: wss\r\nx-forwarded-for: unknown\r\n",
                forwarded: "for=unknown;proto=https;host=\"[::1]:8080\", OWN",
                x_for: "unknown, 10.0.0.1",
                proto: "https",
                host: "[::1]:8080",
            },
            // The list has a scheme for each address, and 192.0.2.1 is the client.
            Row {
                sent: "x-forwarded-for: 6.6.6.6, 192.0.2.1\r\nx-forwarded-proto: https, http\r\n",
                forwarded: "for=6.6.6.6;proto=http;host=\"[::1]:8080\", for=192.0.2.1, OWN",
                x_for: "6.6.6.6, 192.0.2.1, 10.0.0.1",
                proto: "http",
                host: "[::1]:8080",
            },
            Row {
                sent: "x-forwarded-proto: http, https\r\nx-forwarded-host: a.example\r\nforwarded: for=6.6.6.6;proto=https\r\n",
                forwarded: "for=10.0.0.1;proto=http;host=a.example",
                x_for: "10.0.0.1",
                proto: "http",
                host: "a.example",
            },
            Row {
                sent: "forwarded: for=192.0.2.1;proto=http;host=b.example\r\n",
                forwarded: "for=192.0.2.1;proto=http;host=b.example, OWN",
                x_for: "192.0.2.1, 10.0.0.1",
                proto: "http",
                host: "b.example",
            },
        ] {
            let text = forwarded_fields("10.0.0.1", &["10.0.0.0/8"], sent);
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                line.unwrap_or_default().to_owned()
            };
            let found = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(field);
            assert_eq!(found, [&forwarded.replace("OWN", own), x_for, proto, host], "{sent}");
        }
    }

    #[test]
    fn ipv4_mapped_peer_matches_ipv4_network() {
        let trusted = forwarded_fields("::ffff:10.0.0.1", &["10.0.0.0/8"], "x-forwarded-for: 192.0.2.1\r\n");
        assert!(
            trusted.starts_with("x-forwarded-for: 192.0.2.1, 10.0.0.1\r\nx-real-ip: 192.0.2.1\r\n"),
            "{trusted}"
        );
    }
}
