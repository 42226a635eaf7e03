//! Counts of plugins for a scrape.

use plugin_host::GuestMetricValue;

use super::{PluginContext, PluginState};
use crate::observe::plugin_metrics::{GuestSample, GuestValue, PluginSample, PluginScrape};

/// Returns the counts of all plugins, and the metrics that they define.
pub fn plugin_metrics(context: &PluginContext) -> PluginScrape {
    let plugins = context.board.statuses().into_iter().map(|status| PluginSample {
        plugin: status.name,
        requests: status.counts.streams,
        failed_requests: status.counts.failed_requests,
        calls: status.counts.calls,
        traps: status.counts.traps,
        deadlines: status.counts.deadlines,
        replies: status.counts.replies,
        callouts: status.counts.callouts,
        callout_failures: status.counts.callout_failures,
        instances: status.counts.instances,
        memory: status.counts.memory,
        is_breaker_open: status.breaker == "open",
        is_ready: status.state == PluginState::Ready,
    });
    let guests = context.shared.metrics().into_iter().map(|metric| GuestSample {
        plugin: metric.plugin.to_string(),
        metric: metric.name.to_string(),
        value: match metric.value {
            GuestMetricValue::Counter(value) => GuestValue::Counter(value),
            GuestMetricValue::Gauge(value) => GuestValue::Gauge(value),
            GuestMetricValue::Histogram { count, sum, .. } => GuestValue::Histogram { count, sum },
        },
    });
    PluginScrape { plugins: plugins.collect(), guests: guests.collect() }
}
