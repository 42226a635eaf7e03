//! The addresses at which clients reach the gateway: fixed ones, or those of its Service. Pure.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::control::reload::ExposingService;

/// How long an empty list is ignored after there were addresses. A load balancer that is changed may lose its address for
/// a moment, and all Ingresses would lose theirs with it.
const EMPTY_GRACE: Duration = Duration::from_secs(30);

/// IP addresses and host names, sorted, without duplicates.
pub(super) type AddressList = Arc<[Arc<str>]>;

/// Where the addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AddressSource {
    /// These addresses. Empty: the Service has none yet.
    Known(AddressList),
    /// The addresses of all ready nodes.
    Nodes,
}

/// Returns the addresses of the Service that exposes the gateway.
pub(super) fn of_service(service: &ExposingService) -> AddressSource {
    let ips = |ips: &[IpAddr]| -> Vec<Arc<str>> { ips.iter().map(|ip| ip.to_string().into()).collect() };
    let external = ips(&service.external_ips);
    AddressSource::Known(match &*service.service_type {
        "LoadBalancer" => sorted(service.load_balancer.iter().cloned().chain(external)),
        "ExternalName" => sorted(service.external_name.iter().cloned()),
        "NodePort" if external.is_empty() => return AddressSource::Nodes,
        "NodePort" => sorted(external),
        _ if external.is_empty() => sorted(ips(&service.cluster_ips)),
        _ => sorted(external),
    })
}

/// Sorts addresses: IPv4, then IPv6, then host names. An order of the load balancer's would cause writes when it changes.
pub(super) fn sorted(addresses: impl IntoIterator<Item = Arc<str>>) -> AddressList {
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    addresses.sort_by(|a, b| compare(a, b));
    addresses.dedup();
    addresses.into()
}

fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

/// The addresses in use. Ignores a list that is empty for a short time only.
#[derive(Debug, Default)]
pub(super) struct StableAddresses {
    present: Option<AddressList>,
    empty_since: Option<Instant>,
}

impl StableAddresses {
    /// Returns the addresses to publish: `None` if they are not known, and an empty list if there are none.
    pub(super) fn present(&self) -> Option<&AddressList> {
        self.present.as_ref()
    }

    /// Sets the addresses as they were seen now.
    pub(super) fn set(&mut self, seen: AddressList, now: Instant) {
        let is_known = self.present.as_ref().is_some_and(|present| *present == seen);
        if seen.is_empty() && !is_known {
            self.empty_since.get_or_insert(now);
            return;
        }
        self.empty_since = None;
        self.present = Some(seen);
    }

    /// Returns when [`Self::expire`] is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.empty_since.map(|since| since + EMPTY_GRACE)
    }

    /// Ends the grace of an empty list, if it is over.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.due_at().is_some_and(|due| due <= now) {
            self.empty_since = None;
            self.present = Some(AddressList::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> AddressList {
        addresses.iter().map(|address| Arc::from(*address)).collect()
    }

    #[test]
    fn addresses_follow_the_type_of_the_service() {
        let service = |service_type: &str, load_balancer: &[&str], external: &[[u8; 4]]| ExposingService {
            service_type: service_type.into(),
            external_name: Some("gateway.example".into()),
            load_balancer: list(load_balancer).to_vec(),
            external_ips: external.iter().map(|ip| IpAddr::from(*ip)).collect(),
            cluster_ips: vec![IpAddr::from([10, 96, 0, 7])],
        };
        let known = |addresses: &[&str]| AddressSource::Known(list(addresses));
        for (case, service, expected) in [
            (
                "balancer",
                service("LoadBalancer", &["lb.example", "192.0.2.9", "192.0.2.10"], &[]),
                known(&["192.0.2.9", "192.0.2.10", "lb.example"]),
            ),
            ("balancer that is not ready", service("LoadBalancer", &[], &[]), known(&[])),
            (
                "balancer and external IP",
                service("LoadBalancer", &["192.0.2.9"], &[[192, 0, 2, 1], [192, 0, 2, 9]]),
                known(&["192.0.2.1", "192.0.2.9"]),
            ),
            ("node port", service("NodePort", &[], &[]), AddressSource::Nodes),
            ("node port and external IP", service("NodePort", &[], &[[192, 0, 2, 1]]), known(&["192.0.2.1"])),
            ("cluster IP", service("ClusterIP", &[], &[]), known(&["10.96.0.7"])),
            (
                "cluster IP and external IP",
                service("ClusterIP", &[], &[[192, 0, 2, 1]]),
                known(&["192.0.2.1"]),
            ),
            ("external name", service("ExternalName", &[], &[]), known(&["gateway.example"])),
        ] {
            assert_eq!(of_service(&service), expected, "{case}");
        }
    }

    #[test]
    fn addresses_are_sorted_by_kind_and_number() {
        let seen = ["b.example", "2001:db8::1", "192.0.2.10", "a.example", "192.0.2.9", "192.0.2.9"];
        let expected = ["192.0.2.9", "192.0.2.10", "2001:db8::1", "a.example", "b.example"];
        assert_eq!(sorted(list(&seen).iter().cloned()), list(&expected));
    }

    #[test]
    fn short_loss_of_all_addresses_is_ignored() {
        let (start, some) = (Instant::now(), list(&["192.0.2.1"]));
        let mut addresses = StableAddresses::default();
        addresses.set(list(&[]), start);
        assert_eq!(addresses.present(), None, "the load balancer may still be created");
        addresses.set(Arc::clone(&some), start);
        assert_eq!((addresses.present(), addresses.due_at()), (Some(&some), None));
        addresses.set(list(&[]), start);
        addresses.expire(start + EMPTY_GRACE / 2);
        assert_eq!(addresses.present(), Some(&some));
        addresses.set(Arc::clone(&some), start + EMPTY_GRACE / 2);
        addresses.expire(start + EMPTY_GRACE * 2);
        assert_eq!(addresses.present(), Some(&some), "they are back");
        addresses.set(list(&[]), start);
        assert_eq!(addresses.due_at(), Some(start + EMPTY_GRACE));
        addresses.expire(start + EMPTY_GRACE);
        assert_eq!((addresses.present(), addresses.due_at()), (Some(&list(&[])), None));
    }
}
