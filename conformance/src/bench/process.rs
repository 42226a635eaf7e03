//! Child processes: pinned to a core, killed with their guard, and measured for CPU time and memory.
//!
//! The kernel kills every child when this program dies, so that none outlives it.

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

/// Time for a child to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Memory is settled after this time without a change. It is read after the timeout in any case.
const SETTLE_DURATION: Duration = Duration::from_secs(1);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Number of start attempts. Another process may bind a chosen port before the child does.
const START_ATTEMPTS: u32 = 3;
/// USER_HZ, the unit of `/proc/PID/stat`: 100 on every Linux that Debian ships.
const TICKS_PER_SECOND: u64 = 100;

/// The cores of proxy and load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cores {
    /// The proxy's core.
    pub(crate) proxy: usize,
    /// The core of load and backend.
    pub(crate) load: usize,
}

impl Cores {
    /// Returns the first two cores that this process may use, or the same core twice.
    pub(crate) fn of_this_process() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cores = parse_cores(list.context("no Cpus_allowed_list in /proc/self/status")?.trim())?;
        let proxy = *cores.first().context("no core allowed")?;
        Ok(Self { proxy, load: cores.get(1).copied().unwrap_or(proxy) })
    }

    /// Pins this program to the load's core, because it generates some of the load.
    pub(crate) fn pin_to_load_core(self) -> Result<()> {
        let mut cores = CpuSet::new();
        cores.set(self.load);
        Ok(sched_setaffinity(None, &cores)?)
    }
}

/// Raises the limit of open files to the maximum, for this process and its children.
pub(crate) fn raise_open_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Parses a core list such as `0-2,7`.
fn parse_cores(list: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(cores)
}

/// Returns the path of a program, from `PATH` and the folders of system programs that a user's `PATH` lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A program and the core that it runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PinnedProgram<'a> {
    pub(crate) path: &'a Path,
    pub(crate) core: usize,
}

impl PinnedProgram<'_> {
    /// Returns a command that runs pinned to the core and dies with its parent. The program keeps the spawned process
    /// id.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &self.core.to_string()]).arg(self.path);
        command
    }
}

/// CPU time of all threads of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// The scheduler's count for living threads, in nanoseconds.
    running: u64,
    /// User and system time in ticks. They include the time of ended threads.
    user: u64,
    system: u64,
}

/// CPU time between two readings, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CpuUse {
    /// User time.
    pub(crate) user: f64,
    /// System time.
    pub(crate) system: f64,
}

impl CpuTime {
    /// Returns user plus system time, in units of 10 ms.
    fn ticks(self) -> u64 {
        self.user + self.system
    }

    /// Returns the CPU time since `earlier`.
    ///
    /// The sum is the scheduler's (nanoseconds), the split that of the ticks (10 ms). If threads ended in between, only the
    /// ticks contain their time, and the sum is that of the ticks.
    pub(crate) fn since(self, earlier: Self) -> CpuUse {
        let user = self.user.saturating_sub(earlier.user);
        let system = self.system.saturating_sub(earlier.system);
        let by_ticks = (user + system) * (1_000_000_000 / TICKS_PER_SECOND);
        let by_scheduler = self.running.saturating_sub(earlier.running);
        // Two counters, each rounded at two readings, differ by at most two ticks.
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
    /// Starts a command. Its output goes to `name.log` in `dir`.
    pub(crate) fn spawn(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Returns the process id of the program, which [`PinnedProgram`] execs.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Checks that the process is running.
    ///
    /// # Errors
    /// The process has exited. The error contains the end of its log.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{self} ended with {status}: {}", self.log_tail())
    }

    /// Waits for the child to exit, at most `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{self} did not end within {limit:?}");
            pause();
        }
        Ok(())
    }

    /// Waits until `ready` returns true, at most 15 s. Fails if the process exits.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        self.wait_at_most(START_TIMEOUT, ready)
    }

    /// Waits until `ready` returns true, at most `limit`. Fails if the process exits.
    pub(crate) fn wait_at_most(&mut self, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            self.check_alive()?;
            ensure!(Instant::now() < deadline, "{self} is not ready after {limit:?}: {}", self.log_tail());
            pause();
        }
        self.check_alive()
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }

    /// Returns the resident memory in bytes, after 1 s without change and without CPU time, or after 20 s.
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

    /// Returns the CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (user, system) = parse_stat(&stat).with_context(|| format!("unreadable stat of {self}"))?;
        let mut running = 0;
        for task in self.tasks()? {
            // A thread may end between listing and reading. The ticks contain its time.
            let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            running += text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        }
        Ok(CpuTime { running, user, system })
    }

    /// Returns whether a tracer is attached to every thread.
    pub(crate) fn is_traced(&self) -> bool {
        let Ok(tasks) = self.tasks() else { return false };
        tasks.iter().all(|task| {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.trim_end().ends_with("\t0"))
        })
    }

    /// Sends SIGINT.
    pub(crate) fn interrupt(&self) -> Result<()> {
        // The shell's builtin, because /bin/kill needs a further package.
        let status = Command::new("sh").args(["-c", &format!("kill -INT {}", self.id())]).status()?;
        ensure!(status.success(), "cannot interrupt {self}");
        Ok(())
    }

    /// Returns the folders of the process's threads in `/proc`.
    fn tasks(&self) -> Result<Vec<PathBuf>> {
        let dir = fs::read_dir(format!("/proc/{}/task", self.id()))?;
        Ok(dir.collect::<std::io::Result<Vec<_>>>()?.into_iter().map(|entry| entry.path()).collect())
    }

    /// Returns the end of the process's output.
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
        // Fails only if the child has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls `start` with free ports. Retries with other ports if it fails.
pub(crate) fn with_free_ports<const N: usize, T>(start: impl Fn([u16; N]) -> Result<T>) -> Result<T> {
    let mut attempts = 1;
    loop {
        match start(free_ports()?) {
            Err(_) if attempts < START_ATTEMPTS => attempts += 1,
            done => return done,
        }
    }
}

/// Returns different loopback ports that are currently free.
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

/// Waits for one poll interval.
pub(crate) fn pause() {
    std::thread::park_timeout(POLL_INTERVAL);
}

/// Parses user and system ticks: fields 14 and 15 of `/proc/PID/stat` (proc(5)). Fields are counted from the closing
/// parenthesis because the program's name may contain spaces.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
