//! The parts of an object that only reports to the API need: its uid, its generation, and the addresses in its status.
//!
//! Not here: the reports (`control::status`), and the parts that are compiled (`routing::object`).

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use routing::object::ResourceVersion;

/// The field manager of all reports.
pub const FIELD_MANAGER: &str = api::GROUP;

/// `metadata.uid`, which the API server generates as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(u128);

impl Uid {
    /// Parses the text of a UUID. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.split('-').collect();
        let is_uuid = text.len() == 36 && digits.len() == 32;
        u128::from_str_radix(&digits, 16).ok().filter(|_| is_uuid).map(Self)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = self;
        let part = |shift: u32, digits: u32| (value >> shift) & ((1 << (4 * digits)) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 8),
            part(80, 4),
            part(64, 4),
            part(48, 4),
            part(0, 12)
        )
    }
}

/// The addresses in the status of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedAddresses {
    /// IP addresses and host names of `status.loadBalancer.ingress`, in order. Not empty.
    pub addresses: Arc<[Arc<str>]>,
    /// Whether [`FIELD_MANAGER`] owns the list.
    pub is_ours: bool,
}

/// What reports need to know about an object beside its compiled parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.uid`. `None` if it is no UUID.
    pub uid: Option<Uid>,
    /// `metadata.resourceVersion`, if it has an order.
    pub version: Option<ResourceVersion>,
    /// `metadata.generation`. 0 for kinds without one.
    pub generation: i64,
    /// The addresses in the status of an Ingress.
    pub published: Option<PublishedAddresses>,
}

impl Identity {
    /// Returns the identity of an object of any kind but Ingress.
    pub fn new(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.as_deref().and_then(Uid::parse),
            version: metadata.resource_version.as_deref().and_then(|text| text.parse().ok()),
            generation: metadata.generation.unwrap_or_default(),
            published: None,
        }
    }

    /// Returns the identity of an Ingress.
    pub fn of_ingress(ingress: &Ingress) -> Self {
        let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        let addresses: Arc<[Arc<str>]> = points
            .iter()
            .filter_map(|point| point.ip.as_deref().or(point.hostname.as_deref()).map(Arc::from))
            .collect();
        let is_ours = is_status_ours(&ingress.metadata);
        let published = (!addresses.is_empty()).then_some(PublishedAddresses { addresses, is_ours });
        Self { published, ..Self::new(&ingress.metadata) }
    }
}

fn is_status_ours(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.as_deref() == Some("status")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_is_printed_as_it_was_read() {
        let text = "0b5f0a6c-1d2e-4f30-8a1b-0c0d0e0f1011";
        assert_eq!(Uid::parse(text).map(|uid| uid.to_string()).as_deref(), Some(text));
        for text in
            ["", "0b5f0a6c", "0b5f0a6c-1d2e-4f30-8a1b-0c0d0e0f101g", "0b5f0a6c1d2e4f308a1b0c0d0e0f10111234"]
        {
            assert_eq!(Uid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn published_addresses_have_their_owner() {
        let ingress = |manager: &str, subresource: &str| {
            serde_json::from_value::<Ingress>(serde_json::json!({
                "metadata": { "managedFields": [{ "manager": manager, "subresource": subresource }] },
                "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }, { "hostname": "lb.example" }] } },
            }))
            .map(|ingress| Identity::of_ingress(&ingress).published)
            .ok()
            .flatten()
        };
        for (manager, subresource, is_ours) in
            [(FIELD_MANAGER, "status", true), (FIELD_MANAGER, "", false), ("other", "status", false)]
        {
            let published = ingress(manager, subresource);
            let addresses = Arc::from(["192.0.2.1".into(), "lb.example".into()]);
            assert_eq!(published, Some(PublishedAddresses { addresses, is_ours }), "{manager} {subresource}");
        }
        assert_eq!(Identity::of_ingress(&Ingress::default()).published, None);
    }
}
