//! A gateway process: its addresses, log and memory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A gateway process. Its drop kills it.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Its log so far.
    log: Arc<Mutex<String>>,
}

impl Started {
    /// Starts the process, and waits until it logs its addresses.
    pub(crate) fn new(command: &mut Command, limit: Duration) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (log, listening) = follow(BufReader::new(child.stderr.take().unwrap()));
        let line = listening.recv_timeout(limit);
        let line = line.unwrap_or_else(|_| panic!("the program does not listen: {}", log.lock().unwrap()));
        let address = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap().trim().parse().unwrap()
        };
        Self { child, http: address("http"), https: address("https"), admin: address("admin"), log }
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Returns true if the log is complete, which may be shortly after the exit.
    #[allow(dead_code, reason = "not all users wait for the exit")]
    pub(crate) fn has_logged_all(&self) -> bool {
        // The reading thread ends with the log, and drops its reference.
        Arc::strong_count(&self.log) == 1
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Kills the process if it still runs.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the log on a thread. The receiver yields the record that names the addresses.
fn follow(stderr: impl BufRead + Send + 'static) -> (Arc<Mutex<String>>, mpsc::Receiver<String>) {
    let log = Arc::new(Mutex::new(String::new()));
    let (sender, listening) = mpsc::channel();
    let shared = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            *shared.lock().unwrap() += &format!("{line}\n");
            super::on_log_line();
            if line.contains(" listening ") {
                let _ = sender.send(line);
            }
        }
    });
    (log, listening)
}
