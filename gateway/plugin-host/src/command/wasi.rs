//! WASI preview 1 for commands: standard streams, a clock that stops, and a fixed stream of random bytes.
//!
//! Every other function of the interface exists, so that any compiler's guest links. It fails with "no such system call".

use wasmtime::Caller;
use wasmtime::Extern;
use wasmtime::ExternType;
use wasmtime::FuncType;
use wasmtime::Linker;
use wasmtime::Val;
use wasmtime::ValType;

use super::state::CommandFault;
use super::state::CommandState;
use crate::callback::MEMORY;
use crate::error::ModuleError;

const MODULE: &str = "wasi_snapshot_preview1";

/// The name of the same interface in older guests.
const OLD_MODULE: &str = "wasi_unstable";

/// Time of all clocks: 2001-09-09, in nanoseconds.
const NOW: u64 = 1_000_000_000_000_000_000;

/// Maximum buffers of one call.
const MAX_BUFFERS: u32 = 1024;

const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;
const INVALID: i32 = 28;
const NO_SYSTEM: i32 = 52;
const SEEK_PIPE: i32 = 70;

type Guest<'a> = Caller<'a, CommandState>;
type WasiResult = wasmtime::Result<i32>;

/// Defines each function that a module imports.
///
/// # Errors
/// [`ModuleError::Import`] for an import from elsewhere, or one with another type.
pub(super) fn link(linker: &mut Linker<CommandState>, module: &wasmtime::Module) -> Result<(), ModuleError> {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let ExternType::Func(ty) = import.ty() else {
            return Err(ModuleError::Import(format!("{from}.{name}, which is no function,")));
        };
        if from != MODULE && from != OLD_MODULE {
            return Err(ModuleError::Import(format!("{from}.{name}")));
        }
        let defined = define(linker, from, name).and_then(|is_known| match is_known {
            true => Ok(()),
            false => define_missing(linker, from, name, ty),
        });
        defined.map_err(|error| ModuleError::Compile(format!("{error:#}")))?;
    }
    Ok(())
}

/// Defines a function that commands have. Returns false if there is none of this name.
fn define(linker: &mut Linker<CommandState>, module: &str, name: &str) -> wasmtime::Result<bool> {
    match name {
        "args_get" | "environ_get" => linker.func_wrap(module, name, |_: i32, _: i32| SUCCESS)?,
        "args_sizes_get" | "environ_sizes_get" => {
            linker.func_wrap(module, name, |mut guest: Guest<'_>, count: u32, bytes: u32| -> WasiResult {
                write(&mut guest, count, &0u32.to_le_bytes())?;
                write(&mut guest, bytes, &0u32.to_le_bytes())?;
                Ok(SUCCESS)
            })?
        }
        "clock_res_get" => linker.func_wrap(module, name, |mut guest: Guest<'_>, _: u32, at: u32| {
            write(&mut guest, at, &1u64.to_le_bytes()).map(|()| SUCCESS)
        })?,
        "clock_time_get" => {
            linker.func_wrap(module, name, |mut guest: Guest<'_>, _: u32, _: i64, at: u32| {
                write(&mut guest, at, &NOW.to_le_bytes()).map(|()| SUCCESS)
            })?
        }
        "fd_close" => linker.func_wrap(module, name, |fd: u32| on_stream(fd, SUCCESS))?,
        "fd_fdstat_get" => linker.func_wrap(module, name, file_status)?,
        "fd_fdstat_set_flags" => linker.func_wrap(module, name, |fd: u32, _: u32| on_stream(fd, SUCCESS))?,
        "fd_prestat_get" => linker.func_wrap(module, name, |_: u32, _: u32| BAD_FILE)?,
        "fd_prestat_dir_name" => linker.func_wrap(module, name, |_: u32, _: u32, _: u32| BAD_FILE)?,
        "fd_read" => linker.func_wrap(module, name, read_stream)?,
        "fd_seek" => {
            linker.func_wrap(module, name, |fd: u32, _: i64, _: u32, _: u32| on_stream(fd, SEEK_PIPE))?
        }
        "fd_write" => linker.func_wrap(module, name, write_stream)?,
        "proc_exit" => linker.func_wrap(module, name, |code: u32| -> wasmtime::Result<()> {
            Err(CommandFault::Exit(code).into())
        })?,
        "random_get" => linker.func_wrap(module, name, random)?,
        "sched_yield" => linker.func_wrap(module, name, || SUCCESS)?,
        _ => return Ok(false),
    };
    Ok(true)
}

/// Defines a function that fails.
fn define_missing(
    linker: &mut Linker<CommandState>,
    module: &str,
    name: &str,
    ty: FuncType,
) -> wasmtime::Result<()> {
    let returns_number = ty.results().all(|ty| ty.matches(&ValType::I32));
    linker.func_new(module, name, ty, move |_, _, results| {
        if returns_number && let Some(result) = results.first_mut() {
            *result = Val::I32(NO_SYSTEM);
        }
        Ok(())
    })?;
    Ok(())
}

/// Returns an error number for standard streams, and that of an unknown file for others.
fn on_stream(fd: u32, errno: i32) -> i32 {
    if fd <= 2 { errno } else { BAD_FILE }
}

/// Writes the status of a standard stream: a character device with all rights.
fn file_status(mut guest: Guest<'_>, fd: u32, at: u32) -> WasiResult {
    const STATUS_BYTES: usize = 24;
    const CHARACTER_DEVICE: u8 = 2;
    if fd > 2 {
        return Ok(BAD_FILE);
    }
    let mut status = [0; STATUS_BYTES];
    let [kind, _, _, _, _, _, _, _, rights @ ..] = &mut status;
    *kind = CHARACTER_DEVICE;
    rights.fill(u8::MAX);
    write(&mut guest, at, &status)?;
    Ok(SUCCESS)
}

fn read_stream(mut guest: Guest<'_>, fd: u32, list: u32, count: u32, read: u32) -> WasiResult {
    if fd != 0 {
        return Ok(BAD_FILE);
    }
    if count > MAX_BUFFERS {
        return Ok(INVALID);
    }
    let mut total: u32 = 0;
    for entry in 0..count {
        let (memory, state) = split(&mut guest)?;
        let Buffer { address, len } = Buffer::read(memory, list, entry)?;
        let buffer = slice_mut(memory, address, len)?;
        let read = u32::try_from(state.read(buffer)).unwrap_or(u32::MAX);
        total = total.saturating_add(read);
        if read < len {
            break;
        }
    }
    write(&mut guest, read, &total.to_le_bytes())?;
    Ok(SUCCESS)
}

fn write_stream(mut guest: Guest<'_>, fd: u32, list: u32, count: u32, written: u32) -> WasiResult {
    if fd != 1 && fd != 2 {
        return Ok(BAD_FILE);
    }
    if count > MAX_BUFFERS {
        return Ok(INVALID);
    }
    let mut total: u32 = 0;
    for entry in 0..count {
        let (memory, state) = split(&mut guest)?;
        let Buffer { address, len } = Buffer::read(memory, list, entry)?;
        let bytes = slice(memory, address, len)?;
        match fd {
            1 => state.write_output(bytes)?,
            _ => state.write_error(bytes),
        }
        total = total.saturating_add(len);
    }
    write(&mut guest, written, &total.to_le_bytes())?;
    Ok(SUCCESS)
}

fn random(mut guest: Guest<'_>, at: u32, len: u32) -> WasiResult {
    let (memory, state) = split(&mut guest)?;
    state.fill_random(slice_mut(memory, at, len)?);
    Ok(SUCCESS)
}

/// An entry of a list of buffers.
struct Buffer {
    address: u32,
    len: u32,
}

impl Buffer {
    fn read(memory: &[u8], list: u32, entry: u32) -> Result<Self, CommandFault> {
        const ENTRY_BYTES: u32 = 8;
        let at = entry.checked_mul(ENTRY_BYTES).and_then(|at| list.checked_add(at));
        match slice(memory, at.ok_or(CommandFault::Memory)?, ENTRY_BYTES)?.as_chunks::<4>().0 {
            [address, len] => {
                Ok(Self { address: u32::from_le_bytes(*address), len: u32::from_le_bytes(*len) })
            }
            _ => Err(CommandFault::Memory),
        }
    }
}

/// Returns the guest's memory and the state beside it.
fn split<'a>(guest: &'a mut Guest<'_>) -> Result<(&'a mut [u8], &'a mut CommandState), CommandFault> {
    let Some(Extern::Memory(memory)) = guest.get_export(MEMORY) else { return Err(CommandFault::Memory) };
    Ok(memory.data_and_store_mut(guest))
}

fn write(guest: &mut Guest<'_>, at: u32, bytes: &[u8]) -> wasmtime::Result<()> {
    let (memory, _) = split(guest)?;
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    slice_mut(memory, at, len)?.copy_from_slice(bytes);
    Ok(())
}

fn range(at: u32, len: u32) -> Result<std::ops::Range<usize>, CommandFault> {
    let end = at.checked_add(len).ok_or(CommandFault::Memory)?;
    Ok(at as usize..end as usize)
}

fn slice(memory: &[u8], at: u32, len: u32) -> Result<&[u8], CommandFault> {
    memory.get(range(at, len)?).ok_or(CommandFault::Memory)
}

fn slice_mut(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], CommandFault> {
    memory.get_mut(range(at, len)?).ok_or(CommandFault::Memory)
}
