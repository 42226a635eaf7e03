//! The store of an instance, and how a callback is called in it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::TypedFunc;
use wasmtime::WasmParams;
use wasmtime::WasmResults;

use crate::action::GuestAction;
use crate::config::InstanceConfig;
use crate::engine::Engine;
use crate::error::CallError;
use crate::error::TrapReport;
use crate::host::Delivery;
use crate::host::HostState;
use crate::module::Module;
use crate::ticker::MAX_UNHELD;
use crate::ticker::TICK;
use crate::ticker::TickerHold;
use crate::trap;

/// The store of an instance.
pub(crate) struct Vm {
    store: Store<HostState>,
    engine: Engine,
    /// Deadline of a call. `None` during the start, which has one deadline for all calls.
    call_deadline: Option<CallDeadline>,
    is_dead: bool,
    trap: Option<TrapReport>,
}

/// Deadline of each call.
#[derive(Clone, Copy)]
struct CallDeadline {
    ticks: u64,
    /// Whether the ticker might park before it.
    needs_hold: bool,
}

impl Vm {
    pub(crate) fn new(module: &Module, config: Arc<InstanceConfig>) -> Self {
        let host = HostState::new(config, module.info().abi);
        let engine = module.engine().clone();
        let mut store = Store::new(engine.runtime(), host);
        store.limiter(|host| &mut host.limiter);
        Self { store, engine, call_deadline: None, is_dead: false, trap: None }
    }

    /// Sets the deadline of the whole start. The guard must live until [`Self::end_start`].
    pub(crate) fn begin_start(&mut self) -> TickerHold {
        let limit = self.host().config.limits.configure;
        self.store.set_epoch_deadline(ticks(limit));
        self.engine.ticker().hold()
    }

    /// Gives each later call a deadline of its own.
    pub(crate) fn end_start(&mut self) {
        let limit = self.host().config.limits.call;
        self.call_deadline = Some(CallDeadline { ticks: ticks(limit), needs_hold: limit > MAX_UNHELD });
        self.host_mut().is_started = true;
    }

    pub(crate) fn host(&self) -> &HostState {
        self.store.data()
    }

    pub(crate) fn host_mut(&mut self) -> &mut HostState {
        self.store.data_mut()
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store<HostState> {
        &mut self.store
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead
    }

    pub(crate) fn take_trap(&mut self) -> Option<TrapReport> {
        self.trap.take()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.host().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// Calls a callback that may be missing, for a context. Returns `None` if it is.
    ///
    /// # Errors
    /// [`CallError::Dead`], [`CallError::Trapped`].
    pub(crate) fn call_if<P: WasmParams, R: WasmResults>(
        &mut self,
        function: Option<&TypedFunc<P, R>>,
        context: u32,
        arguments: P,
    ) -> Result<Option<R>, CallError> {
        match function {
            Some(function) => self.call(function, context, arguments).map(Some),
            None if self.is_dead => Err(CallError::Dead),
            None => Ok(None),
        }
    }

    /// Calls a function of the guest, for a context.
    ///
    /// # Errors
    /// [`CallError::Dead`], [`CallError::Trapped`].
    pub(crate) fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        context: u32,
        arguments: P,
    ) -> Result<R, CallError> {
        if self.is_dead {
            return Err(CallError::Dead);
        }
        let host = self.store.data_mut();
        host.contexts.enter(context);
        host.log.begin_call();
        let actions = host.actions.len();
        let mut hold = None;
        if let Some(CallDeadline { ticks, needs_hold }) = self.call_deadline {
            if needs_hold {
                hold = Some(self.engine.ticker().hold());
            } else {
                self.engine.ticker().note_call();
            }
            self.store.set_epoch_deadline(ticks);
        }
        let result = function.call(&mut self.store, arguments);
        drop(hold);
        result.map_err(|error| {
            self.drop_actions(actions);
            self.die(&error)
        })
    }

    /// Calls a callback while a callout's result is readable.
    ///
    /// # Errors
    /// [`CallError::Dead`], [`CallError::Trapped`].
    pub(crate) fn deliver<P: WasmParams>(
        &mut self,
        function: Option<&TypedFunc<P, ()>>,
        context: u32,
        arguments: P,
        delivery: Delivery,
    ) -> Result<(), CallError> {
        self.host_mut().delivery = delivery;
        let result = self.call_if(function, context, arguments);
        self.host_mut().delivery = Delivery::None;
        result.map(drop)
    }

    /// Drops the actions of a call that trapped, with the callouts that would begin.
    fn drop_actions(&mut self, mark: usize) {
        let host = self.host_mut();
        for action in host.actions.split_off(mark) {
            if let GuestAction::Http(token, _) | GuestAction::Grpc(token, _) = action {
                host.callouts.remove(token);
            }
        }
    }

    /// Ends the instance.
    pub(crate) fn die(&mut self, error: &wasmtime::Error) -> CallError {
        let report = trap::report(error, self.host());
        self.is_dead = true;
        self.trap = Some(report.clone());
        CallError::Trapped(Box::new(report))
    }
}

/// Returns a deadline in ticks. The first tick may come at once.
pub(crate) fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1)
}
