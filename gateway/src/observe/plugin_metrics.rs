//! Encodes the counts of plugins, and the metrics that plugins define.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::encode::{counter_type, gauge};

/// The counts of one plugin.
#[derive(Clone, Debug, Default)]
pub struct PluginSample {
    /// Namespace and name.
    pub plugin: String,
    /// Requests that it has seen.
    pub requests: u64,
    /// Requests to which the failure strategy applied.
    pub failed_requests: u64,
    /// Calls of the guest.
    pub calls: u64,
    /// Calls that ended an instance.
    pub traps: u64,
    /// Those at their deadline.
    pub deadlines: u64,
    /// Replies of the guest.
    pub replies: u64,
    /// Callouts.
    pub callouts: u64,
    /// Callouts that failed.
    pub callout_failures: u64,
    /// Instances on workers.
    pub instances: u64,
    /// Bytes of their memories.
    pub memory: u64,
    /// Whether the breaker is open.
    pub is_breaker_open: bool,
    /// Whether the newest version serves.
    pub is_ready: bool,
}

/// A metric that a plugin defined.
#[derive(Clone, Debug)]
pub struct GuestSample {
    /// Namespace and name of the plugin.
    pub plugin: String,
    /// Name of the metric.
    pub metric: String,
    /// Its value.
    pub value: GuestValue,
}

/// The value of a plugin's metric.
#[derive(Clone, Copy, Debug)]
pub enum GuestValue {
    /// A sum.
    Counter(u64),
    /// A level.
    Gauge(u64),
    /// The number of values and their sum.
    Histogram {
        /// Number of values.
        count: u64,
        /// Their sum.
        sum: u64,
    },
}

/// What plugins add to a scrape.
#[derive(Clone, Debug, Default)]
pub struct PluginScrape {
    /// One for each plugin.
    pub plugins: Vec<PluginSample>,
    /// One for each metric of a plugin.
    pub guests: Vec<GuestSample>,
}

type Counter = (&'static str, &'static str, fn(&PluginSample) -> u64);

const COUNTERS: &[Counter] = &[
    ("plugin_requests", "Requests that a plugin has seen", |plugin| plugin.requests),
    ("plugin_failed_requests", "Requests to which the failure strategy of a plugin applied", |plugin| {
        plugin.failed_requests
    }),
    ("plugin_calls", "Calls of a plugin's instances", |plugin| plugin.calls),
    ("plugin_traps", "Calls that ended an instance of a plugin", |plugin| plugin.traps),
    ("plugin_deadlines", "Calls of a plugin that were stopped at their deadline", |plugin| plugin.deadlines),
    ("plugin_replies", "Replies of a plugin", |plugin| plugin.replies),
    ("plugin_callouts", "Callouts of a plugin", |plugin| plugin.callouts),
    ("plugin_callout_failures", "Callouts of a plugin that failed", |plugin| plugin.callout_failures),
];

const GAUGES: &[Counter] = &[
    ("plugin_instances", "Instances of a plugin on workers", |plugin| plugin.instances),
    ("plugin_memory_bytes", "Linear memory of a plugin's instances", |plugin| plugin.memory),
    ("plugin_breaker_open", "Whether a plugin is not called, since it failed too often", |plugin| {
        u64::from(plugin.is_breaker_open)
    }),
    ("plugin_ready", "Whether the newest version of a plugin serves", |plugin| u64::from(plugin.is_ready)),
];

impl PluginScrape {
    /// Encodes all families. Writes none without plugins.
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if self.plugins.is_empty() {
            return Ok(());
        }
        for (name, help, count) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, counter_type())?;
            for plugin in &self.plugins {
                let labels = [("plugin", plugin.plugin.as_str())];
                ConstCounter::new(count(plugin)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for plugin in &self.plugins {
                let labels = [("plugin", plugin.plugin.as_str())];
                gauge(value(plugin)).encode(family.encode_family(&labels)?)?;
            }
        }
        self.encode_guests(encoder)
    }

    fn encode_guests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Counters that plugins define; of histograms, the number of values and their sum";
        let mut family = encoder.encode_descriptor("plugin_guest_count", help, None, counter_type())?;
        for GuestSample { plugin, metric, value } in &self.guests {
            let mut count = |metric: &str, count: u64| {
                let labels = [("plugin", plugin.as_str()), ("metric", metric)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)
            };
            match value {
                GuestValue::Counter(value) => count(metric, *value)?,
                GuestValue::Histogram { count: values, sum } => {
                    count(&format!("{metric}_count"), *values)?;
                    count(&format!("{metric}_sum"), *sum)?;
                }
                GuestValue::Gauge(_) => {}
            }
        }
        let help = "Gauges that plugins define";
        let mut family = encoder.encode_descriptor("plugin_guest_value", help, None, MetricType::Gauge)?;
        for GuestSample { plugin, metric, value } in &self.guests {
            if let GuestValue::Gauge(value) = value {
                let labels = [("plugin", plugin.as_str()), ("metric", metric.as_str())];
                gauge(*value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
