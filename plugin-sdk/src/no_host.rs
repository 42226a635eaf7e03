//! The host outside of a module and outside of tests: every call fails, log lines are dropped.

use crate::host::BufferKind;
use crate::host::Direction;
use crate::host::Edit;
#[cfg(feature = "grpc")]
use crate::host::GrpcRequest;
use crate::host::Host;
use crate::host::HostError;
use crate::host::HostResult;
use crate::host::HttpRequest;
use crate::host::Level;
use crate::host::LocalResponse;
use crate::host::MapKind;
use crate::host::MetricKind;
use crate::host::Status;

pub(crate) struct NoHost;

fn unimplemented<T>(function: &'static str) -> HostResult<T> {
    Err(HostError::new(function, Status::Unimplemented))
}

impl Host for NoHost {
    fn log(&self, _: Level, _: &str) -> HostResult<()> {
        Ok(())
    }

    fn log_level(&self) -> HostResult<Level> {
        unimplemented("get_log_level")
    }

    fn current_time_nanoseconds(&self) -> HostResult<u64> {
        unimplemented("get_current_time_nanoseconds")
    }

    fn set_tick_period(&self, _: u32) -> HostResult<()> {
        unimplemented("set_tick_period_milliseconds")
    }

    fn set_effective_context(&self, _: u32) -> HostResult<()> {
        unimplemented("set_effective_context")
    }

    fn header_value(&self, _: MapKind, _: &[u8]) -> HostResult<Vec<u8>> {
        unimplemented("get_header_map_value")
    }

    fn header_pairs(&self, _: MapKind) -> HostResult<Vec<u8>> {
        unimplemented("get_header_map_pairs")
    }

    fn edit_headers(&self, _: MapKind, _: Edit<'_>) -> HostResult<()> {
        unimplemented("replace_header_map_value")
    }

    fn buffer_bytes(&self, _: BufferKind, _: usize, _: usize) -> HostResult<Vec<u8>> {
        unimplemented("get_buffer_bytes")
    }

    fn set_buffer_bytes(&self, _: BufferKind, _: usize, _: usize, _: &[u8]) -> HostResult<()> {
        unimplemented("set_buffer_bytes")
    }

    fn continue_stream(&self, _: Direction) -> HostResult<()> {
        unimplemented("continue_stream")
    }

    fn send_local_response(&self, _: &LocalResponse<'_>) -> HostResult<()> {
        unimplemented("send_local_response")
    }

    fn http_call(&self, _: &HttpRequest<'_>) -> HostResult<u32> {
        unimplemented("http_call")
    }

    #[cfg(feature = "grpc")]
    fn grpc_call(&self, _: &GrpcRequest<'_>) -> HostResult<u32> {
        unimplemented("grpc_call")
    }

    #[cfg(feature = "grpc")]
    fn status_message(&self) -> HostResult<Vec<u8>> {
        unimplemented("get_status")
    }

    fn shared_data(&self, _: &str) -> HostResult<(Vec<u8>, u32)> {
        unimplemented("get_shared_data")
    }

    fn set_shared_data(&self, _: &str, _: &[u8], _: u32) -> HostResult<()> {
        unimplemented("set_shared_data")
    }

    fn define_metric(&self, _: MetricKind, _: &str) -> HostResult<u32> {
        unimplemented("define_metric")
    }

    fn increment_metric(&self, _: u32, _: i64) -> HostResult<()> {
        unimplemented("increment_metric")
    }

    fn record_metric(&self, _: u32, _: u64) -> HostResult<()> {
        unimplemented("record_metric")
    }

    fn metric(&self, _: u32) -> HostResult<u64> {
        unimplemented("get_metric")
    }

    fn property(&self, _: &[u8]) -> HostResult<Vec<u8>> {
        unimplemented("get_property")
    }

    fn set_property(&self, _: &[u8], _: &[u8]) -> HostResult<()> {
        unimplemented("set_property")
    }

    fn call_foreign_function(&self, _: &str, _: &[u8]) -> HostResult<Vec<u8>> {
        unimplemented("call_foreign_function")
    }
}
