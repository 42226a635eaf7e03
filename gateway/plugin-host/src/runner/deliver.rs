//! Calls about what does not belong to one stream: callouts, ticks, queues.

use std::time::Duration;
use std::time::Instant;

use super::Runner;
use super::number;
use crate::action::CallToken;
use crate::action::GrpcEvent;
use crate::action::HttpResponse;
use crate::callouts::CalloutKind;
use crate::contexts::root_id;
use crate::error::CallError;
use crate::event::RootIndex;
use crate::host::Delivery;

/// Maximum queue items that are announced in one turn. The waker is called for the rest.
const MAX_NOTICES: usize = 64;

/// Time after which a turn announces no more items, so that the requests of the worker go on.
const MAX_TURN: Duration = Duration::from_millis(1);

/// Status of a gRPC callout that was cancelled with its stream.
const GRPC_CANCELLED: u32 = 1;

impl Runner {
    /// Calls `proxy_on_tick`.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn tick(&mut self, root: RootIndex) -> Result<(), CallError> {
        let id = root_id(root);
        if !self.is_dead() && self.is_deleted(id) {
            return Ok(());
        }
        self.vm.call_if(self.exports.tick.as_ref(), id, id)?;
        self.settle()
    }

    /// Delivers the end of an HTTP callout.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn http_response(
        &mut self,
        token: CallToken,
        response: HttpResponse,
    ) -> Result<(), CallError> {
        let callouts = &mut self.vm.host_mut().callouts;
        if callouts.get(token).is_none_or(|callout| callout.kind != CalloutKind::Http) {
            return Ok(());
        }
        let Some(callout) = callouts.remove(token) else { return Ok(()) };
        self.deliver_http(token, callout.root, response)?;
        self.settle()
    }

    /// Delivers an event of a gRPC callout.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn grpc_event(&mut self, token: CallToken, event: GrpcEvent) -> Result<(), CallError> {
        let callouts = &mut self.vm.host_mut().callouts;
        let Some(callout) = callouts.get(token) else { return Ok(()) };
        let is_call = match callout.kind {
            CalloutKind::Http => return Ok(()),
            CalloutKind::GrpcCall => true,
            CalloutKind::GrpcStream => false,
        };
        match &event {
            // SDKs know metadata of streams only, and end a call with its message.
            GrpcEvent::InitialMetadata(_) | GrpcEvent::TrailingMetadata(_) if is_call => return Ok(()),
            GrpcEvent::InitialMetadata(_) | GrpcEvent::TrailingMetadata(_) => {}
            GrpcEvent::Message(_) if !is_call => {}
            GrpcEvent::Message(_) | GrpcEvent::Close(..) => {
                callouts.remove(token);
            }
        }
        self.deliver_grpc(token, callout.root, event)?;
        self.settle()
    }

    /// Announces items of queues that this instance registered.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn deliver_queues(&mut self) -> Result<(), CallError> {
        let began_at = Instant::now();
        for _ in 0..MAX_NOTICES {
            if began_at.elapsed() > MAX_TURN {
                break;
            }
            let Some((queue, root)) = self.vm.host().shared.pop_notice() else { return Ok(()) };
            let id = root_id(root);
            if self.is_deleted(id) {
                continue;
            }
            self.vm.call_if(self.exports.queue_ready.as_ref(), id, (id, queue))?;
            self.settle()?;
        }
        self.vm.host().shared.wake();
        Ok(())
    }

    /// Reports the failure of callouts that were cancelled, so that the guest forgets them.
    pub(super) fn deliver_cancelled(&mut self) -> Result<(), CallError> {
        while let Some((token, kind, root)) = self.cancelled.pop() {
            match kind {
                CalloutKind::Http => self.deliver_http(token, root, HttpResponse::default())?,
                CalloutKind::GrpcCall | CalloutKind::GrpcStream => {
                    self.deliver_grpc(token, root, GrpcEvent::Close(GRPC_CANCELLED, bytes::Bytes::new()))?;
                }
            }
        }
        Ok(())
    }

    fn deliver_http(
        &mut self,
        token: CallToken,
        root: RootIndex,
        response: HttpResponse,
    ) -> Result<(), CallError> {
        let id = root_id(root);
        if self.is_deleted(id) {
            return Ok(());
        }
        let (fields, body) = (number(response.fields.len()), number(response.body.len()));
        let arguments = (id, token.0, fields, body, number(response.trailers.len()));
        self.vm.deliver(self.exports.http_call_response.as_ref(), id, arguments, Delivery::Http(response))
    }

    fn deliver_grpc(&mut self, token: CallToken, root: RootIndex, event: GrpcEvent) -> Result<(), CallError> {
        let id = root_id(root);
        if self.is_deleted(id) {
            return Ok(());
        }
        let Self { vm, exports, .. } = self;
        let (function, size, delivery) = match event {
            GrpcEvent::InitialMetadata(fields) => {
                let size = number(fields.len());
                (&exports.grpc_initial_metadata, size, Delivery::GrpcInitialMetadata(fields))
            }
            GrpcEvent::Message(message) => {
                (&exports.grpc_receive, number(message.len()), Delivery::GrpcMessage(message))
            }
            GrpcEvent::TrailingMetadata(fields) => {
                let size = number(fields.len());
                (&exports.grpc_trailing_metadata, size, Delivery::GrpcTrailingMetadata(fields))
            }
            GrpcEvent::Close(status, message) => {
                vm.host_mut().grpc_status = (status, message);
                (&exports.grpc_close, status, Delivery::None)
            }
        };
        vm.deliver(function.as_ref(), id, (id, token.0, size), delivery)
    }
}
