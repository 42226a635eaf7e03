//! Numbers of the Proxy-Wasm ABI.

use std::fmt;

/// Version of the Proxy-Wasm ABI that a module was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abi {
    /// 0.1.0.
    V0_1_0,
    /// 0.2.0.
    V0_2_0,
    /// 0.2.1.
    V0_2_1,
    /// The marker of Higress: 0.2.1, with Envoy's actions as results of callbacks.
    V0_2_100,
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
            Self::V0_2_100 => "0.2.100",
        })
    }
}

/// What a host function returns. SDKs know only some of the ABI's numbers and trap on others, so these are all that the
/// host uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
    Empty = 7,
    CasMismatch = 8,
    /// Also for what the host does not have, and for limits.
    InternalFailure = 10,
}

impl From<Status> for u32 {
    fn from(status: Status) -> Self {
        status as Self
    }
}
