//! Mistakes of a guest that end its instance.

/// Why a host function traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// SDKs have no status for it.
    #[error("a host function was given memory outside of the guest's")]
    Memory,
    #[error("the allocator returned no memory for {0} bytes")]
    Allocator(usize),
    #[error("proc_exit with code {0}")]
    Exit(u32),
    #[error("abort at line {0}, column {1}")]
    Abort(u32, u32),
    #[error("{0} was called during initialization or memory allocation")]
    Refused(&'static str),
}
