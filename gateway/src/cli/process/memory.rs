//! Watches the memory of the process, and makes the workers release some before the kernel ends the process.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::data::listener::worker::Handle;
use crate::data::pressure::{MemoryPressure, PressureLevel};

/// Time between two measurements. A flood of 200 MB/s fills a tenth of 2 GiB in it.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// Files with the limit of the control group, of version 2 and of version 1.
const GROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Limits from which a control group of version 1 has none: it then reports the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the memory budget: the configured one, or the limit of the control group (of the container). `None` if neither
/// exists.
pub(super) fn budget(configured: Option<usize>) -> Option<NonZeroU64> {
    let group = || GROUP_LIMITS.iter().find_map(|path| parse_limit(&std::fs::read_to_string(path).ok()?));
    configured.map(|bytes| bytes as u64).or_else(group).and_then(NonZeroU64::new)
}

fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// Measures the memory every second and reports the level to `pressure`. At a high level the workers close idle
/// connections.
///
/// # Cancellation
/// The level stays.
pub(super) async fn watch(budget: NonZeroU64, pressure: Arc<MemoryPressure>, workers: Arc<[Handle]>) {
    let mut last = PressureLevel::Low;
    loop {
        if let Some(used) = resident_bytes() {
            let level = PressureLevel::new(used, budget.get());
            pressure.set(level);
            if level >= PressureLevel::High {
                workers.iter().for_each(Handle::release_memory);
            }
            if level > last {
                tracing::warn!(?level, used, budget, "the process uses most of its memory: limits.memory");
            }
            last = level;
        }
        tokio::time::sleep(MEASURE_INTERVAL).await;
    }
}

/// Returns the resident memory of the process. `None` if the system does not report it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_are_read() {
        for (text, limit) in
            [("max\n", None), ("536870912\n", Some(536_870_912)), ("9223372036854771712\n", None), ("", None)]
        {
            assert_eq!(parse_limit(text), limit, "{text:?}");
        }
        assert_eq!(budget(Some(1 << 20)).map(NonZeroU64::get), Some(1 << 20));
    }

    #[test]
    fn resident_memory_is_known() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
