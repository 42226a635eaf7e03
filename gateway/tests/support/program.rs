//! The built program as a child process, for what cannot be seen from inside: signals, its end, its limits.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{DEADLINE, Message, Wire};

/// `gateway run` over a folder of its own; killed when the test is over, however it ends.
pub(crate) struct Program {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// All that it logged.
    log: Arc<Mutex<String>>,
    folder: TempDir,
}

impl Program {
    /// Starts with one file and these settings (`KEY=VALUE`), and waits until it is ready.
    pub(crate) fn start(yaml: &str, settings: &[&str]) -> Self {
        Self::limited(yaml, settings, None)
    }

    /// The same, with a hard limit of file descriptors.
    pub(crate) fn limited(yaml: &str, settings: &[&str], descriptors: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), yaml).unwrap();
        let program = env!("CARGO_BIN_EXE_gateway");
        let mut command = match descriptors {
            None => Command::new(program),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {most}; exec \"$0\" \"$@\"")).arg(program);
                shell
            }
        };
        command.arg("run").arg("--files").arg(folder.path()).args(["--workers", "1"]);
        for flag in ["--http", "--https", "--admin"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        // Standard output is the test runner's.
        command.args(["--set", "accessLog.to=off"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.env_remove("GATEWAY_LOG").stderr(Stdio::piped()).spawn().unwrap();
        let (log, listening) = follow(BufReader::new(child.stderr.take().unwrap()));
        let line = listening.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|_| panic!("it does not listen: {}", log.lock().unwrap()));
        let address = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap().trim().parse().unwrap()
        };
        let (http, https, admin) = (address("http"), address("https"), address("admin"));
        let started = Self { child, http, https, admin, log, folder };
        crate::support::until("it is ready", || started.ready().status() == 200);
        started
    }

    pub(crate) fn ready(&self) -> Message {
        Wire::connect(self.admin).get("admin", "/readyz")
    }

    /// Renames new content into place. Nothing is waited for.
    pub(crate) fn rename(&self, name: &str, yaml: &str) {
        let new = self.folder.path().join(".new");
        std::fs::write(&new, yaml).unwrap();
        std::fs::rename(new, self.folder.path().join(name)).unwrap();
    }

    /// How much memory of it is in use, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How much time the processor has spent on it, in ticks of `CLK_TCK` (10 ms on Linux).
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let fields = after_name.split(' ').skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// Waits for the end, and says how it ended and how long that took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            assert!(began.elapsed() < DEADLINE, "it does not end: {}", self.log());
            std::thread::yield_now();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gathers what is logged, and gives the line that says where it listens.
fn follow(stderr: impl BufRead + Send + 'static) -> (Arc<Mutex<String>>, mpsc::Receiver<String>) {
    let log = Arc::new(Mutex::new(String::new()));
    let (sender, listening) = mpsc::channel();
    let gathered = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            *gathered.lock().unwrap() += &format!("{line}\n");
            if line.contains(" listening ") {
                let _ = sender.send(line);
            }
        }
    });
    (log, listening)
}
