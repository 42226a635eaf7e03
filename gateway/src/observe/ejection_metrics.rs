//! Ejections of endpoints by Service.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use routing::object::Name;

use super::encode::{counter_type, gauge};

/// The ejections of all endpoints.
#[derive(Clone, Debug, Default)]
pub struct EjectionSample {
    /// Ejections since the start of the process, by Service and cause.
    pub totals: Vec<(Name, &'static str, u64)>,
    /// Number of ejected endpoints, by Service. Services whose endpoints are all healthy again have 0.
    pub present: Vec<(Name, u64)>,
}

impl EjectionSample {
    /// Encodes both families.
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Ejections of endpoints by Service and cause";
        let mut family = encoder.encode_descriptor("endpoint_ejections", help, None, counter_type())?;
        for (service, cause, count) in &self.totals {
            let labels = [("namespace", &*service.namespace), ("service", &*service.name), ("cause", cause)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Endpoints that get no requests because of their failures";
        let mut family = encoder.encode_descriptor("endpoints_ejected", help, None, MetricType::Gauge)?;
        for (service, count) in &self.present {
            let labels = [("namespace", &*service.namespace), ("service", &*service.name)];
            gauge(*count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
