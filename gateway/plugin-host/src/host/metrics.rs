//! Host functions about metrics.

use super::HostCall;
use super::HostFunction;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::metric::MetricError;
use crate::metric::MetricKind;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_define_metric", |call, kind, name, len, id| {
        define(call, kind, Span::new(name, len), id)
    }),
    host_function!(restricted "proxy_increment_metric", |call, id, delta: i64| increment(call, id, delta)),
    host_function!(restricted "proxy_record_metric", |call, id, value: u64| record(call, id, value)),
    host_function!(restricted "proxy_get_metric", |call, id, value| get(call, id, value)),
];

impl From<MetricError> for Status {
    fn from(error: MetricError) -> Self {
        match error {
            MetricError::Unknown => Self::NotFound,
            MetricError::WrongKind => Self::BadArgument,
            MetricError::TooMany => Self::InternalFailure,
        }
    }
}

fn define(call: &mut HostCall<'_>, kind: u32, name: Span, id: u32) -> wasmtime::Result<Status> {
    let kind = match kind {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Histogram,
        _ => return Ok(Status::BadArgument),
    };
    let (memory, host) = call.split();
    match host.metrics.define(kind, name.read(memory)?) {
        Ok(metric) => call.write_u32(id, metric)?,
        Err(error) => return Ok(error.into()),
    }
    Ok(Status::Ok)
}

fn increment(call: &mut HostCall<'_>, id: u32, delta: i64) -> wasmtime::Result<Status> {
    Ok(call.host_mut().metrics.increment(id, delta).map_or_else(Status::from, |()| Status::Ok))
}

fn record(call: &mut HostCall<'_>, id: u32, value: u64) -> wasmtime::Result<Status> {
    Ok(call.host_mut().metrics.record(id, value).map_or_else(Status::from, |()| Status::Ok))
}

fn get(call: &mut HostCall<'_>, id: u32, value: u32) -> wasmtime::Result<Status> {
    match call.host_mut().metrics.get(id) {
        Ok(current) => call.write_u64(value, current)?,
        Err(error) => return Ok(error.into()),
    }
    Ok(Status::Ok)
}
