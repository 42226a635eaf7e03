//! The functions of WASI preview 1 that compilers of guests link: standard output, clocks, random bytes, arguments and
//! environment. There are no files and no sockets.

use std::sync::LazyLock;
use std::time::Instant;
use std::time::SystemTime;

use super::HostCall;
use super::HostFunction;
use super::Span;
use super::host_function;
use crate::fault::Fault;
use crate::guest_log::LogLevel;
use crate::guest_log::MAX_LINE_BYTES;

/// Error numbers of WASI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errno {
    Success = 0,
    BadFile = 8,
    Invalid = 28,
    NoEntry = 44,
    NotSystem = 52,
    NotSupported = 58,
    SeekPipe = 70,
}

/// Maximum bytes of one `random_get`.
const MAX_RANDOM_BYTES: usize = 64 << 10;

/// Maximum buffers of one `fd_write`.
const MAX_BUFFERS: u32 = 1024;

/// Maximum subscriptions of one `poll_oneoff`.
const MAX_SUBSCRIPTIONS: u32 = 1024;

/// Begin of the monotonic clock. Go guests do not start at time 0.
static CLOCK_START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds of the monotonic clock at [`CLOCK_START`].
const CLOCK_OFFSET: u128 = 1_000_000_000;

type WasiResult = wasmtime::Result<Errno>;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(always "args_get", |_call, _list, _bytes| success()),
    host_function!(always "args_sizes_get", |call, count, bytes| sizes(call, count, bytes, (0, 0))),
    host_function!(always "clock_res_get", |call, clock, resolution| clock_resolution(call, clock, resolution)),
    host_function!(always "clock_time_get", |call, clock, _precision: i64, time| clock_time(call, clock, time)),
    host_function!(always "environ_get", |call, list, bytes| environment(call, list, bytes)),
    host_function!(always "environ_sizes_get", |call, count, bytes| {
        let size = environment_size(call);
        sizes(call, count, bytes, size)
    }),
    host_function!(always "fd_advise", |_call, _fd, _at: i64, _len: i64, _advice| bad_file()),
    host_function!(always "fd_allocate", |_call, _fd, _at: i64, _len: i64| bad_file()),
    host_function!(always "fd_close", |_call, fd| on_standard(fd, Errno::Success)),
    host_function!(always "fd_datasync", |_call, _fd| bad_file()),
    host_function!(always "fd_fdstat_get", |call, fd, stat| file_status(call, fd, stat)),
    host_function!(always "fd_fdstat_set_flags", |_call, fd, _flags| on_standard(fd, Errno::Success)),
    host_function!(always "fd_fdstat_set_rights", |_call, _fd, _base: i64, _inherited: i64| bad_file()),
    host_function!(always "fd_filestat_get", |_call, _fd, _stat| bad_file()),
    host_function!(always "fd_filestat_set_size", |_call, _fd, _size: i64| bad_file()),
    host_function!(always "fd_filestat_set_times", |_call, _fd, _access: i64, _change: i64, _flags| bad_file()),
    host_function!(always "fd_pread", |_call, _fd, _list, _count, _at: i64, _read| bad_file()),
    host_function!(always "fd_prestat_dir_name", |_call, _fd, _path, _len| bad_file()),
    host_function!(always "fd_prestat_get", |_call, _fd, _stat| bad_file()),
    host_function!(always "fd_pwrite", |_call, _fd, _list, _count, _at: i64, _written| bad_file()),
    host_function!(always "fd_read", |call, fd, _list, _count, read| read_file(call, fd, read)),
    host_function!(always "fd_readdir", |_call, _fd, _buffer, _len, _cookie: i64, _used| bad_file()),
    host_function!(always "fd_renumber", |_call, _from, _to| bad_file()),
    host_function!(always "fd_seek", |_call, fd, _offset: i64, _whence, _position| {
        on_standard(fd, Errno::SeekPipe)
    }),
    host_function!(always "fd_sync", |_call, _fd| bad_file()),
    host_function!(always "fd_tell", |_call, fd, _position| on_standard(fd, Errno::SeekPipe)),
    host_function!(always "fd_write", |call, fd, list, count, written| write_file(call, fd, [list, count], written)),
    host_function!(always "path_create_directory", |_call, _fd, _path, _len| no_system()),
    host_function!(always "path_filestat_get", |_call, _fd, _flags, _path, _len, _stat| no_entry()),
    host_function!(
        always "path_filestat_set_times",
        |_call, _fd, _flags, _path, _len, _access: i64, _change: i64, _which| no_entry()
    ),
    host_function!(
        always "path_link",
        |_call, _fd, _flags, _path, _len, _new_fd, _new_path, _new_len| no_system()
    ),
    host_function!(
        always "path_open",
        |_call, _fd, _dir_flags, _path, _len, _flags, _base: i64, _inherited: i64, _fd_flags, _opened| no_entry()
    ),
    host_function!(always "path_readlink", |_call, _fd, _path, _len, _buffer, _size, _used| no_entry()),
    host_function!(always "path_remove_directory", |_call, _fd, _path, _len| no_entry()),
    host_function!(always "path_rename", |_call, _fd, _path, _len, _new_fd, _new_path, _new_len| no_entry()),
    host_function!(always "path_symlink", |_call, _path, _len, _fd, _new_path, _new_len| no_system()),
    host_function!(always "path_unlink_file", |_call, _fd, _path, _len| no_entry()),
    host_function!(always "poll_oneoff", |call, subscriptions, events, count, occurred| {
        poll(call, [subscriptions, count], events, occurred)
    }),
    host_function!(always "proc_exit", |_call, code| -> () Err(Fault::Exit(code).into())),
    host_function!(always "proc_raise", |_call, _signal| no_system()),
    host_function!(always "random_get", |call, buffer, len| random(call, Span::new(buffer, len))),
    host_function!(always "sched_yield", |_call| success()),
    host_function!(always "sock_accept", |_call, _fd, _flags, _accepted| no_system()),
    host_function!(always "sock_recv", |_call, _fd, _list, _count, _flags, _read, _out| no_system()),
    host_function!(always "sock_send", |_call, _fd, _list, _count, _flags, _sent| no_system()),
    host_function!(always "sock_shutdown", |_call, _fd, _how| no_system()),
];

impl From<Errno> for u32 {
    fn from(errno: Errno) -> Self {
        errno as Self
    }
}

fn success() -> WasiResult {
    Ok(Errno::Success)
}

fn bad_file() -> WasiResult {
    Ok(Errno::BadFile)
}

fn no_entry() -> WasiResult {
    Ok(Errno::NoEntry)
}

fn no_system() -> WasiResult {
    Ok(Errno::NotSystem)
}

/// Returns an error number for standard input and output, and that of an unknown file for others.
fn on_standard(fd: u32, errno: Errno) -> WasiResult {
    Ok(if fd <= 2 { errno } else { Errno::BadFile })
}

fn sizes(call: &mut HostCall<'_>, count: u32, bytes: u32, sizes: (u32, u32)) -> WasiResult {
    call.write_u32(count, sizes.0)?;
    call.write_u32(bytes, sizes.1)?;
    success()
}

/// Returns the number of environment variables and the bytes that they take.
fn environment_size(call: &HostCall<'_>) -> (u32, u32) {
    let variables = &call.host().config.environment;
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    (u32::try_from(variables.len()).unwrap_or(u32::MAX), u32::try_from(bytes).unwrap_or(u32::MAX))
}

fn environment(call: &mut HostCall<'_>, list: u32, bytes: u32) -> WasiResult {
    let config = call.host().config.clone();
    let (mut list, mut bytes) = (list, bytes);
    for (name, value) in &config.environment {
        let variable = format!("{name}={value}\0");
        call.write_u32(list, bytes)?;
        call.write(bytes, variable.as_bytes())?;
        list = list.checked_add(4).ok_or(Fault::Memory)?;
        bytes =
            u32::try_from(variable.len()).ok().and_then(|len| bytes.checked_add(len)).ok_or(Fault::Memory)?;
    }
    success()
}

fn clock_resolution(call: &mut HostCall<'_>, clock: u32, resolution: u32) -> WasiResult {
    if clock > 1 {
        return Ok(Errno::NotSupported);
    }
    call.write_u64(resolution, 1)?;
    success()
}

fn clock_time(call: &mut HostCall<'_>, clock: u32, time: u32) -> WasiResult {
    let nanoseconds = match clock {
        0 => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos(),
        1 => CLOCK_START.elapsed().as_nanos() + CLOCK_OFFSET,
        _ => return Ok(Errno::NotSupported),
    };
    call.write_u64(time, u64::try_from(nanoseconds).unwrap_or(u64::MAX))?;
    success()
}

fn random(call: &mut HostCall<'_>, buffer: Span) -> WasiResult {
    if buffer.len() > MAX_RANDOM_BYTES {
        return Ok(Errno::Invalid);
    }
    let buffer = buffer.write(call.memory())?;
    Ok(getrandom::fill(buffer).map_or(Errno::NotSupported, |()| Errno::Success))
}

/// Writes the status of standard input and output: a character device.
fn file_status(call: &mut HostCall<'_>, fd: u32, stat: u32) -> WasiResult {
    const STATUS_BYTES: usize = 24;
    const CHARACTER_DEVICE: u8 = 2;
    if fd > 2 {
        return bad_file();
    }
    let mut status = [0; STATUS_BYTES];
    let [kind, ..] = &mut status;
    *kind = CHARACTER_DEVICE;
    call.write(stat, &status)?;
    success()
}

/// Standard input is empty.
fn read_file(call: &mut HostCall<'_>, fd: u32, read: u32) -> WasiResult {
    if fd != 0 {
        return bad_file();
    }
    call.write_u32(read, 0)?;
    success()
}

/// Logs what the guest writes to standard output and standard error.
fn write_file(call: &mut HostCall<'_>, fd: u32, [list, count]: [u32; 2], written: u32) -> WasiResult {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return bad_file(),
    };
    if count > MAX_BUFFERS {
        return Ok(Errno::Invalid);
    }
    let (memory, host) = call.split();
    let mut line = std::mem::take(&mut host.scratch);
    line.clear();
    let mut total: u32 = 0;
    for entry in 0..count {
        let [address, len] = read_numbers(memory, list, entry)?;
        let buffer = Span::new(address, len).read(memory)?;
        let space = MAX_LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(buffer.get(..space).unwrap_or(buffer));
        total = total.saturating_add(len);
    }
    host.log(level, line.strip_suffix(b"\n").unwrap_or(&line));
    host.scratch = line;
    call.write_u32(written, total)?;
    success()
}

/// Reads an entry of a list of pairs of numbers.
fn read_numbers(memory: &[u8], list: u32, entry: u32) -> Result<[u32; 2], Fault> {
    const ENTRY_BYTES: u32 = 8;
    let address = entry.checked_mul(ENTRY_BYTES).and_then(|at| list.checked_add(at)).ok_or(Fault::Memory)?;
    match Span::new(address, ENTRY_BYTES).read(memory)?.as_chunks::<4>().0 {
        [first, second] => Ok([u32::from_le_bytes(*first), u32::from_le_bytes(*second)]),
        _ => Err(Fault::Memory),
    }
}

/// Bytes of an event in memory.
const EVENT_BYTES: u32 = 32;

/// An event of `poll_oneoff`.
struct PollEvent {
    user_data: [u8; 8],
    errno: Errno,
    kind: u8,
}

impl PollEvent {
    /// Returns the event as it is in memory: user data, error, kind, and zero for the rest.
    fn encode(&self) -> [u8; EVENT_BYTES as usize] {
        let mut event = [0; EVENT_BYTES as usize];
        let errno = u32::from(self.errno).to_le_bytes();
        let fields = self.user_data.iter().chain(errno.iter().take(2)).chain([&self.kind]);
        event.iter_mut().zip(fields).for_each(|(byte, field)| *byte = *field);
        event
    }
}

/// Reports all clocks as expired, since guests must not wait, and all files as not supported.
fn poll(call: &mut HostCall<'_>, [list, count]: [u32; 2], events: u32, occurred: u32) -> WasiResult {
    const SUBSCRIPTION_BYTES: u32 = 48;
    const CLOCK: u8 = 0;
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(Errno::Invalid);
    }
    for entry in 0..count {
        let at = |bytes: u32, base: u32| base.checked_add(entry * bytes).ok_or(Fault::Memory);
        let subscription =
            Span::new(at(SUBSCRIPTION_BYTES, list)?, SUBSCRIPTION_BYTES).read(call.memory())?;
        let (user_data, rest) = subscription.split_first_chunk::<8>().ok_or(Fault::Memory)?;
        let kind = rest.first().copied().ok_or(Fault::Memory)?;
        let errno = if kind == CLOCK { Errno::Success } else { Errno::NotSupported };
        let event = PollEvent { user_data: *user_data, errno, kind }.encode();
        call.write(at(EVENT_BYTES, events)?, &event)?;
    }
    call.write_u32(occurred, count)?;
    success()
}
