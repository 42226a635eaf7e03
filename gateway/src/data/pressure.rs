//! How much of its memory budget the process uses, as all workers see it.
//!
//! Not here: measuring (`cli::process::memory`), and what closes (`idle`).

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Percent of the budget from which idle connections close.
const HIGH_PERCENT: u64 = 85;

/// Percent of the budget from which new requests get 503. The kernel ends the process at 100.
const CRITICAL_PERCENT: u64 = 95;

/// How much of the memory budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PressureLevel {
    /// Little enough.
    #[default]
    Low,
    /// Idle connections close.
    High,
    /// New requests get 503, too.
    Critical,
}

impl PressureLevel {
    /// Returns the level at which `used` of `budget` bytes are used.
    pub fn new(used: u64, budget: u64) -> Self {
        let percent = used.saturating_mul(100) / budget.max(1);
        match percent {
            CRITICAL_PERCENT.. => Self::Critical,
            HIGH_PERCENT.. => Self::High,
            _ => Self::Low,
        }
    }
}

/// The present level, which all workers share.
#[derive(Debug, Default)]
pub struct MemoryPressure(AtomicU8);

impl MemoryPressure {
    /// Sets the level.
    pub fn set(&self, level: PressureLevel) {
        self.0.store(level as u8, Relaxed);
    }

    /// Returns true if new requests get 503.
    pub fn is_critical(&self) -> bool {
        self.0.load(Relaxed) >= PressureLevel::Critical as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_follows_the_used_share() {
        for (used, budget, level) in [
            (0, 100, PressureLevel::Low),
            (84, 100, PressureLevel::Low),
            (85, 100, PressureLevel::High),
            (94, 100, PressureLevel::High),
            (95, 100, PressureLevel::Critical),
            (200, 100, PressureLevel::Critical),
            (1, 0, PressureLevel::Critical),
        ] {
            assert_eq!(PressureLevel::new(used, budget), level, "{used} of {budget}");
        }
        let pressure = MemoryPressure::default();
        for level in [PressureLevel::Low, PressureLevel::High, PressureLevel::Critical] {
            pressure.set(level);
            assert_eq!(pressure.is_critical(), level == PressureLevel::Critical);
        }
    }
}
