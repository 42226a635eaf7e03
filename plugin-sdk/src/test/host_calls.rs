//! The functions of the mock host.

use std::cell::RefCell;
use std::time::Duration;

use api::LogLine;
use api::RecordedMessage;

use super::message::FieldList;
use super::mock_stream::MockHalf;
use super::properties;
use super::state::Failure;
use super::state::MockCallout;
use super::state::MockMetric;
use super::state::State;
use super::state::next_id;
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
use crate::pairs::Fields;
use crate::pairs::PairsBuilder;

/// The host that plugins call.
pub(super) struct HostCalls(pub(super) RefCell<State>);

/// Pseudo-headers that a callout needs.
const REQUIRED: [&str; 3] = [":authority", ":method", ":path"];

fn error<T>(function: &'static str, status: Status) -> HostResult<T> {
    Err(HostError::new(function, status))
}

/// Returns an error for a call that no host accepts, and notes it.
fn misuse<T>(state: &mut State, function: &'static str, reason: &str) -> HostResult<T> {
    state.misuse.push(format!("proxy_{function}: {reason}"));
    error(function, Status::BadArgument)
}

fn decode(block: &[u8]) -> FieldList {
    let fields = Fields::from_block(block.to_vec());
    let text = |name| String::from_utf8_lossy(name).to_ascii_lowercase();
    fields.all().map(|(name, value)| (text(name), value.to_vec())).collect()
}

fn encode(fields: &FieldList) -> Vec<u8> {
    let mut builder = PairsBuilder::default();
    for (name, value) in fields {
        builder.push(name.as_bytes(), value);
    }
    builder.build(&[])
}

/// Returns a map, if it is there.
fn fields(state: &State, map: MapKind) -> Option<&FieldList> {
    match map {
        MapKind::CalloutHeaders => state.delivered.as_ref().map(|delivered| &delivered.headers),
        MapKind::CalloutTrailers => state.delivered.as_ref().map(|delivered| &delivered.trailers),
        _ => state.streams.get(&state.effective)?.fields(map),
    }
}

/// Returns the bytes of a buffer, if it is there.
fn buffer(state: &State, buffer: BufferKind) -> Option<&[u8]> {
    match buffer {
        BufferKind::RequestBody => Some(&state.streams.get(&state.effective)?.request.buffer),
        BufferKind::ResponseBody => Some(&state.streams.get(&state.effective)?.response.buffer),
        BufferKind::CalloutBody => state.delivered.as_ref().map(|delivered| delivered.body.as_slice()),
        #[cfg(feature = "grpc")]
        BufferKind::GrpcMessage => state.delivered.as_ref().map(|delivered| delivered.body.as_slice()),
        BufferKind::VmConfiguration => Some(&state.vm_configuration),
        BufferKind::PluginConfiguration => Some(&state.configuration),
    }
}

impl Host for HostCalls {
    fn log(&self, level: Level, message: &str) -> HostResult<()> {
        let line = LogLine { level: level.as_str().to_owned(), message: message.to_owned() };
        self.0.borrow_mut().log.push(line);
        Ok(())
    }

    fn log_level(&self) -> HostResult<Level> {
        Ok(self.0.borrow().level)
    }

    fn current_time_nanoseconds(&self) -> HostResult<u64> {
        Ok(u64::try_from(self.0.borrow().now.as_nanos()).unwrap_or(u64::MAX))
    }

    fn set_tick_period(&self, milliseconds: u32) -> HostResult<()> {
        self.0.borrow_mut().tick_period = Duration::from_millis(milliseconds.into());
        Ok(())
    }

    fn set_effective_context(&self, context: u32) -> HostResult<()> {
        let state = &mut *self.0.borrow_mut();
        if context != state.root && !state.streams.contains_key(&context) {
            return misuse(state, "set_effective_context", "the context does not exist");
        }
        state.effective = context;
        Ok(())
    }

    fn header_value(&self, map: MapKind, name: &[u8]) -> HostResult<Vec<u8>> {
        let state = &*self.0.borrow();
        let mut found = fields(state, map).into_iter().flatten();
        let is_it = |field: &&(String, Vec<u8>)| field.0.as_bytes().eq_ignore_ascii_case(name);
        match found.find(is_it) {
            Some((_, value)) => Ok(value.clone()),
            None => error("get_header_map_value", Status::NotFound),
        }
    }

    fn header_pairs(&self, map: MapKind) -> HostResult<Vec<u8>> {
        Ok(fields(&self.0.borrow(), map).map(encode).unwrap_or_default())
    }

    fn edit_headers(&self, map: MapKind, edit: Edit<'_>) -> HostResult<()> {
        let state = &mut *self.0.borrow_mut();
        let effective = state.effective;
        let Some(fields) = state.streams.get_mut(&effective).and_then(|stream| stream.fields_mut(map)) else {
            return misuse(state, "replace_header_map_value", "the message is not there, or has been sent");
        };
        let (Edit::Append(name, _) | Edit::Set(name, _) | Edit::Remove(name)) = edit;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match edit {
            Edit::Append(_, value) => fields.push((name, value.to_vec())),
            Edit::Remove(_) => fields.retain(|(known, _)| *known != name),
            Edit::Set(_, value) => {
                let first = fields.iter().position(|(known, _)| *known == name).unwrap_or(fields.len());
                fields.retain(|(known, _)| *known != name);
                fields.insert(first.min(fields.len()), (name, value.to_vec()));
            }
        }
        Ok(())
    }

    fn buffer_bytes(&self, kind: BufferKind, start: usize, max: usize) -> HostResult<Vec<u8>> {
        let state = &*self.0.borrow();
        let Some(bytes) = buffer(state, kind) else { return error("get_buffer_bytes", Status::NotFound) };
        let end = start.saturating_add(max).min(bytes.len());
        Ok(bytes.get(start..end).unwrap_or_default().to_vec())
    }

    fn set_buffer_bytes(&self, kind: BufferKind, start: usize, size: usize, value: &[u8]) -> HostResult<()> {
        let state = &mut *self.0.borrow_mut();
        let stream = state.streams.get_mut(&state.effective);
        let buffer = stream.and_then(|stream| match kind {
            BufferKind::RequestBody => Some(&mut stream.request.buffer),
            BufferKind::ResponseBody => Some(&mut stream.response.buffer),
            _ => None,
        });
        let Some(buffer) = buffer else {
            return misuse(state, "set_buffer_bytes", "there is no such body");
        };
        // As Envoy: before all, behind all, or instead of all.
        if start >= buffer.len() && size == 0 {
            buffer.extend_from_slice(value);
        } else if start == 0 && size == 0 {
            buffer.splice(..0, value.iter().copied());
        } else if start == 0 && size >= buffer.len() {
            *buffer = value.to_vec();
        } else {
            return misuse(state, "set_buffer_bytes", "the range is a part of the buffer");
        }
        Ok(())
    }

    fn continue_stream(&self, direction: Direction) -> HostResult<()> {
        let state = &mut *self.0.borrow_mut();
        let stream = state.streams.get_mut(&state.effective);
        let half = stream.map(|stream| stream.half_mut(direction)).filter(|half| half.is_paused);
        let Some(half) = half else {
            return misuse(state, "continue_stream", "the stream does not wait");
        };
        half.flush();
        Ok(())
    }

    fn send_local_response(&self, response: &LocalResponse<'_>) -> HostResult<()> {
        let state = &mut *self.0.borrow_mut();
        let stream = state.streams.get_mut(&state.effective);
        let stream = stream.filter(|stream| !stream.has_replied && !stream.response.is_head_sent);
        let Some(stream) = stream else {
            return misuse(state, "send_local_response", "the stream has a response, or there is no stream");
        };
        stream.has_replied = true;
        stream.reply_details = Some((response.details.to_owned(), response.grpc_status));
        stream.response = MockHalf::default();
        let mut headers = vec![(":status".to_owned(), response.status.to_string().into_bytes())];
        headers.extend(decode(response.headers));
        stream.response.headers = Some(headers);
        stream.response.buffer = response.body.to_vec();
        Ok(())
    }

    fn http_call(&self, request: &HttpRequest<'_>) -> HostResult<u32> {
        let state = &mut *self.0.borrow_mut();
        let headers = decode(request.headers);
        if REQUIRED.iter().any(|required| !headers.iter().any(|(name, _)| name == required)) {
            return misuse(state, "http_call", "a pseudo-header is missing");
        }
        let trailers = decode(request.trailers);
        let message = RecordedMessage { headers, body: request.body.to_vec(), trailers };
        call(state, "http_call", MockCallout::new(request.upstream, message, request.timeout))
    }

    #[cfg(feature = "grpc")]
    fn grpc_call(&self, request: &GrpcRequest<'_>) -> HostResult<u32> {
        let state = &mut *self.0.borrow_mut();
        let path = format!("/{}/{}", request.service, request.method);
        let mut headers = vec![(":path".to_owned(), path.into_bytes())];
        headers.extend(decode(request.metadata));
        let message = RecordedMessage { headers, body: request.message.to_vec(), trailers: Vec::new() };
        call(state, "grpc_call", MockCallout::new(request.upstream, message, request.timeout))
    }

    #[cfg(feature = "grpc")]
    fn status_message(&self) -> HostResult<Vec<u8>> {
        let state = &*self.0.borrow();
        Ok(state
            .delivered
            .as_ref()
            .map(|delivered| delivered.message.clone().into_bytes())
            .unwrap_or_default())
    }

    fn shared_data(&self, key: &str) -> HostResult<(Vec<u8>, u32)> {
        match self.0.borrow().shared_data.get(key) {
            Some(found) => Ok(found.clone()),
            None => error("get_shared_data", Status::NotFound),
        }
    }

    fn set_shared_data(&self, key: &str, value: &[u8], cas: u32) -> HostResult<()> {
        let state = &mut *self.0.borrow_mut();
        let other = state.conflicts.get_mut(key).filter(|_| cas != 0).and_then(|values| values.pop_front());
        if let Some(other) = other {
            state.write_shared_data(key, other);
        }
        let present = state.shared_data.get(key);
        if cas != 0 && present.is_some_and(|(_, version)| *version != cas) {
            return error("set_shared_data", Status::CasMismatch);
        }
        state.write_shared_data(key, value.to_vec());
        Ok(())
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> HostResult<u32> {
        let state = &mut *self.0.borrow_mut();
        let known = state.metrics.iter().position(|metric| metric.name == name);
        if let Some(metric) = known.and_then(|at| state.metrics.get(at)).filter(|metric| metric.kind != kind)
        {
            let reason = format!("`{}` is another kind of metric", metric.name);
            return misuse(state, "define_metric", &reason);
        }
        let at = known.unwrap_or(state.metrics.len());
        if known.is_none() {
            state.metrics.push(MockMetric { kind, name: name.to_owned(), value: 0 });
        }
        Ok(u32::try_from(at).unwrap_or(u32::MAX))
    }

    fn increment_metric(&self, metric: u32, delta: i64) -> HostResult<()> {
        change(&mut self.0.borrow_mut(), "increment_metric", metric, |value| {
            value.saturating_add_signed(delta)
        })
    }

    fn record_metric(&self, metric: u32, value: u64) -> HostResult<()> {
        change(&mut self.0.borrow_mut(), "record_metric", metric, |_| value)
    }

    fn metric(&self, metric: u32) -> HostResult<u64> {
        match self.0.borrow().metrics.get(metric as usize) {
            Some(metric) => Ok(metric.value),
            None => error("get_metric", Status::NotFound),
        }
    }

    fn property(&self, path: &[u8]) -> HostResult<Vec<u8>> {
        let set = self.0.borrow().properties.get(path).cloned();
        let of_messages = || properties::of_messages(path, |map, name| self.header_value(map, name).ok());
        set.or_else(of_messages).map_or_else(|| error("get_property", Status::NotFound), Ok)
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> HostResult<()> {
        self.0.borrow_mut().properties.insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    fn call_foreign_function(&self, name: &str, arguments: &[u8]) -> HostResult<Vec<u8>> {
        let state = &mut *self.0.borrow_mut();
        if name == "wasm_gateway.fail" && state.failure != Failure::Unknown {
            return take_over(state);
        }
        match state.functions.get(name).map(|function| function(arguments)) {
            Some(Some(result)) => Ok(result),
            Some(None) => error("call_foreign_function", Status::InternalFailure),
            None => error("call_foreign_function", Status::NotFound),
        }
    }
}

/// Answers a stream as the gateway does after a failure of the plugin.
fn take_over(state: &mut State) -> HostResult<Vec<u8>> {
    let is_open = state.failure == Failure::Open;
    let Some(stream) = state.streams.get_mut(&state.effective) else {
        return error("call_foreign_function", Status::BadArgument);
    };
    stream.has_failed = true;
    if !is_open && !stream.response.is_head_sent {
        stream.has_replied = true;
        stream.response = MockHalf::default();
        stream.response.headers = Some(vec![(":status".to_owned(), b"503".to_vec())]);
    }
    Ok(Vec::new())
}

/// Starts a callout.
fn call(state: &mut State, function: &'static str, callout: MockCallout) -> HostResult<u32> {
    if state.upstreams.as_ref().is_some_and(|allowed| !allowed.contains(&callout.upstream)) {
        return error(function, Status::BadArgument);
    }
    let token = callout.token;
    state.callouts.push(callout);
    Ok(token)
}

fn change(
    state: &mut State,
    function: &'static str,
    metric: u32,
    change: impl FnOnce(u64) -> u64,
) -> HostResult<()> {
    match state.metrics.get_mut(metric as usize) {
        Some(metric) => {
            metric.value = change(metric.value);
            Ok(())
        }
        None => misuse(state, function, "the metric does not exist"),
    }
}

impl MockCallout {
    fn new(upstream: &str, message: RecordedMessage, timeout: Duration) -> Self {
        Self { token: next_id(), upstream: upstream.to_owned(), message, timeout, is_answered: false }
    }
}

#[cfg(test)]
mod tests;
