//! The start of an instance: initialization, root contexts, configuration.

use std::sync::Arc;

use wasmtime::Instance;

use super::Runner;
use super::number;
use crate::callback::ALLOCATORS;
use crate::callback::INITIALIZE;
use crate::callback::MAIN;
use crate::callback::MEMORY;
use crate::callback::START;
use crate::config::InstanceConfig;
use crate::contexts::root_id;
use crate::error::CallError;
use crate::error::LastLog;
use crate::error::StartError;
use crate::event::RootIndex;
use crate::exports::Exports;
use crate::fault::Fault;
use crate::host::ConfigurationKind;
use crate::host::HostAccess;
use crate::module::Module;
use crate::trap;
use crate::vm::Vm;

impl Runner {
    /// Starts an instance.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn start(module: &Module, config: Arc<InstanceConfig>) -> Result<Self, StartError> {
        let mut vm = Vm::new(module, config);
        let hold = vm.begin_start();
        let instance = instantiate(&mut vm, module)?;
        initialize(&mut vm, &instance)?;
        vm.host_mut().access = HostAccess::Full;
        let exports = Exports::find(vm.store_mut(), &instance, module.info().callbacks);
        let mut runner = Self { vm, exports, cancelled: Vec::new() };
        for root in runner.vm.host().contexts.roots() {
            runner.start_root(root)?;
        }
        runner.vm.end_start();
        drop(hold);
        Ok(runner)
    }

    fn start_root(&mut self, root: RootIndex) -> Result<(), StartError> {
        let Self { vm, exports, .. } = self;
        let id = root_id(root);
        vm.call_if(exports.context_create.as_ref(), id, (id, 0))
            .map_err(trapped("proxy_on_context_create"))?;
        let size = number(vm.host().config.vm_configuration.len());
        vm.host_mut().configuration = ConfigurationKind::Vm;
        let is_accepted =
            vm.call_if(exports.vm_start.as_ref(), id, (id, size)).map_err(trapped("proxy_on_vm_start"))?;
        if is_accepted == Some(0) {
            return Err(StartError::RefusedVm(LastLog(vm.host().log.last())));
        }
        let size = number(vm.host().config.roots.get(root.0).map_or(0, bytes::Bytes::len));
        vm.host_mut().configuration = ConfigurationKind::Plugin;
        let is_accepted =
            vm.call_if(exports.configure.as_ref(), id, (id, size)).map_err(trapped("proxy_on_configure"))?;
        if is_accepted == Some(0) {
            return Err(StartError::RefusedConfiguration(root, LastLog(vm.host().log.last())));
        }
        Ok(())
    }
}

/// Instantiates the module, which runs its start section, and finds memory and allocator.
fn instantiate(vm: &mut Vm, module: &Module) -> Result<Instance, StartError> {
    let instance = match module.pre().instantiate(vm.store_mut()) {
        Ok(instance) => instance,
        Err(error) if trap::is_of_guest(&error) || error.is::<Fault>() => {
            return Err(trapped("the start section")(vm.die(&error)));
        }
        Err(error) => return Err(StartError::Instantiate(format!("{error:#}"))),
    };
    let store = vm.store_mut();
    let memory = instance.get_memory(&mut *store, MEMORY);
    let allocator = ALLOCATORS.iter().find_map(|name| instance.get_typed_func(&mut *store, name).ok());
    let host = vm.host_mut();
    host.memory = memory;
    host.allocator = allocator;
    Ok(instance)
}

/// Runs the initialization of the guest's language.
fn initialize(vm: &mut Vm, instance: &Instance) -> Result<(), StartError> {
    const NO_CONTEXT: u32 = 0;
    let store = vm.store_mut();
    if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE) {
        let main = instance.get_typed_func::<(u32, u32), u32>(&mut *store, MAIN.0);
        let main_void = instance.get_typed_func::<(), u32>(&mut *store, MAIN.1);
        vm.call(&initialize, NO_CONTEXT, ()).map_err(trapped(INITIALIZE))?;
        if let Ok(main) = main {
            vm.call(&main, NO_CONTEXT, (0, 0)).map_err(trapped(MAIN.0))?;
        } else if let Ok(main) = main_void {
            vm.call(&main, NO_CONTEXT, ()).map_err(trapped(MAIN.1))?;
        }
    } else if let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, START) {
        vm.call(&start, NO_CONTEXT, ()).map_err(trapped(START))?;
    }
    Ok(())
}

/// Returns how a failed call of a function is reported.
fn trapped(callback: &'static str) -> impl FnOnce(CallError) -> StartError {
    move |error| match error {
        CallError::Trapped(report) => StartError::Trapped { callback, report: *report },
        CallError::Dead | CallError::UnknownStream => StartError::Instantiate(error.to_string()),
    }
}
