//! The built gateway as a child process, beside its cluster's API server.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use crate::wire::{self, Answer};
use crate::world::{DEADLINE, until};

/// `gateway run`; killed when the test is over, however it ends.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// Where the program is: beside the conformance program.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("gateway")
}

impl Gateway {
    /// Starts, and waits until it is ready.
    pub(crate) fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let started = Self::begin(kubeconfig, flags);
        until("it is ready", || started.page("/readyz").status == 200);
        started
    }

    /// Starts, and waits until it listens.
    pub(crate) fn begin(kubeconfig: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.arg("run").arg("--kubeconfig").arg(kubeconfig).args(["--workers", "1"]);
        command.args(["--set", "accessLog.to=off"]);
        for flag in ["--http", "--https", "--admin", "--probe"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.args(flags);
        command.env("GATEWAY_LOG", "info,gateway::source=debug").env("NODE_NAME", "node-1");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (log, listening) = follow(BufReader::new(child.stderr.take().unwrap()));
        let line = listening.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|_| panic!("it does not listen: {}", log.lock().unwrap()));
        let address = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap().trim().parse().unwrap()
        };
        Self { child, http: address("http"), https: address("https"), admin: address("admin"), log }
    }

    /// What an admin page says.
    pub(crate) fn page(&self, path: &str) -> Answer {
        wire::fetch(self.admin, "admin", path).unwrap()
    }

    /// What a host says through it.
    pub(crate) fn get(&self, host: &str) -> Answer {
        wire::fetch(self.http, host, "/").unwrap()
    }

    /// Waits until a host is answered by an endpoint.
    pub(crate) fn until_served_by(&self, host: &str, origin: &str) {
        until(&format!("{host} is served by {origin}"), || self.get(host).is(200, origin));
    }

    /// Waits until a host has this status.
    pub(crate) fn until_status(&self, host: &str, status: u16) {
        until(&format!("{host} answers {status}"), || self.get(host).status == status);
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends it. It has to have run until now, and the API server must not have forbidden it anything.
    pub(crate) fn end(self) {
        assert!(!self.log().contains("forbidden"), "a call was forbidden");
        self.end_after_restart();
    }

    /// The same where the API server was started anew: until it knows its rules, it forbids what is allowed. Nothing
    /// of that may stay.
    pub(crate) fn end_after_restart(mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "it ended by itself");
        until("nothing is forbidden", || !self.page("/problems").body.contains("NotPermitted"));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            let text: String = lines.iter().rev().map(|line| format!("| {line}\n")).collect();
            crate::tell(&format!("the gateway's last words:\n{text}"));
        }
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
