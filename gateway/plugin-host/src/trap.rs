//! Reports of how a call ended an instance.

use wasmtime::Error;
use wasmtime::Trap;
use wasmtime::WasmBacktrace;

use crate::engine::MAX_FRAMES;
use crate::error::TrapKind;
use crate::error::TrapReport;
use crate::fault::Fault;
use crate::host::HostState;

/// Returns the report of an error of a call.
pub(crate) fn report(error: &Error, host: &HostState) -> TrapReport {
    let (kind, mut message) = classify(error, host);
    if host.limiter.has_refused() {
        message.push_str(" (the instance reached its limit of memory)");
    }
    let last = host.log.last();
    if !last.is_empty() {
        message.push_str(": ");
        message.push_str(&last);
    }
    TrapReport { kind, message, frames: frames(error) }
}

/// Returns true if an error is a trap of guest code, and none of the host's own.
pub(crate) fn is_of_guest(error: &Error) -> bool {
    let has_frames = |backtrace: &WasmBacktrace| !backtrace.frames().is_empty();
    error.downcast_ref::<WasmBacktrace>().is_some_and(has_frames)
}

fn classify(error: &Error, host: &HostState) -> (TrapKind, String) {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        let kind = match fault {
            Fault::Memory => TrapKind::Memory,
            Fault::Allocator(_) => TrapKind::Allocator,
            Fault::Exit(_) => TrapKind::Exit,
            Fault::Abort(..) | Fault::Refused(_) => TrapKind::Trap,
        };
        return (kind, fault.to_string());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let limits = &host.config.limits;
            let time = if host.is_started { limits.call } else { limits.configure };
            (TrapKind::Deadline, format!("the call took longer than {time:?}"))
        }
        Some(Trap::StackOverflow) => (TrapKind::Stack, "the stack is too deep".to_owned()),
        Some(trap) => (TrapKind::Trap, trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        None => (TrapKind::Trap, error.root_cause().to_string()),
    }
}

/// Returns the function names of a backtrace, with the place in the source if the module has debug information.
fn frames(error: &Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let mut frames: Vec<String> = Vec::new();
    // The text holds demangled names, which the structure does not.
    for line in backtrace.to_string().lines() {
        let line = line.trim();
        if let (Some(place), Some(frame)) = (line.strip_prefix("at "), frames.last_mut()) {
            frame.push_str(&format!(" at {place}"));
        } else if let Some((_, function)) = line.split_once("- ") {
            frames.push(without_module(function).to_owned());
        }
    }
    frames.truncate(MAX_FRAMES);
    frames
}

/// Returns the name of a function without the name of its module before it, which is that of a file.
fn without_module(function: &str) -> &str {
    match function.split_once('!') {
        Some((module, name)) if !module.contains("::") => name,
        _ => function,
    }
}
