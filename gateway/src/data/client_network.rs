//! The network that counts as one client.

use std::net::IpAddr;
use std::num::NonZeroU64;

/// The network of a client: its IPv4 address, or the first 64 bits of its IPv6 address, since a host has a whole /64.
/// 8 bytes, so that a request can carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(NonZeroU64);

/// Marks an IPv4 address. No host has the prefix of IPv6 with these bits.
const IPV4: NonZeroU64 = NonZeroU64::MIN.saturating_add((1 << 32) - 1);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(IPV4 | u64::from(address.to_bits())),
            // Loopback and other addresses of ::/64 are one client.
            IpAddr::V6(address) => {
                let prefix = u64::try_from(address.to_bits() >> 64).unwrap_or_default();
                Self(NonZeroU64::new(prefix).unwrap_or(NonZeroU64::MIN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_differ_by_ipv4_address_or_ipv6_prefix() {
        let network = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().unwrap());
        for (one, other, is_same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0", "::", false),
            ("0.0.0.1", "::1", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(network(one) == network(other), is_same, "{one} and {other}");
        }
    }
}
