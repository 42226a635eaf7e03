//! Metrics of the plugin. The host adds up those of all instances.
//!
//! Define a metric once, in `Plugin::new`, and keep it: each definition is a call into the host.
//!
//! ```no_run
//! use plugin_sdk::prelude::*;
//!
//! # fn example() -> Result<(), Error> {
//! let refused = Counter::define("api_key_refused_total")?;
//! refused.increment(1)?;
//! # Ok(())
//! # }
//! ```

use crate::current_host::host;
use crate::host::HostResult;
use crate::host::MetricKind;

/// A number that only grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counter(u32);

/// A number that grows and shrinks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gauge(u32);

/// A distribution of numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Histogram(u32);

impl Counter {
    /// Defines a counter, or finds the one of that name.
    ///
    /// # Errors
    /// The host failed, or has too many metrics.
    pub fn define(name: &str) -> HostResult<Self> {
        host().define_metric(MetricKind::Counter, name).map(Self)
    }

    /// Adds to the counter.
    ///
    /// # Errors
    /// The host failed.
    pub fn increment(self, by: u32) -> HostResult<()> {
        host().increment_metric(self.0, by.into())
    }

    /// Returns the value.
    ///
    /// # Errors
    /// The host failed.
    pub fn value(self) -> HostResult<u64> {
        host().metric(self.0)
    }
}

impl Gauge {
    /// Defines a gauge, or finds the one of that name.
    ///
    /// # Errors
    /// The host failed, or has too many metrics.
    pub fn define(name: &str) -> HostResult<Self> {
        host().define_metric(MetricKind::Gauge, name).map(Self)
    }

    /// Adds to the gauge, or subtracts.
    ///
    /// # Errors
    /// The host failed.
    pub fn adjust(self, by: i64) -> HostResult<()> {
        host().increment_metric(self.0, by)
    }

    /// Sets the gauge.
    ///
    /// # Errors
    /// The host failed.
    pub fn record(self, value: u64) -> HostResult<()> {
        host().record_metric(self.0, value)
    }

    /// Returns the value.
    ///
    /// # Errors
    /// The host failed.
    pub fn value(self) -> HostResult<u64> {
        host().metric(self.0)
    }
}

impl Histogram {
    /// Defines a histogram, or finds the one of that name.
    ///
    /// # Errors
    /// The host failed, or has too many metrics.
    pub fn define(name: &str) -> HostResult<Self> {
        host().define_metric(MetricKind::Histogram, name).map(Self)
    }

    /// Adds a number to the distribution.
    ///
    /// # Errors
    /// The host failed.
    pub fn record(self, value: u64) -> HostResult<()> {
        host().record_metric(self.0, value)
    }
}
