//! Why a module or an instance is refused, and how calls fail.

use std::fmt;

use crate::event::RootIndex;

/// Why an engine cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The folder for compiled code is no absolute path or cannot be written.
    #[error("the cache of compiled code: {0}")]
    Cache(String),
    /// The runtime does not support this machine.
    #[error("the WebAssembly runtime: {0}")]
    Configure(String),
    /// The system cannot start a thread.
    #[error("the thread of deadlines: {0}")]
    Thread(String),
}

/// Why a module is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Larger than [`crate::MAX_MODULE_BYTES`].
    #[error("the module has {0} bytes, more than 10 MiB")]
    TooLarge(usize),
    /// Precompiled code, which this process would have to trust.
    #[error("precompiled code is refused: give the WebAssembly module itself")]
    Precompiled,
    /// Not a valid core module with the features that the host takes.
    #[error("not a valid WebAssembly module: {0}")]
    Malformed(String),
    /// The ABI marker is missing, or unknown.
    #[error("no ABI marker: a Proxy-Wasm plugin exports proxy_abi_version_0_1_0, _0_2_0, _0_2_1 or _0_2_100")]
    NoAbi,
    /// A function that the host does not have, or one with another type.
    #[error("the import {0} is not one that the host has")]
    Import(String),
    /// An export is missing or has another type.
    #[error("the export {0}")]
    Export(String),
    /// More than one custom section [`crate::CONFIG_SCHEMA_SECTION`].
    #[error("the module has several custom sections wasm-gateway.config-schema: keep one of them")]
    SeveralSchemas,
    /// Cranelift failed.
    #[error("cannot be compiled: {0}")]
    Compile(String),
}

/// Why an instance cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The engine cannot create one: no memory, or a segment out of bounds.
    #[error("cannot be instantiated: {0}")]
    Instantiate(String),
    /// A function of the start trapped.
    #[error("{callback}: {report}")]
    Trapped {
        /// The export.
        callback: &'static str,
        /// The trap.
        report: TrapReport,
    },
    /// `proxy_on_vm_start` returned false.
    #[error("proxy_on_vm_start refused the VM configuration{0}")]
    RefusedVm(LastLog),
    /// `proxy_on_configure` returned false.
    #[error("proxy_on_configure refused the configuration{1}")]
    RefusedConfiguration(RootIndex, LastLog),
}

/// The last warning or error that the guest logged before it refused; empty if there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastLog(pub String);

impl fmt::Display for LastLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0)
    }
}

/// How a call ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrapKind {
    /// The time of a call was over.
    Deadline,
    /// The stack was too deep.
    Stack,
    /// The allocator of the guest returned no memory, or memory outside.
    Allocator,
    /// The guest gave a host function memory that is not its own.
    Memory,
    /// `proc_exit`.
    Exit,
    /// Any other: `unreachable`, a panic, a division by zero.
    Trap,
}

/// A trap, for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapReport {
    /// Its kind.
    pub kind: TrapKind,
    /// One line.
    pub message: String,
    /// Symbolised frames, innermost first, at most 20.
    pub frames: Vec<String>,
}

impl fmt::Display for TrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// This call trapped. The instance is dead; the report is worth a log line.
    #[error("{0}")]
    Trapped(Box<TrapReport>),
    /// An earlier call trapped.
    #[error("the instance is dead")]
    Dead,
    /// The stream is unknown: it was closed.
    #[error("the stream is unknown")]
    UnknownStream,
}
