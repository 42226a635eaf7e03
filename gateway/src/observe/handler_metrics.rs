//! Encodes the counts of class handlers.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::encode::{counter_type, gauge};

/// The counts of one class handler.
#[derive(Clone, Debug, Default)]
pub struct HandlerSample {
    /// The IngressClass.
    pub class: String,
    /// Calls of the module.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Hosts that were not asked about, because their input was the same.
    pub cached: u64,
    /// Time of all calls.
    pub time: Duration,
    /// Whether the newest module answers.
    pub is_ready: bool,
}

type Counter = (&'static str, &'static str, fn(&HandlerSample) -> u64);

const COUNTERS: &[Counter] = &[
    ("handler_calls", "Calls of a class handler", |handler| handler.calls),
    ("handler_failures", "Calls of a class handler that failed", |handler| handler.failures),
    (
        "handler_cached",
        "Hosts about which a class handler was not asked, because their input was the same",
        |handler| handler.cached,
    ),
];

/// Encodes all families. Writes none without handlers.
pub(super) fn encode(
    handlers: &[HandlerSample],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    if handlers.is_empty() {
        return Ok(());
    }
    for (name, help, count) in COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, counter_type())?;
        for handler in handlers {
            let labels = [("ingress_class", handler.class.as_str())];
            ConstCounter::new(count(handler)).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Time that a class handler took, in seconds";
    let mut family = encoder.encode_descriptor("handler_seconds", help, None, counter_type())?;
    for handler in handlers {
        let labels = [("ingress_class", handler.class.as_str())];
        ConstCounter::new(handler.time.as_secs_f64()).encode(family.encode_family(&labels)?)?;
    }
    let help = "Whether the newest module of a class handler answers";
    let mut family = encoder.encode_descriptor("handler_ready", help, None, MetricType::Gauge)?;
    for handler in handlers {
        let labels = [("ingress_class", handler.class.as_str())];
        gauge(u64::from(handler.is_ready)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
