//! One call of a host function: access to guest memory and to the state of the instance.

use std::ops::Range;

use wasmtime::Caller;
use wasmtime::Memory;

use super::HostAccess;
use super::HostState;
use crate::abi::Status;
use crate::callback::MEMORY;
use crate::fault::Fault;

/// Bytes of the scratch buffer that are kept between calls. Larger ones are freed.
const MAX_IDLE_SCRATCH_BYTES: usize = 64 << 10;

/// Bytes of guest memory that the guest names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    address: u32,
    len: u32,
}

/// Where the guest wants the address and the size of returned bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReturnSlot {
    address: u32,
    size: u32,
}

/// A call of a host function.
pub(crate) struct HostCall<'a> {
    caller: Caller<'a, HostState>,
    memory: Memory,
}

impl Span {
    pub(crate) fn new(address: u32, len: u32) -> Self {
        Self { address, len }
    }

    /// Returns the bytes.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub(crate) fn read(self, memory: &[u8]) -> Result<&[u8], Fault> {
        if self.len == 0 {
            return Ok(&[]);
        }
        memory.get(range(self.address, self.len as usize)?).ok_or(Fault::Memory)
    }

    /// Returns the bytes for writing.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub(crate) fn write(self, memory: &mut [u8]) -> Result<&mut [u8], Fault> {
        if self.len == 0 {
            return Ok(&mut []);
        }
        memory.get_mut(range(self.address, self.len as usize)?).ok_or(Fault::Memory)
    }

    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}

impl ReturnSlot {
    pub(crate) fn new(address: u32, size: u32) -> Self {
        Self { address, size }
    }
}

impl<'a> HostCall<'a> {
    /// Begins a call that is not allowed during initialization and memory allocation.
    ///
    /// # Errors
    /// [`Fault::Refused`], [`Fault::Memory`].
    pub(crate) fn restricted(caller: Caller<'a, HostState>, name: &'static str) -> Result<Self, Fault> {
        match caller.data().access {
            HostAccess::Full => Self::always(caller, name),
            HostAccess::Restricted => Err(Fault::Refused(name)),
        }
    }

    /// Begins a call that is always allowed.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub(crate) fn always(mut caller: Caller<'a, HostState>, _: &'static str) -> Result<Self, Fault> {
        let exported = match caller.data().memory {
            Some(memory) => Some(memory),
            // The start section runs before the instance is known.
            None => caller.get_export(MEMORY).and_then(|export| export.into_memory()),
        };
        Ok(Self { memory: exported.ok_or(Fault::Memory)?, caller })
    }

    pub(crate) fn host(&self) -> &HostState {
        self.caller.data()
    }

    pub(crate) fn host_mut(&mut self) -> &mut HostState {
        self.caller.data_mut()
    }

    /// Returns the guest's memory.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.caller)
    }

    /// Returns the guest's memory and the state of the instance.
    pub(crate) fn split(&mut self) -> (&mut [u8], &mut HostState) {
        self.memory.data_and_store_mut(&mut self.caller)
    }

    /// Writes a number for the guest.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub(crate) fn write_u32(&mut self, address: u32, value: u32) -> Result<(), Fault> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes a number for the guest.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub(crate) fn write_u64(&mut self, address: u32, value: u64) -> Result<(), Fault> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes bytes for the guest.
    ///
    /// # Errors
    /// [`Fault::Memory`].
    pub(crate) fn write(&mut self, address: u32, value: &[u8]) -> Result<(), Fault> {
        let target = range(address, value.len())?;
        self.memory().get_mut(target).ok_or(Fault::Memory)?.copy_from_slice(value);
        Ok(())
    }

    /// Allocates guest memory.
    ///
    /// # Errors
    /// [`Fault::Allocator`], or the trap of the allocator.
    pub(crate) fn allocate(&mut self, len: usize) -> wasmtime::Result<u32> {
        let fault = Fault::Allocator(len);
        let size = u32::try_from(len).map_err(|_| fault)?;
        let allocator = self.host_mut().allocator.take().ok_or(fault)?;
        let access = std::mem::replace(&mut self.host_mut().access, HostAccess::Restricted);
        let address = allocator.call(&mut self.caller, size)?;
        let host = self.host_mut();
        host.access = access;
        host.allocator = Some(allocator);
        let is_within = range(address, len)?.end <= self.memory().len();
        if address == 0 || !is_within {
            return Err(fault.into());
        }
        Ok(address)
    }

    /// Allocates guest memory and fills it with what `source` finds, which must have `len` bytes. No bytes are address
    /// 0 and size 0.
    ///
    /// # Errors
    /// [`Fault`], or the trap of the allocator.
    pub(crate) fn return_from(
        &mut self,
        slot: ReturnSlot,
        len: usize,
        source: impl FnOnce(&HostState) -> Option<&[u8]>,
    ) -> wasmtime::Result<Status> {
        self.return_with(slot, len, |host, target| {
            source(host).filter(|source| source.len() == target.len()).map(|source| {
                target.copy_from_slice(source);
            })
        })
    }

    /// Allocates guest memory and lets `fill` write `len` bytes into it. No bytes are address 0 and size 0.
    ///
    /// # Errors
    /// [`Fault`], or the trap of the allocator. [`Fault::Memory`] if `fill` returns `None`.
    pub(crate) fn return_with(
        &mut self,
        slot: ReturnSlot,
        len: usize,
        fill: impl FnOnce(&HostState, &mut [u8]) -> Option<()>,
    ) -> wasmtime::Result<Status> {
        let address = if len == 0 { 0 } else { self.allocate(len)? };
        if len > 0 {
            let (memory, host) = self.split();
            let target = memory.get_mut(range(address, len)?).ok_or(Fault::Memory)?;
            fill(host, target).ok_or(Fault::Memory)?;
        }
        self.write_u32(slot.address, address)?;
        self.write_u32(slot.size, u32::try_from(len).unwrap_or(u32::MAX))?;
        Ok(Status::Ok)
    }

    /// Returns the bytes of the scratch buffer to the guest.
    ///
    /// # Errors
    /// [`Fault`], or the trap of the allocator.
    pub(crate) fn return_scratch(&mut self, slot: ReturnSlot) -> wasmtime::Result<Status> {
        let len = self.host().scratch.len();
        let status = self.return_from(slot, len, |host| Some(&host.scratch))?;
        let scratch = &mut self.host_mut().scratch;
        scratch.clear();
        scratch.shrink_to(MAX_IDLE_SCRATCH_BYTES);
        Ok(status)
    }

    /// Fills the scratch buffer and returns it to the guest.
    ///
    /// # Errors
    /// [`Fault`], or the trap of the allocator.
    pub(crate) fn return_bytes(&mut self, slot: ReturnSlot, bytes: &[u8]) -> wasmtime::Result<Status> {
        let scratch = &mut self.host_mut().scratch;
        scratch.clear();
        scratch.extend_from_slice(bytes);
        self.return_scratch(slot)
    }
}

/// Returns the range of an address and a length.
fn range(address: u32, len: usize) -> Result<Range<usize>, Fault> {
    let start = address as usize;
    Ok(start..start.checked_add(len).ok_or(Fault::Memory)?)
}
