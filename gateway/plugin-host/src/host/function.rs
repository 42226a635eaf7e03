//! One entry of the table of host functions.

use wasmparser::ValType;
use wasmtime::FuncType;
use wasmtime::Linker;
use wasmtime::Val;

use super::HostState;
use crate::abi::Status;
use crate::signature::Signature;

/// Parameters of a host function.
pub(crate) enum Params {
    /// Exactly these.
    Exactly(&'static [ValType]),
    /// Any number of i32.
    AnyI32,
}

/// A host function: its name and type for the check of modules, and how it is added to a linker.
pub(crate) struct HostFunction {
    pub(crate) name: &'static str,
    pub(crate) params: Params,
    /// Whether it returns an i32. Otherwise it returns nothing.
    pub(crate) has_result: bool,
    pub(crate) define: fn(&mut Linker<HostState>, &str) -> wasmtime::Result<()>,
}

impl HostFunction {
    /// Returns true if an import of this type gets the function.
    pub(crate) fn has_type(&self, signature: Signature<'_>) -> bool {
        let has_params = match self.params {
            Params::Exactly(params) => signature.params == params,
            Params::AnyI32 => signature.params.iter().all(|ty| *ty == ValType::I32),
        };
        let results: &[ValType] = if self.has_result { &[ValType::I32] } else { &[] };
        has_params && signature.results == results
    }

    /// Adds the function to a linker. `params` is the number of parameters that the module imports it with.
    ///
    /// # Errors
    /// The linker has no memory.
    pub(crate) fn link(
        &self,
        linker: &mut Linker<HostState>,
        module: &str,
        params: usize,
    ) -> wasmtime::Result<()> {
        match self.params {
            Params::Exactly(_) => (self.define)(linker, module),
            Params::AnyI32 => {
                let params = std::iter::repeat_n(wasmtime::ValType::I32, params);
                let ty = FuncType::new(linker.engine(), params, [wasmtime::ValType::I32]);
                linker.func_new(module, self.name, ty, |_, _, results| {
                    if let Some(result) = results.first_mut() {
                        *result = Val::I32(Status::InternalFailure as i32);
                    }
                    Ok(())
                })?;
                Ok(())
            }
        }
    }
}

/// Defines a [`HostFunction`] from its name and a closure. The parameters of the closure are the call and the arguments
/// of the guest, of type u32 unless another type is given. `restricted` functions trap during initialization and memory
/// allocation, `always` ones do not. The closure returns a number for the guest, or with `-> ()` nothing.
macro_rules! host_function {
    ($access:ident $name:literal, |$call:ident $(, $arg:ident $(: $ty:ident)?)*| $body:expr) => {
        $crate::host::HostFunction {
            name: $name,
            params: $crate::host::Params::Exactly(
                &[$($crate::host::host_function!(@value_type $($ty)?)),*]
            ),
            has_result: true,
            define: |linker, module| {
                linker.func_wrap(
                    module,
                    $name,
                    |caller: wasmtime::Caller<'_, $crate::host::HostState>
                        $(, $arg: $crate::host::host_function!(@rust_type $($ty)?))*|
                        -> wasmtime::Result<u32> {
                        let $call = &mut $crate::host::HostCall::$access(caller, $name)?;
                        $body.map(u32::from)
                    },
                )?;
                Ok(())
            },
        }
    };
    ($access:ident $name:literal, |$call:ident $(, $arg:ident)*| -> () $body:expr) => {
        $crate::host::HostFunction {
            name: $name,
            params: $crate::host::Params::Exactly(
                &[$($crate::host::host_function!(@constant $arg wasmparser::ValType::I32)),*]
            ),
            has_result: false,
            define: |linker, module| {
                linker.func_wrap(
                    module,
                    $name,
                    |caller: wasmtime::Caller<'_, $crate::host::HostState>
                        $(, $arg: u32)*| -> wasmtime::Result<()> {
                        let $call = &mut $crate::host::HostCall::$access(caller, $name)?;
                        $body
                    },
                )?;
                Ok(())
            },
        }
    };
    (@value_type) => { wasmparser::ValType::I32 };
    (@value_type u32) => { wasmparser::ValType::I32 };
    (@value_type i64) => { wasmparser::ValType::I64 };
    (@value_type u64) => { wasmparser::ValType::I64 };
    (@rust_type) => { u32 };
    (@rust_type $ty:ident) => { $ty };
    (@constant $arg:ident $value:expr) => { $value };
}

pub(crate) use host_function;
