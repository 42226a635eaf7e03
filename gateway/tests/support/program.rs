//! The built program as a child process, for tests of signals, exit and resource limits.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod started;

use std::fmt::Display;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use self::started::Started;
use crate::support::{DEADLINE, Message, Wire};

/// Called for each line that a program logs.
fn on_log_line() {
    crate::support::notify();
}

/// A `gateway run` process that serves a temporary folder. Its drop kills it.
pub(crate) struct Program {
    started: Started,
    folder: TempDir,
}

impl Deref for Program {
    type Target = Started;

    fn deref(&self) -> &Started {
        &self.started
    }
}

impl Program {
    /// Starts the program with one file and these settings (`KEY=VALUE`). Waits until it is ready.
    pub(crate) fn start(yaml: &(impl Display + ?Sized), settings: &[&str]) -> Self {
        Self::limited(yaml, settings, None)
    }

    /// Starts the program with a hard limit of file descriptors. Waits until it is ready.
    pub(crate) fn limited(
        yaml: &(impl Display + ?Sized),
        settings: &[&str],
        descriptors: Option<u32>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), yaml.to_string()).unwrap();
        let program = env!("CARGO_BIN_EXE_gateway");
        let mut command = match descriptors {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(program);
                shell
            }
        };
        command.arg("run").arg("--files").arg(folder.path()).args(["--workers", "1"]);
        for flag in ["--http", "--https", "--admin"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        // Standard output belongs to the test runner.
        command.args(["--set", "accessLog.to=off"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let started = Self { started: Started::new(command.env_remove("GATEWAY_LOG"), DEADLINE), folder };
        crate::support::until("the program is ready", || started.ready().status() == 200);
        started
    }

    /// Returns the response of `/readyz`.
    pub(crate) fn ready(&self) -> Message {
        Wire::connect(self.admin).get("admin", "/readyz")
    }

    /// Returns the served folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Renames new content into place. Does not wait for the reload.
    pub(crate) fn rename(&self, name: &str, yaml: &(impl Display + ?Sized)) {
        let new = self.folder.path().join(".new");
        std::fs::write(&new, yaml.to_string()).unwrap();
        std::fs::rename(new, self.folder.path().join(name)).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Returns the processor time used, in ticks of `CLK_TCK` (10 ms on Linux).
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let fields = after_name.split(' ').skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// Returns how often its threads went to sleep since their start, and so woke.
    pub(crate) fn wake_ups(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let switches = |task: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.unwrap().trim().parse::<u64>().unwrap()
        };
        tasks.map(switches).sum()
    }

    /// Waits for the exit and for the end of the log. Returns the status and the time until the exit.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.started.child.try_wait().unwrap() {
                let took = began.elapsed();
                crate::support::until("the log of the program has ended", || self.has_logged_all());
                return (status, took);
            }
            assert!(began.elapsed() < DEADLINE, "the program does not exit: {}", self.log());
            std::thread::yield_now();
        }
    }
}
