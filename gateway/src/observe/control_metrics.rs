//! Gauges of the control plane: Problems, the live table, certificates, endpoints, watches.
//!
//! Not here: where the values come from (`control`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use routing::IngressCounts;
use routing::object::Name;

use super::encode::gauge;

/// The values of one scrape.
#[derive(Clone, Debug, Default)]
pub struct ControlSample {
    /// Number of Problems by reason.
    pub problems: BTreeMap<String, u64>,
    /// Ingresses that are served, and those that are not.
    pub ingresses: Arc<IngressCounts>,
    /// The generation of the live routing table.
    pub generation: u64,
    /// When it was published; `None` before the first.
    pub published_at: Option<SystemTime>,
    /// A hash of the table. Replicas with the same objects have the same.
    pub table_hash: u64,
    /// The end of validity of the certificate in each Secret, in seconds since 1970.
    pub certificates: Vec<(Name, i64)>,
    /// Number of endpoints by state.
    pub endpoints: BTreeMap<&'static str, u64>,
    /// Watches of the API server. Empty for a folder.
    pub watches: Vec<WatchSample>,
}

/// The watch of one kind.
#[derive(Clone, Debug)]
pub struct WatchSample {
    /// The kind.
    pub kind: String,
    /// The namespace; empty for all.
    pub namespace: String,
    /// Time since the API server last reported an object of the kind, or the end of a list.
    pub age: Duration,
    /// Whether lists and watches succeed.
    pub is_healthy: bool,
}

/// Numbers up to this one are exact in the floating-point values of Prometheus.
const MAX_EXACT: u64 = (1 << 53) - 1;

impl ControlSample {
    /// Encodes all families.
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Objects, or parts of them, that are not accepted as written, by reason";
        let mut family = encoder.encode_descriptor("problems", help, None, MetricType::Gauge)?;
        for (reason, count) in &self.problems {
            gauge(*count).encode(family.encode_family(&[("reason", reason.as_str())])?)?;
        }
        self.encode_ingresses(encoder)?;
        let mut single = |name, help, value: u64| {
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        single("generation", "Generation of the live routing table", self.generation)?;
        let help = "Hash of the live routing table, equal in replicas with the same objects";
        single("table_hash", help, self.table_hash & MAX_EXACT)?;
        let published = self
            .published_at
            .map(|at| seconds(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()));
        let help = "When the live routing table was published, in seconds since 1970";
        let family =
            encoder.encode_descriptor("generation_timestamp_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(published.unwrap_or_default()).encode(family)?;
        self.encode_certificates(encoder)?;
        self.encode_watches(encoder)
    }

    fn encode_ingresses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Ingresses by what the gateway does with them";
        let mut family = encoder.encode_descriptor("ingresses", help, None, MetricType::Gauge)?;
        let IngressCounts { served, refused, without_class, .. } = &*self.ingresses;
        let counts = [
            ("served", *served),
            ("refused", *refused),
            ("other_class", self.ingresses.of_other_classes()),
            ("without_class", *without_class),
        ];
        for (state, count) in counts {
            gauge(count as u64).encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }

    fn encode_certificates(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "End of validity of the certificate in a Secret, in seconds since 1970";
        let mut family = encoder.encode_descriptor(
            "certificate_expiry_timestamp_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        for (secret, expiry) in &self.certificates {
            let labels = [("namespace", &*secret.namespace), ("secret", &*secret.name)];
            ConstGauge::new(*expiry).encode(family.encode_family(&labels)?)?;
        }
        let help = "Endpoints in EndpointSlices by state";
        let mut family = encoder.encode_descriptor("endpoints", help, None, MetricType::Gauge)?;
        for (state, count) in &self.endpoints {
            gauge(*count).encode(family.encode_family(&[("state", *state)])?)?;
        }
        Ok(())
    }

    fn encode_watches(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if self.watches.is_empty() {
            return Ok(());
        }
        let help = "Time since the API server last reported an object of the kind, or the end of a list";
        let mut family = encoder.encode_descriptor("watch_age_seconds", help, None, MetricType::Gauge)?;
        for watch in &self.watches {
            ConstGauge::new(seconds(watch.age)).encode(family.encode_family(&labels(watch))?)?;
        }
        let help = "Whether lists and watches of the kind succeed";
        let mut family = encoder.encode_descriptor("watch_healthy", help, None, MetricType::Gauge)?;
        for watch in &self.watches {
            gauge(u64::from(watch.is_healthy)).encode(family.encode_family(&labels(watch))?)?;
        }
        Ok(())
    }
}

fn labels(watch: &WatchSample) -> [(&'static str, &str); 2] {
    [("kind", &watch.kind), ("namespace", &watch.namespace)]
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
