//! Types and values of metrics, for the pages that encode them.

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Returns the type of all counters.
pub(super) fn counter_type() -> MetricType {
    ConstCounter::new(0u64).metric_type()
}

/// Returns a gauge. Larger values than fit are the largest one.
pub(super) fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
