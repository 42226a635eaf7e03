//! Names by DNS and the machine's hosts file, and which of their addresses may be dialled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::{Addresses, Failure, Found, Lookup};
use crate::settings::{DnsSettings, Loopback};

/// Asks name servers.
pub struct Resolver {
    settings: DnsSettings,
    resolver: OnceLock<TokioResolver>,
}

impl Resolver {
    /// Prepares to ask.
    pub fn new(settings: DnsSettings) -> Self {
        Self { settings, resolver: OnceLock::new() }
    }

    /// The system's configuration is read when it is first needed: a gateway that dials no names can do without, and
    /// one that cannot be read is tried again.
    fn resolver(&self) -> Result<&TokioResolver, NetError> {
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        let servers = &self.settings.servers;
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = servers.iter().map(|server| server_at(*server)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // How long an answer holds is kept by whoever asks.
        options.cache_size = 0;
        // Aliases are in the answer too, because the shortest time to live on the way counts.
        options.preserve_intermediates = true;
        let resolver = builder.build()?;
        Ok(self.resolver.get_or_init(|| resolver))
    }
}

fn server_at(server: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(server.ip(), true, connections)
}

impl Lookup for Resolver {
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, Found> {
        let both = |failure: Failure| [Err(failure.clone()), Err(failure)];
        let Some(name) = whole(&name) else {
            return Box::pin(std::future::ready(both(Failure::NotAName)));
        };
        let resolver = match self.resolver() {
            Ok(resolver) => resolver.clone(),
            Err(error) => {
                let why = format!("the system's name servers are not known: {error}");
                return Box::pin(std::future::ready(both(Failure::Unknown(why))));
            }
        };
        let loopback = self.settings.loopback;
        Box::pin(async move {
            let one = ask(&resolver, name.clone(), RecordType::A, loopback);
            let other = ask(&resolver, name, RecordType::AAAA, loopback);
            futures::future::join(one, other).await.into()
        })
    }
}

/// The name as it stands, without search domains; nothing if it is none, or an address.
fn whole(name: &str) -> Option<Name> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    Name::from_utf8(format!("{name}.")).ok()
}

async fn ask(
    resolver: &TokioResolver,
    name: Name,
    family: RecordType,
    loopback: Loopback,
) -> Result<Addresses, Failure> {
    let found = resolver.lookup(name, family).await.map_err(|error| match error.is_no_records_found() {
        true => Failure::NoAddresses,
        false => Failure::Unknown(error.to_string()),
    })?;
    let records = found.answers();
    let addresses = records.iter().filter_map(|record| record.data.ip_addr());
    let mut list: Vec<_> = addresses.map(|address| address.to_canonical()).collect();
    if list.is_empty() {
        return Err(Failure::NoAddresses);
    }
    list.retain(|address| may_be_dialled(*address, loopback));
    if list.is_empty() {
        return Err(Failure::NotDialled);
    }
    list.sort_unstable();
    list.dedup();
    let seconds = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Ok(Addresses { list, time_to_live: Duration::from_secs(seconds.into()) })
}

/// Where clouds serve metadata and credentials beside their links: Alibaba Cloud, Oracle Cloud, Azure.
const METADATA: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];

/// Whether an address is one that a name may lead to: not this machine, not its link (where most clouds serve metadata
/// and credentials), and no group.
fn may_be_dialled(address: IpAddr, loopback: Loopback) -> bool {
    if address.is_loopback() {
        return loopback == Loopback::Allowed;
    }
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(address) => {
            // Linux takes all of 0.0.0.0/8 for somebody near.
            let is_near = address.octets().starts_with(&[0]) || address.is_link_local();
            !is_near && !address.is_broadcast() && !METADATA.contains(&address)
        }
        IpAddr::V6(address) => match address.octets() {
            // RFC 6052: what stands behind the well-known prefix is dialled by a translator.
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
    fn addresses_near_the_machine_are_not_dialled() {
        for near in [
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
            assert!(!may_be_dialled(near.parse().unwrap(), Loopback::Refused), "{near}");
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
    fn a_name_is_whole_as_it_stands_and_an_address_is_none() {
        for name in ["db.example", "db.example.", "DB", "_sip.db.example", "127.1", "0x7f000001"] {
            assert!(whole(name).is_some_and(|whole| whole.is_fqdn()), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", ".", "10.0.0.1", "10.0.0.1.", "::1", "2001:db8::1", "a..b", long.as_str()] {
            assert_eq!(whole(name), None, "{name}");
        }
    }

    /// The start of a gateway must not hang on what only names need.
    #[tokio::test]
    async fn an_address_is_refused_without_asking_anybody() {
        let dns = Resolver::new(DnsSettings::default());
        let found = dns.lookup("10.0.0.1".into()).await;
        assert_eq!(found, [Err(Failure::NotAName), Err(Failure::NotAName)]);
        assert!(dns.resolver.get().is_none());
    }
}
