//! The host that a plugin calls.
//!
//! In a module it is `abi::WasmHost`. Natively it is the one that [`enter`] made current, which tests use, or a host that fails
//! every call.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::RefCell;
#[cfg(not(target_arch = "wasm32"))]
use std::rc::Rc;

#[cfg(not(target_arch = "wasm32"))]
use crate::host::Host;

/// Returns the host of the module.
#[cfg(target_arch = "wasm32")]
pub(crate) fn host() -> crate::abi::WasmHost {
    crate::abi::WasmHost
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    static CURRENT: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// Returns the host that is current on this thread.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn host() -> Rc<dyn Host> {
    CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| Rc::new(crate::no_host::NoHost))
}

/// Makes a host the current one of this thread until the guard is dropped.
#[cfg(all(not(target_arch = "wasm32"), feature = "test"))]
pub(crate) fn enter(host: Rc<dyn Host>) -> Entered {
    Entered { previous: CURRENT.replace(Some(host)) }
}

/// Restores the previous host when it is dropped.
#[cfg(all(not(target_arch = "wasm32"), feature = "test"))]
pub(crate) struct Entered {
    previous: Option<Rc<dyn Host>>,
}

#[cfg(all(not(target_arch = "wasm32"), feature = "test"))]
impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.previous.take());
    }
}
