//! Lookups by DNS and the hosts file of the machine, and the addresses that may be dialled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::{Addresses, FamilyResults, Lookup, LookupError};
use crate::settings::{DnsSettings, Loopback};

/// Queries name servers.
pub struct Resolver {
    settings: DnsSettings,
    hickory: OnceLock<TokioResolver>,
}

impl Resolver {
    /// Creates a resolver. Reads nothing yet.
    pub fn new(settings: DnsSettings) -> Self {
        Self { settings, hickory: OnceLock::new() }
    }

    /// Returns the client, which the first call creates. A gateway that dials no names never reads the DNS configuration
    /// of the system. After a failure, the next call reads it again.
    fn hickory(&self) -> Result<&TokioResolver, NetError> {
        if let Some(resolver) = self.hickory.get() {
            return Ok(resolver);
        }
        let servers = &self.settings.servers;
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // The parent module caches.
        options.cache_size = 0;
        // The records of aliases are returned too: the smallest TTL of the chain counts.
        options.preserve_intermediates = true;
        let resolver = builder.build()?;
        Ok(self.hickory.get_or_init(|| resolver))
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

impl Lookup for Resolver {
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, FamilyResults> {
        let both = |error: LookupError| [Err(error.clone()), Err(error)];
        let Some(name) = absolute(&name) else {
            return Box::pin(std::future::ready(both(LookupError::NotAName)));
        };
        let resolver = match self.hickory() {
            Ok(resolver) => resolver.clone(),
            Err(error) => {
                let cause = format!("the system's name servers are not known: {error}");
                return Box::pin(std::future::ready(both(LookupError::Failed(cause))));
            }
        };
        let loopback = self.settings.loopback;
        Box::pin(async move {
            let v4 = query(&resolver, name.clone(), RecordType::A, loopback);
            let v6 = query(&resolver, name, RecordType::AAAA, loopback);
            futures::future::join(v4, v6).await.into()
        })
    }
}

/// Returns the absolute name, to which no search domain applies. Returns `None` for an address or a malformed name.
fn absolute(name: &str) -> Option<Name> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    Name::from_utf8(format!("{name}.")).ok()
}

async fn query(
    resolver: &TokioResolver,
    name: Name,
    family: RecordType,
    loopback: Loopback,
) -> Result<Addresses, LookupError> {
    let found = resolver.lookup(name, family).await.map_err(|error| match error.is_no_records_found() {
        true => LookupError::NoAddresses,
        false => LookupError::Failed(error.to_string()),
    })?;
    let records = found.answers();
    let addresses = records.iter().filter_map(|record| record.data.ip_addr());
    let mut list: Vec<_> = addresses.map(|address| address.to_canonical()).collect();
    if list.is_empty() {
        return Err(LookupError::NoAddresses);
    }
    list.retain(|address| may_be_dialled(*address, loopback));
    if list.is_empty() {
        return Err(LookupError::NotDialled);
    }
    list.sort_unstable();
    list.dedup();
    let seconds = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Ok(Addresses { list, time_to_live: Duration::from_secs(seconds.into()) })
}

/// Metadata services of clouds at addresses that are not link-local: Alibaba Cloud, Oracle Cloud, Azure.
const METADATA: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];

/// Returns true if a name may resolve to this address. Loopback (unless allowed), link-local addresses (where most
/// clouds serve metadata and credentials) and multicast groups are excluded.
fn may_be_dialled(address: IpAddr, loopback: Loopback) -> bool {
    if address.is_loopback() {
        return loopback == Loopback::Allowed;
    }
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(address) => {
            // Linux connects 0.0.0.0/8 to the machine itself.
            let is_local = address.octets().starts_with(&[0]) || address.is_link_local();
            !is_local && !address.is_broadcast() && !METADATA.contains(&address)
        }
        IpAddr::V6(address) => match address.octets() {
            // RFC 6052: a NAT64 translator dials the IPv4 address behind the well-known prefix.
            [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
                may_be_dialled(Ipv4Addr::new(a, b, c, d).into(), loopback)
            }
            // fd00:ec2::254 serves metadata in AWS, fd20:ce::254 in Google Cloud.
            [0xfd, 0, 0x0e, 0xc2, ..] | [0xfd, 0x20, 0, 0xce, ..] => false,
            _ => !address.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_metadata_addresses_are_not_dialled() {
        for local in [
            "127.0.0.1",
            "127.8.9.10",
            "::1",
            "0.0.0.0",
            "0.0.0.7",
            "::",
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!may_be_dialled(local.parse().unwrap(), Loopback::Refused), "{local}");
        }
        for other in
            ["192.0.2.7", "10.0.0.1", "100.100.100.201", "2001:db8::1", "fd12::1", "64:ff9b::10.0.0.1"]
        {
            assert!(may_be_dialled(other.parse().unwrap(), Loopback::Refused), "{other}");
        }
        for (loopback, is_allowed) in [("127.0.0.1", true), ("::1", true), ("169.254.169.254", false)] {
            assert_eq!(
                may_be_dialled(loopback.parse().unwrap(), Loopback::Allowed),
                is_allowed,
                "{loopback}"
            );
        }
    }

    #[test]
    fn absolute_names_ignore_search_domains_and_addresses_are_none() {
        for name in ["db.example", "db.example.", "DB", "_sip.db.example", "127.1", "0x7f000001"] {
            assert!(absolute(name).is_some_and(|name| name.is_fqdn()), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", ".", "10.0.0.1", "10.0.0.1.", "::1", "2001:db8::1", "a..b", long.as_str()] {
            assert_eq!(absolute(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn lookup_of_an_address_fails_without_a_query() {
        let dns = Resolver::new(DnsSettings::default());
        let found = dns.lookup("10.0.0.1".into()).await;
        assert_eq!(found, [Err(LookupError::NotAName), Err(LookupError::NotAName)]);
        assert!(dns.hickory.get().is_none());
    }
}
