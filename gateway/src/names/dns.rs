//! Names by DNS and the machine's hosts file, and which of their addresses may be dialled.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::{Addresses, Failure, Lookup};

/// Whether names may lead to this machine itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    /// They may not: whoever may write a name could reach what listens on loopback because nobody else can.
    #[default]
    Refused,
    /// They may.
    Allowed,
}

/// Where names are asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Name servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Whether names may lead to this machine itself.
    pub loopback: Loopback,
}

/// Asks name servers.
pub struct Dns {
    resolver: TokioResolver,
    loopback: Loopback,
}

impl Dns {
    /// Prepares to ask; called inside a runtime.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().context("cannot read the system's name servers")?
        } else {
            let servers = settings.servers.iter().map(|server| server_at(*server)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // How long an answer holds is kept by whoever asks.
        options.cache_size = 0;
        Ok(Self {
            resolver: builder.build().context("cannot ask name servers")?,
            loopback: settings.loopback,
        })
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

impl Lookup for Dns {
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, Result<Addresses, Failure>> {
        let (resolver, loopback) = (self.resolver.clone(), self.loopback);
        Box::pin(async move {
            if name.parse::<IpAddr>().is_ok() {
                return Err(Failure::None(format!("{name} is an address, and DNS has no such names")));
            }
            // It is a whole name: no search domain is put behind it.
            let found = resolver.lookup_ip(format!("{}.", name.trim_end_matches('.'))).await;
            let found = found.map_err(|error| match error.is_no_records_found() {
                true => Failure::None(format!("{name} has no addresses")),
                false => Failure::Unknown(format!("{name} cannot be resolved: {error}")),
            })?;
            let mut list: Vec<_> = found.iter().map(|address| address.to_canonical()).collect();
            list.retain(|address| may_be_dialled(*address, loopback));
            list.sort_unstable();
            list.dedup();
            if list.is_empty() {
                return Err(Failure::None(format!("{name} leads to addresses only that are not dialled")));
            }
            let time_to_live = found.valid_until().saturating_duration_since(Instant::now());
            Ok(Addresses { list, time_to_live })
        })
    }
}

/// Whether an address is one that a name may lead to: not this machine, not its link (where clouds serve metadata and
/// credentials), and no group.
fn may_be_dialled(address: IpAddr, loopback: Loopback) -> bool {
    if address.is_loopback() {
        return loopback == Loopback::Allowed;
    }
    let is_near = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        // fd00:ec2::254 serves metadata in one cloud.
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.segments().starts_with(&[0xfd00, 0xec2])
        }
    };
    !is_near && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_near_the_machine_are_not_dialled() {
        for near in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!may_be_dialled(near.parse().unwrap(), Loopback::Refused), "{near}");
        }
        for other in ["192.0.2.7", "10.0.0.1", "2001:db8::1", "fd12::1"] {
            assert!(may_be_dialled(other.parse().unwrap(), Loopback::Refused), "{other}");
        }
        assert!(may_be_dialled("127.0.0.1".parse().unwrap(), Loopback::Allowed));
    }
}
