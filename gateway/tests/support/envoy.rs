//! Envoy as a child process, with one listener and the plugins of a test.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use tempfile::TempDir;

use crate::envoy_config::{Setup, config};
use crate::support::{DEADLINE, Wire};

/// A running Envoy. Its drop kills it.
pub(crate) struct Envoy {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

impl Envoy {
    /// Starts Envoy, and waits until it listens.
    pub(crate) fn start(program: &std::path::Path, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, admin) = (folder.path().join("envoy.json"), folder.path().join("admin"));
        std::fs::write(&file, config(setup)).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("--admin-address-path").arg(&admin);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "info"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let started = follow(BufReader::new(child.stderr.take().unwrap()));
        let log = started.recv_timeout(DEADLINE).expect("Envoy does not start");
        log.unwrap_or_else(|log| panic!("Envoy refuses its configuration: {log}"));
        let admin: SocketAddr = std::fs::read_to_string(admin).unwrap().trim().parse().unwrap();
        let listeners = Wire::connect(admin).get("admin", "/listeners?format=json");
        let listeners: serde_json::Value = serde_json::from_slice(&listeners.body).unwrap();
        let port = &listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"];
        let port = u16::try_from(port.as_u64().unwrap()).unwrap();
        Self { child, address: ([127, 0, 0, 1], port).into(), _folder: folder }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log on a thread. The receiver yields once: Envoy serves, or the log of an Envoy that ended.
fn follow(log: impl BufRead + Send + 'static) -> mpsc::Receiver<Result<(), String>> {
    let (sender, started) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        for line in log.lines().map_while(Result::ok) {
            text += &format!("{line}\n");
            if line.contains("starting main dispatch loop") {
                let _ = sender.send(Ok(()));
            }
        }
        let _ = sender.send(Err(text));
    });
    started
}
