//! A started gateway program: where it listens, what it logs, how much memory it has.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// The child process; killed when it is dropped.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// All that it logged.
    log: Arc<Mutex<String>>,
}

impl Started {
    /// Starts it, and waits until it says where it listens.
    pub(crate) fn new(command: &mut Command, limit: Duration) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (log, listening) = follow(BufReader::new(child.stderr.take().unwrap()));
        let line = listening.recv_timeout(limit);
        let line = line.unwrap_or_else(|_| panic!("it does not listen: {}", log.lock().unwrap()));
        let address = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap().trim().parse().unwrap()
        };
        Self { child, http: address("http"), https: address("https"), admin: address("admin"), log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Whether all that it logged has been gathered, which may be a moment after its end.
    #[allow(dead_code, reason = "only some of those who start it wait for its end")]
    pub(crate) fn has_logged_all(&self) -> bool {
        // The thread that gathers ends with the log.
        Arc::strong_count(&self.log) == 1
    }

    /// How much memory of it is in use, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Kills it, if it still runs.
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
