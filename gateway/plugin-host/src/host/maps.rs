//! Host functions about header maps.

use std::borrow::Cow;

use super::Delivery;
use super::HostCall;
use super::HostFunction;
use super::HostState;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Abi;
use crate::abi::Status;
use crate::action::Fields;
use crate::pairs;
use crate::view::EditError;
use crate::view::EditOutcome;
use crate::view::MapEdit;
use crate::view::MapKind;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_get_header_map_size", |call, map, bytes| size(call, map, bytes)),
    host_function!(restricted "proxy_get_header_map_pairs", |call, map, address, size| {
        all_pairs(call, map, ReturnSlot::new(address, size))
    }),
    host_function!(restricted "proxy_set_header_map_pairs", |call, map, block, len| {
        set_pairs(call, map, Span::new(block, len))
    }),
    host_function!(restricted "proxy_get_header_map_value", |call, map, name, len, address, size| {
        value(call, map, Span::new(name, len), ReturnSlot::new(address, size))
    }),
    host_function!(restricted "proxy_add_header_map_value", |call, map, name, len, value, value_len| {
        set_value(call, map, Setter::Add, [Span::new(name, len), Span::new(value, value_len)])
    }),
    host_function!(restricted "proxy_replace_header_map_value", |call, map, name, len, value, value_len| {
        set_value(call, map, Setter::Replace, [Span::new(name, len), Span::new(value, value_len)])
    }),
    host_function!(restricted "proxy_remove_header_map_value", |call, map, name, len| {
        remove(call, map, Span::new(name, len))
    }),
];

/// A map of the ABI.
#[derive(Clone, Copy)]
enum Map {
    Stream(MapKind),
    /// A map of the callout that is being delivered.
    Delivered(DeliveredMap),
}

#[derive(Clone, Copy)]
enum DeliveredMap {
    GrpcInitial,
    GrpcTrailing,
    HttpHeaders,
    HttpTrailers,
}

#[derive(Clone, Copy)]
enum Setter {
    Add,
    Replace,
}

impl Map {
    fn from_abi(map: u32) -> Option<Self> {
        Some(match map {
            0 => Self::Stream(MapKind::RequestHeaders),
            1 => Self::Stream(MapKind::RequestTrailers),
            2 => Self::Stream(MapKind::ResponseHeaders),
            3 => Self::Stream(MapKind::ResponseTrailers),
            4 => Self::Delivered(DeliveredMap::GrpcInitial),
            5 => Self::Delivered(DeliveredMap::GrpcTrailing),
            6 => Self::Delivered(DeliveredMap::HttpHeaders),
            7 => Self::Delivered(DeliveredMap::HttpTrailers),
            _ => return None,
        })
    }
}

impl Delivery {
    fn fields(&self, map: DeliveredMap) -> Option<&Fields> {
        match (map, self) {
            (DeliveredMap::GrpcInitial, Self::GrpcInitialMetadata(fields))
            | (DeliveredMap::GrpcTrailing, Self::GrpcTrailingMetadata(fields)) => Some(fields),
            (DeliveredMap::HttpHeaders, Self::Http(response)) => Some(&response.fields),
            (DeliveredMap::HttpTrailers, Self::Http(response)) => Some(&response.trailers),
            _ => None,
        }
    }
}

impl HostState {
    /// Calls `on_field` for each field of a map, if it exists.
    fn for_each_field(&self, map: Map, on_field: &mut dyn FnMut(&[u8], &[u8])) {
        match map {
            Map::Stream(map) => {
                if let Some(stream) = self.contexts.effective() {
                    stream.view.for_each_field(map, on_field);
                }
            }
            Map::Delivered(map) => {
                for (name, value) in self.delivery.fields(map).into_iter().flatten() {
                    on_field(&lower_case(name), value);
                }
            }
        }
    }

    /// Copies the first value of a field to the scratch buffer. Returns false if there is none.
    fn copy_value(&mut self, map: Map, name: &[u8]) -> bool {
        let value = match map {
            Map::Stream(map) => self.contexts.effective().and_then(|stream| stream.view.field(map, name)),
            Map::Delivered(map) => {
                let mut fields = self.delivery.fields(map).into_iter().flatten();
                fields
                    .find(|(known, _)| known.eq_ignore_ascii_case(name))
                    .map(|(_, value)| Cow::Borrowed(&**value))
            }
        };
        self.scratch.clear();
        match value {
            Some(value) => self.scratch.extend_from_slice(&value),
            None => return false,
        }
        true
    }

    /// Edits a map of the effective stream.
    fn edit(&mut self, map: Map, edit: MapEdit<'_>) -> Status {
        let Map::Stream(map) = map else { return Status::BadArgument };
        let Some(stream) = self.contexts.effective_mut() else { return Status::BadArgument };
        match stream.view.edit(map, edit) {
            Ok(EditOutcome::Applied) => Status::Ok,
            Ok(EditOutcome::Ignored) => {
                self.warn_once(
                    "the plugin edited a field that only the gateway writes; the edit has no effect",
                );
                Status::Ok
            }
            Err(EditError::Unavailable | EditError::Malformed) => Status::BadArgument,
            Err(EditError::TooLarge) => {
                self.warn_once("the plugin's edits of one map are too large; the guest gets an error");
                Status::InternalFailure
            }
        }
    }
}

fn size(call: &mut HostCall<'_>, map: u32, bytes: u32) -> wasmtime::Result<Status> {
    let Some(map) = Map::from_abi(map) else { return Ok(Status::BadArgument) };
    let mut size = 0;
    call.host().for_each_field(map, &mut |name, value| size += name.len() + value.len());
    call.write_u32(bytes, u32::try_from(size).unwrap_or(u32::MAX))?;
    Ok(Status::Ok)
}

fn all_pairs(call: &mut HostCall<'_>, map: u32, slot: ReturnSlot) -> wasmtime::Result<Status> {
    let Some(map) = Map::from_abi(map) else { return Ok(Status::BadArgument) };
    let host = call.host_mut();
    let mut block = std::mem::take(&mut host.scratch);
    pairs::encode(&mut block, |on_field| host.for_each_field(map, on_field));
    host.scratch = block;
    call.return_scratch(slot)
}

fn set_pairs(call: &mut HostCall<'_>, map: u32, block: Span) -> wasmtime::Result<Status> {
    let Some(map) = Map::from_abi(map) else { return Ok(Status::BadArgument) };
    let (memory, host) = call.split();
    let Ok(pairs) = pairs::decode(block.read(memory)?) else { return Ok(Status::BadArgument) };
    Ok(host.edit(map, MapEdit::ReplaceAll(&pairs)))
}

fn value(call: &mut HostCall<'_>, map: u32, name: Span, slot: ReturnSlot) -> wasmtime::Result<Status> {
    let Some(map) = Map::from_abi(map) else { return Ok(Status::BadArgument) };
    let (memory, host) = call.split();
    let is_found = host.copy_value(map, name.read(memory)?);
    // ABI 0.1.0 has no status for it: a missing value is empty.
    if is_found || host.abi == Abi::V0_1_0 { call.return_scratch(slot) } else { Ok(Status::NotFound) }
}

fn set_value(
    call: &mut HostCall<'_>,
    map: u32,
    setter: Setter,
    [name, value]: [Span; 2],
) -> wasmtime::Result<Status> {
    let Some(map) = Map::from_abi(map) else { return Ok(Status::BadArgument) };
    let (memory, host) = call.split();
    let (name, value) = (name.read(memory)?, value.read(memory)?);
    let edit = match setter {
        Setter::Add => MapEdit::Add { name, value },
        Setter::Replace => MapEdit::Set { name, value },
    };
    Ok(host.edit(map, edit))
}

fn remove(call: &mut HostCall<'_>, map: u32, name: Span) -> wasmtime::Result<Status> {
    let Some(map) = Map::from_abi(map) else { return Ok(Status::BadArgument) };
    let (memory, host) = call.split();
    Ok(host.edit(map, MapEdit::Remove { name: name.read(memory)? }))
}

fn lower_case(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
