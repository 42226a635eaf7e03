//! Child processes that are pinned to a core, ended with the guard that holds them, and read for CPU time.
//!
//! Every child also asks the kernel for SIGKILL when this program dies, so that none outlives it.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;

/// How long a child may take to start serving.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at something that is awaited.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Memory counts when it has not changed for so long; who never rests is read at the limit.
const SETTLE_DURATION: Duration = Duration::from_secs(1);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a child is started anew: another process may take a port between our choice and its bind.
const START_ATTEMPTS: u32 = 3;
/// USER_HZ, the unit of `/proc/PID/stat`: 100 on every Linux that Debian ships.
const TICKS_PER_SECOND: u64 = 100;

/// Which core has the proxy and which the rest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cores {
    /// The proxy's.
    pub(crate) proxy: usize,
    /// The load's and the backend's.
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that this process may use; one core twice if it has only one.
    pub(crate) fn of_this_process() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cores = parse_cores(list.context("no Cpus_allowed_list in /proc/self/status")?.trim())?;
        let proxy = *cores.first().context("no core allowed")?;
        Ok(Self { proxy, load: cores.get(1).copied().unwrap_or(proxy) })
    }

    /// Keeps this program, which makes some of the load itself, off the proxy's core.
    pub(crate) fn pin_to_load_core(self) -> Result<()> {
        let mut cores = CpuSet::new();
        cores.set(self.load);
        Ok(sched_setaffinity(None, &cores)?)
    }
}

/// Lets this process, and those that it starts, have as many files open as the system permits.
pub(crate) fn raise_open_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Reads a core list such as `0-2,7`.
fn parse_cores(list: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(cores)
}

/// Where a program is, by `PATH` and the folders of system programs that a user's `PATH` lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A command that runs pinned to a core and dies with its parent, as the same process that was spawned.
pub(crate) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()]).arg(program);
    command
}

/// CPU time used so far by a process, all its threads together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// By the scheduler's own count of every living thread, nanoseconds.
    running: u64,
    /// User and system time in ticks; the kernel keeps the time of ended threads in them too.
    user: u64,
    system: u64,
}

/// CPU time used between two moments, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CpuUse {
    /// User time.
    pub(crate) user: f64,
    /// System time.
    pub(crate) system: f64,
}

impl CpuTime {
    /// User and system time, in units of 10 ms.
    fn ticks(self) -> u64 {
        self.user + self.system
    }

    /// What was used since `earlier`. The sum is the scheduler's (nanoseconds), the split is that of the ticks
    /// (10 ms). If threads ended in between, their time is in the ticks only, and then these are the sum.
    pub(crate) fn since(self, earlier: Self) -> CpuUse {
        let user = self.user.saturating_sub(earlier.user);
        let system = self.system.saturating_sub(earlier.system);
        let by_ticks = (user + system) * (1_000_000_000 / TICKS_PER_SECOND);
        let by_scheduler = self.running.saturating_sub(earlier.running);
        // Two counters rounded to ticks at two moments are off by two ticks at most.
        let rounding = 2 * 1_000_000_000 / TICKS_PER_SECOND;
        let nanos = if by_ticks > by_scheduler + rounding { by_ticks } else { by_scheduler };
        let micros = nanos as f64 / 1000.0;
        let share = if user + system == 0 { 0.5 } else { user as f64 / (user + system) as f64 };
        CpuUse { user: micros * share, system: micros * (1.0 - share) }
    }
}

/// A running child. Dropping it kills it and waits for its end.
pub(crate) struct ChildProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts a command whose output goes to `name.log` in `dir`.
    pub(crate) fn spawn(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id; that of the program itself, since [`pinned`] replaces itself by it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// The process has ended; its last words are in the error.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{self} ended with {status}: {}", self.log_tail())
    }

    /// Waits for the child to end by itself, at most this long.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{self} did not end within {limit:?}");
            pause();
        }
        Ok(())
    }

    /// Waits until `ready` says so, while the process lives, for at most 15 s.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        self.wait_at_most(START_TIMEOUT, ready)
    }

    /// Waits until `ready` says so, while the process lives, for as long as the caller allows.
    pub(crate) fn wait_at_most(&mut self, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            self.check_alive()?;
            ensure!(Instant::now() < deadline, "{self} is not ready after {limit:?}: {}", self.log_tail());
            pause();
        }
        self.check_alive()
    }

    /// Memory of the process that is in RAM, in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }

    /// Memory that is in RAM, in bytes, once it has not changed and the process has not worked for 1 s; or after 20 s.
    pub(crate) fn settled_rss(&mut self) -> Result<u64> {
        let (start, mut since) = (Instant::now(), Instant::now());
        let mut last = (self.rss()?, self.cpu()?.ticks());
        while since.elapsed() < SETTLE_DURATION && start.elapsed() < SETTLE_TIMEOUT {
            pause();
            self.check_alive()?;
            let now = (self.rss()?, self.cpu()?.ticks());
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last.0)
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (user, system) = parse_stat(&stat).with_context(|| format!("unreadable stat of {self}"))?;
        let mut running = 0;
        for task in self.tasks()? {
            // A thread may end between listing and reading; the ticks have its time.
            let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            running += text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        }
        Ok(CpuTime { running, user, system })
    }

    /// Whether a tracer is attached to every thread.
    pub(crate) fn is_traced(&self) -> bool {
        let Ok(tasks) = self.tasks() else { return false };
        tasks.iter().all(|task| {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.trim_end().ends_with("\t0"))
        })
    }

    /// Sends SIGINT.
    pub(crate) fn interrupt(&self) -> Result<()> {
        // The shell's builtin: /bin/kill is in a package of its own.
        let status = Command::new("sh").args(["-c", &format!("kill -INT {}", self.id())]).status()?;
        ensure!(status.success(), "cannot interrupt {self}");
        Ok(())
    }

    /// The folders of the process's threads in `/proc`.
    fn tasks(&self) -> Result<Vec<PathBuf>> {
        let dir = fs::read_dir(format!("/proc/{}/task", self.id()))?;
        Ok(dir.collect::<std::io::Result<Vec<_>>>()?.into_iter().map(|entry| entry.path()).collect())
    }

    /// The end of what the process wrote.
    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(2000)..).unwrap_or_default();
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl fmt::Display for ChildProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails only if the child has already ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts something that binds the ports it is given, with other ports if that fails.
pub(crate) fn with_free_ports<const N: usize, T>(start: impl Fn([u16; N]) -> Result<T>) -> Result<T> {
    let mut attempts = 1;
    loop {
        match start(free_ports()?) {
            Err(_) if attempts < START_ATTEMPTS => attempts += 1,
            done => return done,
        }
    }
}

/// Ports of the loopback address that were free a moment ago, all different.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut sockets = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = socket.local_addr()?.port();
        sockets.push(socket);
    }
    Ok(ports)
}

/// Lets a moment pass between two looks at something that has no way to tell us.
pub(crate) fn pause() {
    std::thread::park_timeout(POLL_INTERVAL);
}

/// User and system ticks: fields 14 and 15 of `/proc/PID/stat` (proc(5)), counted after the closing
/// parenthesis, since the program's name may hold spaces.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
