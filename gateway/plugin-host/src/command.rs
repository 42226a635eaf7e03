//! Class handlers: commands of WASI preview 1 that read standard input and write standard output.
//!
//! A call is a function of its input: a fresh instance, no files, network, arguments or environment, a clock that stops and
//! random bytes that are always the same. Not here: what input and output mean.

mod state;
mod wasi;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::Digest;
use sha2::Sha256;
use wasmparser::WasmFeatures;
use wasmtime::ExternType;
use wasmtime::InstancePre;
use wasmtime::Linker;
use wasmtime::Store;
use wasmtime::Trap;

use crate::callback::MEMORY;
use crate::callback::START;
use crate::config::Limits;
use crate::engine::Engine;
use crate::error::ModuleError;
use crate::inspect;
use crate::limiter::GrowthLimiter;
use crate::vm;

use state::CommandFault;
use state::CommandState;

/// Bounds of one call of a command. Each is enforced by the host, whatever the guest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// Maximum time of the call. Exact to 1 ms.
    pub time: Duration,
    /// Maximum bytes of the linear memory; growth beyond fails in the guest.
    pub memory: usize,
    /// Maximum bytes of standard output. A guest that writes more is ended.
    pub output: usize,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(1), memory: 64 << 20, output: 4 << 20 }
    }
}

/// A compiled command. Clones share the code.
#[derive(Clone)]
pub struct HandlerCommand(Arc<CompiledCommand>);

struct CompiledCommand {
    engine: Engine,
    pre: InstancePre<CommandState>,
    digest: [u8; 32],
}

/// The result of a call that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// What the guest wrote to standard output.
    pub stdout: Vec<u8>,
    /// The first 8 KiB that the guest wrote to standard error.
    pub stderr: String,
    /// Bytes of the guest's memory at the end.
    pub memory: usize,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The engine cannot create an instance: no memory, or a segment out of bounds.
    #[error("cannot be instantiated: {0}")]
    Instantiate(String),
    /// The time was over.
    #[error("it took longer than {0:?}")]
    Deadline(Duration),
    /// It wrote too much to standard output.
    #[error("it wrote more than {0} bytes")]
    Output(usize),
    /// It ended itself with a code other than 0. Holds the code, and what it wrote to standard error.
    #[error("it ended with code {0}{1}")]
    Exit(u32, Stderr),
    /// It trapped: a panic, no memory, a stack that is too deep. Holds the reason, and what it wrote to standard error.
    #[error("it trapped: {0}{1}")]
    Trapped(String, Stderr),
}

/// What a guest wrote to standard error. Prints as the end of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stderr(pub String);

impl fmt::Display for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rust adds hints for a terminal.
        let lines =
            self.0.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: "));
        let text = lines.collect::<Vec<_>>().join(" ");
        if text.is_empty() { Ok(()) } else { write!(f, ": {}", text.escape_debug()) }
    }
}

impl Engine {
    /// Validates and compiles a command. Blocks for up to a few seconds.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub fn compile_command(&self, bytes: &[u8]) -> Result<HandlerCommand, ModuleError> {
        // Their results depend on the machine.
        inspect::validate_features(bytes, inspect::FEATURES.difference(WasmFeatures::RELAXED_SIMD))?;
        let compile = |error: wasmtime::Error| ModuleError::Compile(format!("{error:#}"));
        let module = wasmtime::Module::from_binary(self.runtime(), bytes).map_err(compile)?;
        check_exports(&module)?;
        let mut linker = Linker::new(self.runtime());
        linker.allow_shadowing(true);
        wasi::link(&mut linker, &module)?;
        let pre = linker.instantiate_pre(&module).map_err(compile)?;
        let digest = Sha256::digest(bytes).into();
        Ok(HandlerCommand(Arc::new(CompiledCommand { engine: self.clone(), pre, digest })))
    }
}

fn check_exports(module: &wasmtime::Module) -> Result<(), ModuleError> {
    let is_command = match module.get_export(START) {
        Some(ExternType::Func(ty)) => ty.params().len() == 0 && ty.results().len() == 0,
        _ => false,
    };
    if !is_command {
        let message = format!("{START} is missing: a class handler is a command of WASI preview 1");
        return Err(ModuleError::Export(message));
    }
    match module.get_export(MEMORY) {
        Some(ExternType::Memory(_)) => Ok(()),
        _ => Err(ModuleError::Export(format!("{MEMORY} is missing"))),
    }
}

impl HandlerCommand {
    /// Returns the SHA-256 of the module.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// Runs the command once. Blocks for at most [`CommandLimits::time`] and a few milliseconds.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn run(&self, input: Bytes, limits: &CommandLimits) -> Result<CommandOutput, CommandError> {
        let growth = Limits { memory: limits.memory, ..Limits::default() };
        let state = CommandState::new(input, limits.output, GrowthLimiter::new(&growth));
        let mut store = Store::new(self.0.engine.runtime(), state);
        store.limiter(|state| &mut state.limiter);
        let hold = self.0.engine.ticker().hold();
        store.set_epoch_deadline(vm::ticks(limits.time));
        let instance = self.0.pre.instantiate(&mut store);
        let instance = instance.map_err(|error| CommandError::Instantiate(format!("{error:#}")))?;
        let start = instance.get_typed_func::<(), ()>(&mut store, START);
        let start = start.map_err(|error| CommandError::Instantiate(format!("{error:#}")))?;
        let result = start.call(&mut store, ());
        drop(hold);
        let memory = instance.get_memory(&mut store, MEMORY).map_or(0, |memory| memory.data_size(&store));
        let state = store.into_data();
        match result {
            Ok(()) => Ok(state.into_output(memory)),
            Err(error) => match end_of(&error, &state, limits) {
                Some(error) => Err(error),
                None => Ok(state.into_output(memory)),
            },
        }
    }
}

impl fmt::Debug for HandlerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerCommand")
    }
}

/// Returns why a call that did not return has no result. Returns `None` if it ended itself with code 0.
fn end_of(error: &wasmtime::Error, state: &CommandState, limits: &CommandLimits) -> Option<CommandError> {
    let stderr = || Stderr(state.stderr());
    let trapped = |mut reason: String| {
        if state.limiter.has_refused() {
            reason.push_str(&format!(" (it reached its limit of {} bytes of memory)", limits.memory));
        }
        CommandError::Trapped(reason, stderr())
    };
    Some(match error.downcast_ref::<CommandFault>() {
        Some(CommandFault::Exit(0)) => return None,
        Some(CommandFault::Exit(code)) => CommandError::Exit(*code, stderr()),
        Some(CommandFault::Output) => CommandError::Output(limits.output),
        Some(fault @ CommandFault::Memory) => trapped(fault.to_string()),
        None => match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => CommandError::Deadline(limits.time),
            Some(Trap::StackOverflow) => trapped("the stack is too deep".to_owned()),
            Some(trap) => trapped(trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
            None => trapped(error.root_cause().to_string()),
        },
    })
}
