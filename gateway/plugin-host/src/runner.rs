//! What an instance does, for any type of view: streams and their callbacks.

mod close;
mod deliver;
mod start;

use crate::abi::Abi;
use crate::action::CallToken;
use crate::action::GuestAction;
use crate::callouts::CalloutKind;
use crate::contexts::Ending;
use crate::contexts::root_id;
use crate::error::CallError;
use crate::error::TrapReport;
use crate::event::Event;
use crate::event::RootIndex;
use crate::event::StreamId;
use crate::event::Verdict;
use crate::exports::Exports;
use crate::exports::HeadersCallback;
use crate::view::HttpView;
use crate::vm::Vm;

/// An instance.
pub(crate) struct Runner {
    vm: Vm,
    exports: Exports,
    /// Callouts that were cancelled and whose failure the guest has not seen yet.
    cancelled: Vec<(CallToken, CalloutKind, RootIndex)>,
}

impl Runner {
    /// Creates the context of a stream.
    ///
    /// # Errors
    /// [`CallError`], with the view.
    pub(crate) fn open(
        &mut self,
        root: RootIndex,
        view: Box<dyn HttpView>,
    ) -> Result<StreamId, (CallError, Box<dyn HttpView>)> {
        if self.vm.is_dead() {
            return Err((CallError::Dead, view));
        }
        let stream = match self.vm.host_mut().contexts.insert(root, view) {
            Ok(stream) => stream,
            Err(view) => return Err((CallError::UnknownStream, view)),
        };
        let create = self.exports.context_create.as_ref();
        let result = self.vm.call_if(create, stream.0, (stream.0, root_id(root)));
        match result.and_then(|_| self.settle()) {
            Ok(()) => Ok(stream),
            Err(error) => match self.vm.host_mut().contexts.remove(stream) {
                Some(context) => Err((error, context.view)),
                // The guest cannot remove it while it is open.
                None => Ok(stream),
            },
        }
    }

    pub(crate) fn view(&self, stream: StreamId) -> Option<&dyn HttpView> {
        self.vm.host().contexts.get(stream).map(|context| &*context.view)
    }

    pub(crate) fn view_mut(&mut self, stream: StreamId) -> Option<&mut dyn HttpView> {
        self.vm.host_mut().contexts.get_mut(stream).map(|context| &mut *context.view)
    }

    /// Calls the callback of an event.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn call(&mut self, stream: StreamId, event: Event) -> Result<Verdict, CallError> {
        if self.vm.is_dead() {
            return Err(CallError::Dead);
        }
        match self.vm.host_mut().contexts.get_mut(stream) {
            Some(context) if context.ending == Ending::Open => {
                (context.is_voided, context.has_replied_again) = (false, false);
            }
            _ => return Err(CallError::UnknownStream),
        }
        let Some(action) = self.call_event(stream.0, event)? else { return Ok(Verdict::Continue) };
        let context = self.vm.host().contexts.get(stream);
        let is_voided = context.is_none_or(|context| context.is_voided);
        let has_replied_again = context.is_some_and(|context| context.has_replied_again);
        self.settle()?;
        Ok(match (is_voided, has_replied_again) {
            (true, _) => Verdict::StopAll,
            // A guest that replies stops too. Nothing would resume the stream.
            (false, true) => Verdict::Continue,
            (false, false) => self.verdict(event, action),
        })
    }

    /// Calls the callback of an event. Returns `None` if it is missing.
    fn call_event(&mut self, id: u32, event: Event) -> Result<Option<u32>, CallError> {
        let Self { vm, exports, .. } = self;
        match event {
            Event::RequestHeaders { fields, is_end } => {
                call_headers(vm, &exports.request_headers, id, (number(fields), is_end))
            }
            Event::ResponseHeaders { fields, is_end } => {
                call_headers(vm, &exports.response_headers, id, (number(fields), is_end))
            }
            Event::RequestBody { bytes, is_end } => {
                vm.call_if(exports.request_body.as_ref(), id, (id, number(bytes), is_end.into()))
            }
            Event::ResponseBody { bytes, is_end } => {
                vm.call_if(exports.response_body.as_ref(), id, (id, number(bytes), is_end.into()))
            }
            Event::RequestTrailers { fields } => {
                vm.call_if(exports.request_trailers.as_ref(), id, (id, number(fields)))
            }
            Event::ResponseTrailers { fields } => {
                vm.call_if(exports.response_trailers.as_ref(), id, (id, number(fields)))
            }
        }
    }

    /// Returns what the action of a callback means.
    fn verdict(&self, event: Event, action: u32) -> Verdict {
        let host = self.vm.host();
        let holds_head = host.abi == Abi::V0_2_100 || host.config.allow_on_headers_stop_iteration;
        match (event, action) {
            (_, 0) => Verdict::Continue,
            (Event::RequestHeaders { .. } | Event::ResponseHeaders { .. }, 1) if holds_head => {
                Verdict::StopHead
            }
            (Event::RequestHeaders { .. } | Event::ResponseHeaders { .. }, _)
            | (Event::RequestTrailers { .. } | Event::ResponseTrailers { .. }, _) => Verdict::StopAll,
            (Event::RequestBody { .. } | Event::ResponseBody { .. }, 2) => Verdict::Watermark,
            (Event::RequestBody { .. } | Event::ResponseBody { .. }, 3) => Verdict::Discard,
            (Event::RequestBody { .. } | Event::ResponseBody { .. }, _) => Verdict::Buffer,
        }
    }

    pub(crate) fn take_actions(&mut self) -> Vec<GuestAction> {
        self.vm.host_mut().actions.take()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.vm.is_dead()
    }

    pub(crate) fn take_trap(&mut self) -> Option<TrapReport> {
        self.vm.take_trap()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.vm.memory_bytes()
    }

    pub(crate) fn has_streams(&self) -> bool {
        self.vm.host().contexts.has_streams()
    }

    pub(crate) fn open_streams(&self) -> impl Iterator<Item = (StreamId, &dyn HttpView)> {
        self.vm.host().contexts.open_streams()
    }
}

/// Calls a callback about a message head.
fn call_headers(
    vm: &mut Vm,
    callback: &HeadersCallback,
    id: u32,
    (fields, is_end): (u32, bool),
) -> Result<Option<u32>, CallError> {
    match callback {
        HeadersCallback::Current(function) => vm.call(function, id, (id, fields, is_end.into())).map(Some),
        HeadersCallback::Old(function) => vm.call(function, id, (id, fields)).map(Some),
        HeadersCallback::Missing => Ok(None),
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
