//! An instance of a module, for one type of view.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::action::CallToken;
use crate::action::GrpcEvent;
use crate::action::GuestAction;
use crate::action::HttpResponse;
use crate::config::InstanceConfig;
use crate::error::CallError;
use crate::error::StartError;
use crate::error::TrapReport;
use crate::event::Event;
use crate::event::RootIndex;
use crate::event::StreamId;
use crate::event::Verdict;
use crate::module::Module;
use crate::runner::Runner;
use crate::view::HttpView;

/// A started module: one linear memory, root contexts, and the contexts of streams.
///
/// After each call of a method that takes `&mut self`, the caller takes the actions of the guest with
/// [`Self::take_actions`]. After a trap the instance is dead: no method calls the guest any more, and streams that are
/// still open end without a callback.
pub struct Instance<V> {
    runner: Runner,
    view: PhantomData<fn(V) -> V>,
}

impl<V: HttpView> Instance<V> {
    /// Instantiates and initializes a module, and configures its root contexts. Blocks for up to
    /// [`Limits::configure`].
    ///
    /// [`Limits::configure`]: crate::Limits::configure
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(module: &Module, config: Arc<InstanceConfig>) -> Result<Self, StartError> {
        Ok(Self { runner: Runner::start(module, config)?, view: PhantomData })
    }

    /// Creates the context of a stream. IDs grow and are never those of a context that exists.
    ///
    /// # Errors
    /// [`CallError`], with the view. [`CallError::UnknownStream`] if there is no such root.
    pub fn open(
        &mut self,
        root: RootIndex,
        view: impl Into<Box<V>>,
    ) -> Result<StreamId, (CallError, Box<V>)> {
        self.runner.open(root, view.into()).map_err(|(error, view)| {
            let view: Box<dyn Any> = view;
            match view.downcast::<V>() {
                Ok(view) => (error, view),
                Err(_) => unreachable!("all views of an instance have one type"),
            }
        })
    }

    /// Returns the view of a stream.
    #[must_use]
    pub fn view(&self, stream: StreamId) -> Option<&V> {
        let view: &dyn Any = self.runner.view(stream)?;
        view.downcast_ref()
    }

    /// Returns the view of a stream.
    pub fn view_mut(&mut self, stream: StreamId) -> Option<&mut V> {
        let view: &mut dyn Any = self.runner.view_mut(stream)?;
        view.downcast_mut()
    }

    /// Calls the callback of an event. Returns [`Verdict::Continue`] without a call if the module does not export it,
    /// and [`Verdict::StopAll`] if the guest replied in the call.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(&mut self, stream: StreamId, event: Event) -> Result<Verdict, CallError> {
        self.runner.call(stream, event)
    }

    /// Ends a stream: `proxy_on_done`, `proxy_on_log`, `proxy_on_delete`. The guest may keep its context until it calls
    /// `proxy_done`; at most 256 are kept, and the oldest is deleted beyond. A trap is kept for [`Self::take_trap`].
    pub fn close(&mut self, stream: StreamId) {
        self.runner.close(stream);
    }

    /// Calls `proxy_on_tick` of a root context.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn tick(&mut self, root: RootIndex) -> Result<(), CallError> {
        self.runner.tick(root)
    }

    /// Delivers the end of an HTTP callout. The token is unknown afterwards. Does nothing for an unknown one.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn http_response(&mut self, token: CallToken, response: HttpResponse) -> Result<(), CallError> {
        self.runner.http_response(token, response)
    }

    /// Delivers an event of a gRPC callout. The token is unknown after [`GrpcEvent::Close`], and after the message of a
    /// unary call. Does nothing for an unknown one.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn grpc_event(&mut self, token: CallToken, event: GrpcEvent) -> Result<(), CallError> {
        self.runner.grpc_event(token, event)
    }

    /// Forgets the callouts in flight that were begun in callbacks of a stream, and returns their tokens. The guest is
    /// informed of their failure once the stream is closed, so that it forgets them too.
    pub fn cancel_callouts(&mut self, stream: StreamId) -> Vec<CallToken> {
        self.runner.cancel_callouts(stream)
    }

    /// Calls `proxy_on_queue_ready` for new items of queues that this instance registered, at most 64 of them. The
    /// waker is called if more are left.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn deliver_queues(&mut self) -> Result<(), CallError> {
        self.runner.deliver_queues()
    }

    /// Ends the root contexts. Returns true once the instance may be dropped. False means that the guest needs time
    /// until it calls `proxy_done`: ask again after later calls.
    pub fn stop(&mut self) -> bool {
        self.runner.stop()
    }

    /// Returns what the guest asked for since the last time.
    pub fn take_actions(&mut self) -> Vec<GuestAction> {
        self.runner.take_actions()
    }

    /// Returns true after a trap.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.runner.is_dead()
    }

    /// Returns the report of the trap that ended the instance, once.
    pub fn take_trap(&mut self) -> Option<TrapReport> {
        self.runner.take_trap()
    }

    /// Returns the bytes of the linear memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.runner.memory_bytes()
    }

    /// Returns true if there are streams, open or kept by the guest.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.runner.has_streams()
    }

    /// Returns the streams that are open, with their views. Those that the guest keeps after their end are not.
    pub fn open_streams(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.runner.open_streams().filter_map(|(stream, view)| {
            let view: &dyn Any = view;
            Some((stream, view.downcast_ref()?))
        })
    }
}

impl<V> fmt::Debug for Instance<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance")
    }
}
