//! Metrics of the process itself, with the names that Prometheus' client libraries give them.

use std::fmt;
use std::sync::LazyLock;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::encode::{counter_type, gauge};

/// Unit of times in `/proc/self/stat`. Linux has this value on all architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// Start of the process, in seconds since 1970. Computed once, so that it does not vary with the clock.
static STARTED_AT: LazyLock<f64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    let started = stat_fields(&read_stat()).nth(19).and_then(|ticks| ticks.parse::<u32>().ok());
    now.as_secs_f64() - uptime + started.map_or(uptime, |ticks| f64::from(ticks) / TICKS_PER_SECOND)
});

/// Resources of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessSample {
    /// User and system time in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Maximum file descriptors.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
}

impl ProcessSample {
    /// Reads the present values from `/proc`. A value that cannot be read is 0.
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |name: &str| first_number(&status, name) * 1024;
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&read_stat()),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            open_fds: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            max_fds: first_number(&limits, "Max open files"),
            threads: first_number(&status, "Threads:"),
        }
    }
}

/// Returns the first number after a name at the start of a line; 0 if there is none.
fn first_number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn read_stat() -> String {
    std::fs::read_to_string("/proc/self/stat").unwrap_or_default()
}

/// Returns the fields of `/proc/self/stat` from the third on. The name of the program before them may hold spaces.
fn stat_fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default().split(' ')
}

/// Returns user and system time of `/proc/self/stat`.
fn cpu_seconds(stat: &str) -> f64 {
    let times = stat_fields(stat).skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok());
    times.map(f64::from).sum::<f64>() / TICKS_PER_SECOND
}

impl Collector for ProcessSample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        ConstCounter::new(self.cpu_seconds).encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system CPU time",
            None,
            counter_type(),
        )?)?;
        ConstGauge::new(*STARTED_AT).encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970",
            None,
            MetricType::Gauge,
        )?)?;
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", self.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory", self.virtual_bytes),
            ("process_open_fds", "Open file descriptors", self.open_fds),
            ("process_max_fds", "Maximum file descriptors", self.max_fds),
            ("process_threads", "Threads", self.threads),
        ];
        for (name, help, value) in gauges {
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_stat_are_read_behind_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 5";
        assert!((cpu_seconds(stat) - 3.0).abs() < 1e-9);
        assert!(cpu_seconds("").abs() < 1e-9);
        assert_eq!(first_number("VmPeak:  9 kB\nVmRSS:\t  42 kB\n", "VmRSS:"), 42);
    }
}
