//! Bounds of a guest's memory and table.

use wasmtime::ResourceLimiter;

use crate::config::Limits;

/// Refuses growth beyond the limits. The guest sees that growing failed.
pub(crate) struct GrowthLimiter {
    memory: usize,
    table: usize,
    has_refused: bool,
}

impl GrowthLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory: limits.memory, table: limits.table, has_refused: false }
    }

    /// Returns true if the guest ever reached a limit.
    pub(crate) fn has_refused(&self) -> bool {
        self.has_refused
    }

    fn check(&mut self, desired: usize, limit: usize) -> bool {
        let is_within = desired <= limit;
        self.has_refused |= !is_within;
        is_within
    }
}

impl ResourceLimiter for GrowthLimiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.check(desired, self.memory))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.check(desired, self.table))
    }

    fn memories(&self) -> usize {
        1
    }

    /// Compilers emit one; more of them would multiply the limit.
    fn tables(&self) -> usize {
        1
    }

    fn instances(&self) -> usize {
        1
    }
}
