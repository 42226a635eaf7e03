//! Host functions about properties.

use std::time::Duration;
use std::time::SystemTime;

use super::HostCall;
use super::HostFunction;
use super::HostState;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::pairs;
use crate::view::PropertyValue;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_get_property", |call, path, len, address, size| {
        get(call, Span::new(path, len), ReturnSlot::new(address, size))
    }),
    host_function!(restricted "proxy_set_property", |call, path, len, value, value_len| {
        set(call, Span::new(path, len), Span::new(value, value_len))
    }),
];

impl HostState {
    /// Copies a property to the scratch buffer. Returns false if it is unknown.
    fn copy_property(&mut self, path: &[u8]) -> bool {
        let Self { config, contexts, scratch, .. } = self;
        scratch.clear();
        match path {
            b"plugin_name" => scratch.extend_from_slice(config.plugin.as_bytes()),
            b"plugin_root_id" => scratch.extend_from_slice(&config.root_id),
            b"plugin_vm_id" => scratch.extend_from_slice(&config.vm_id),
            _ => match contexts.effective().and_then(|stream| stream.view.property(path)) {
                Some(value) => encode(scratch, &value),
                None => return false,
            },
        }
        true
    }
}

fn get(call: &mut HostCall<'_>, path: Span, slot: ReturnSlot) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let is_known = host.copy_property(normalize(path.read(memory)?));
    if is_known { call.return_scratch(slot) } else { Ok(Status::NotFound) }
}

fn set(call: &mut HostCall<'_>, path: Span, value: Span) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let (path, value) = (normalize(path.read(memory)?), value.read(memory)?);
    let Some(stream) = host.contexts.effective_mut() else { return Ok(Status::NotFound) };
    let is_set = stream.view.set_property(path, value);
    Ok(if is_set { Status::Ok } else { Status::BadArgument })
}

/// Returns a path without the NUL at its end that the C++ SDK writes.
fn normalize(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"\0").unwrap_or(path)
}

/// Encodes a value as Envoy does.
fn encode(scratch: &mut Vec<u8>, value: &PropertyValue<'_>) {
    match value {
        PropertyValue::Bytes(bytes) => scratch.extend_from_slice(bytes),
        PropertyValue::Int(number) => scratch.extend_from_slice(&number.to_le_bytes()),
        PropertyValue::Bool(value) => scratch.push(u8::from(*value)),
        PropertyValue::Duration(duration) => scratch.extend_from_slice(&nanoseconds(*duration).to_le_bytes()),
        PropertyValue::Time(time) => {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            scratch.extend_from_slice(&nanoseconds(since).to_le_bytes());
        }
        PropertyValue::Map(map) => {
            pairs::encode(scratch, |on_pair| map.iter().for_each(|(name, value)| on_pair(name, value)));
        }
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
