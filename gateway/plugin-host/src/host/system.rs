//! Host functions about the instance: log, time, ticks, contexts.

use std::time::Duration;
use std::time::SystemTime;

use super::ConfigurationKind;
use super::HostCall;
use super::HostFunction;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::action::GuestAction;
use crate::guest_log::LogLevel;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(always "proxy_log", |call, level, message, len| log(call, level, Span::new(message, len))),
    host_function!(restricted "proxy_get_log_level", |call, level| log_level(call, level)),
    host_function!(restricted "proxy_get_current_time_nanoseconds", |call, time| current_time(call, time)),
    host_function!(restricted "proxy_set_tick_period_milliseconds", |call, period| set_tick(call, period)),
    host_function!(restricted "proxy_set_effective_context", |call, id| set_effective_context(call, id)),
    host_function!(restricted "proxy_done", |call| done(call)),
    // ABI 0.1.0.
    host_function!(restricted "proxy_get_configuration", |call, address, size| {
        configuration(call, ReturnSlot::new(address, size))
    }),
];

fn log(call: &mut HostCall<'_>, level: u32, message: Span) -> wasmtime::Result<Status> {
    let Some(level) = LogLevel::from_abi(level) else { return Ok(Status::BadArgument) };
    let (memory, host) = call.split();
    let message = message.read(memory)?;
    host.log(level, message);
    Ok(Status::Ok)
}

fn log_level(call: &mut HostCall<'_>, level: u32) -> wasmtime::Result<Status> {
    let lowest = LogLevel::lowest(&call.host().config);
    call.write_u32(level, lowest as u32)?;
    Ok(Status::Ok)
}

fn current_time(call: &mut HostCall<'_>, time: u32) -> wasmtime::Result<Status> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    call.write_u64(time, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))?;
    Ok(Status::Ok)
}

fn set_tick(call: &mut HostCall<'_>, milliseconds: u32) -> wasmtime::Result<Status> {
    let host = call.host_mut();
    let period = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
    let action = GuestAction::Tick(host.contexts.effective_root(), period);
    Ok(if host.actions.push(action, 0) { Status::Ok } else { Status::InternalFailure })
}

fn set_effective_context(call: &mut HostCall<'_>, id: u32) -> wasmtime::Result<Status> {
    let is_known = call.host_mut().contexts.set_effective(id);
    Ok(if is_known { Status::Ok } else { Status::BadArgument })
}

fn done(call: &mut HostCall<'_>) -> wasmtime::Result<Status> {
    let has_ended = call.host_mut().contexts.finish_effective();
    Ok(if has_ended { Status::Ok } else { Status::NotFound })
}

fn configuration(call: &mut HostCall<'_>, slot: ReturnSlot) -> wasmtime::Result<Status> {
    let host = call.host();
    let configuration = match host.configuration {
        ConfigurationKind::Vm => Some(&host.config.vm_configuration),
        ConfigurationKind::Plugin => host.config.roots.get(host.contexts.effective_root().0),
    };
    let configuration = configuration.cloned().unwrap_or_default();
    call.return_bytes(slot, &configuration)
}
