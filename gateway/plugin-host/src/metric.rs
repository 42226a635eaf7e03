//! Metrics that guests define. All instances of a plugin share them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Maximum metrics of a plugin. Defining more fails: their names stay until the plugin is forgotten.
pub(crate) const MAX_METRICS: usize = 1024;

/// Maximum bytes of a metric's name.
pub(crate) const MAX_METRIC_NAME_BYTES: usize = 1024;

/// Upper bounds of the buckets of histograms, as Envoy has them. One more bucket holds what is larger.
pub const HISTOGRAM_BOUNDS: [u64; 18] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
];

/// A metric of a plugin and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestMetric {
    /// Namespace and name of the plugin.
    pub plugin: Arc<str>,
    /// Name that the guest defined. Any text.
    pub name: Arc<str>,
    /// Its value, summed over all instances.
    pub value: GuestMetricValue,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestMetricValue {
    /// Only grows.
    Counter(u64),
    /// Any value.
    Gauge(u64),
    /// Distribution of recorded values.
    Histogram {
        /// Values within each bound of [`HISTOGRAM_BOUNDS`] and above the bound before.
        buckets: [u64; HISTOGRAM_BOUNDS.len()],
        /// Number of values, with those above all bounds.
        count: u64,
        /// Sum of values. Wraps.
        sum: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Why an operation on a metric fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricError {
    Unknown,
    /// The operation does not fit the kind, or the name has another one.
    WrongKind,
    TooMany,
}

/// All metrics of a plugin. The ID of a metric is its index plus one.
#[derive(Default)]
pub(crate) struct PluginMetrics(Mutex<Vec<Arc<Metric>>>);

struct Metric {
    name: Arc<str>,
    kind: MetricKind,
    /// The value; of a histogram the sum.
    value: AtomicU64,
    count: AtomicU64,
    buckets: [AtomicU64; HISTOGRAM_BOUNDS.len()],
}

/// An instance's way to the metrics of its plugin. Known metrics are used without a lock.
pub(crate) struct MetricHandles {
    plugin: Arc<PluginMetrics>,
    known: Vec<Arc<Metric>>,
}

impl PluginMetrics {
    /// Returns the values of all metrics.
    pub(crate) fn values(&self, plugin: &Arc<str>) -> Vec<GuestMetric> {
        let metrics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = |metric: &Arc<Metric>| GuestMetric {
            plugin: Arc::clone(plugin),
            name: Arc::clone(&metric.name),
            value: metric.read(),
        };
        metrics.iter().map(value).collect()
    }
}

impl Metric {
    fn new(kind: MetricKind, name: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            value: AtomicU64::new(0),
            count: AtomicU64::new(0),
            buckets: Default::default(),
        }
    }

    fn read(&self) -> GuestMetricValue {
        let value = self.value.load(Ordering::Relaxed);
        match self.kind {
            MetricKind::Counter => GuestMetricValue::Counter(value),
            MetricKind::Gauge => GuestMetricValue::Gauge(value),
            MetricKind::Histogram => GuestMetricValue::Histogram {
                buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
                count: self.count.load(Ordering::Relaxed),
                sum: value,
            },
        }
    }
}

impl MetricHandles {
    pub(crate) fn new(plugin: Arc<PluginMetrics>) -> Self {
        Self { plugin, known: Vec::new() }
    }

    /// Returns the ID of a metric, a new one if the name is new.
    pub(crate) fn define(&self, kind: MetricKind, name: &[u8]) -> Result<u32, MetricError> {
        if name.len() > MAX_METRIC_NAME_BYTES {
            return Err(MetricError::TooMany);
        }
        let name = String::from_utf8_lossy(name);
        let mut metrics = self.plugin.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match metrics.iter().position(|metric| *metric.name == *name) {
            Some(index) if metrics.get(index).is_some_and(|metric| metric.kind == kind) => index,
            Some(_) => return Err(MetricError::WrongKind),
            None if metrics.len() >= MAX_METRICS => return Err(MetricError::TooMany),
            None => {
                metrics.push(Arc::new(Metric::new(kind, &name)));
                metrics.len() - 1
            }
        };
        u32::try_from(index + 1).map_err(|_| MetricError::TooMany)
    }

    pub(crate) fn increment(&mut self, id: u32, delta: i64) -> Result<(), MetricError> {
        let metric = self.metric(id)?;
        let amount = delta.unsigned_abs();
        match metric.kind {
            MetricKind::Counter if delta < 0 => return Err(MetricError::WrongKind),
            MetricKind::Gauge if delta < 0 => {
                // It always finds a value, so that it cannot fail.
                let subtract = |value: u64| Some(value.saturating_sub(amount));
                let _ = metric.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
            }
            MetricKind::Counter | MetricKind::Gauge => {
                metric.value.fetch_add(amount, Ordering::Relaxed);
            }
            MetricKind::Histogram => return Err(MetricError::WrongKind),
        }
        Ok(())
    }

    pub(crate) fn record(&mut self, id: u32, value: u64) -> Result<(), MetricError> {
        let metric = self.metric(id)?;
        match metric.kind {
            MetricKind::Counter => {
                metric.value.fetch_add(value, Ordering::Relaxed);
            }
            MetricKind::Gauge => metric.value.store(value, Ordering::Relaxed),
            MetricKind::Histogram => {
                metric.value.fetch_add(value, Ordering::Relaxed);
                metric.count.fetch_add(1, Ordering::Relaxed);
                let bucket = HISTOGRAM_BOUNDS.partition_point(|bound| *bound < value);
                if let Some(bucket) = metric.buckets.get(bucket) {
                    bucket.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn get(&mut self, id: u32) -> Result<u64, MetricError> {
        let metric = self.metric(id)?;
        match metric.kind {
            MetricKind::Counter | MetricKind::Gauge => Ok(metric.value.load(Ordering::Relaxed)),
            MetricKind::Histogram => Err(MetricError::WrongKind),
        }
    }

    /// Finds a metric. Another instance may have defined it.
    fn metric(&mut self, id: u32) -> Result<&Metric, MetricError> {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1)).ok_or(MetricError::Unknown)?;
        if index >= self.known.len() {
            self.known.clone_from(&self.plugin.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.known.get(index).map(|metric| &**metric).ok_or(MetricError::Unknown)
    }
}
