//! The built gateway as a child process, beside its cluster's API server.

#[path = "../../../gateway/tests/support/started.rs"]
mod started;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::started::Started;
use crate::cluster::{DEADLINE, wait_until};
use crate::http_client::{self, Response};

/// `gateway run`; killed when the test is over, however it ends.
pub(crate) struct Gateway(Started);

/// Where the program is: beside the conformance program.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("gateway")
}

impl Deref for Gateway {
    type Target = Started;

    fn deref(&self) -> &Started {
        &self.0
    }
}

impl Gateway {
    /// Starts, and waits until it is ready.
    pub(crate) fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let started = Self::spawn(kubeconfig, flags);
        wait_until("it is ready", || started.page("/readyz").status == 200);
        started
    }

    /// Starts, and waits until it listens.
    pub(crate) fn spawn(kubeconfig: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.arg("run").arg("--kubeconfig").arg(kubeconfig).args(["--workers", "1"]);
        command.args(["--set", "accessLog.to=off"]);
        for flag in ["--http", "--https", "--admin", "--probe"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.args(flags);
        command.env("GATEWAY_LOG", "info,gateway::control::source=debug").env("NODE_NAME", "node-1");
        Self(Started::new(&mut command, DEADLINE))
    }

    /// What an admin page says.
    pub(crate) fn page(&self, path: &str) -> Response {
        http_client::fetch(self.admin, "admin", path).unwrap()
    }

    /// What a host says through it.
    pub(crate) fn get(&self, host: &str) -> Response {
        http_client::fetch(self.http, host, "/").unwrap()
    }

    /// Waits until a host is answered by an endpoint.
    pub(crate) fn wait_until_served_by(&self, host: &str, endpoint: &str) {
        wait_until(&format!("{host} is served by {endpoint}"), || self.get(host).is(200, endpoint));
    }

    /// Waits until a host has this status.
    pub(crate) fn wait_until_status(&self, host: &str, status: u16) {
        wait_until(&format!("{host} answers {status}"), || self.get(host).status == status);
    }

    /// Ends it. It has to have run until now, and the API server must not have forbidden it anything.
    pub(crate) fn stop(self) {
        assert!(!self.log().contains("forbidden"), "a call was forbidden");
        self.stop_after_api_restart();
    }

    /// The same where the API server was started anew: until it knows its rules, it forbids what is allowed. Nothing
    /// of that may stay.
    pub(crate) fn stop_after_api_restart(mut self) {
        assert_eq!(self.0.child.try_wait().unwrap(), None, "it ended by itself");
        wait_until("nothing is forbidden", || !self.page("/problems").body.contains("NotPermitted"));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            let text: String = lines.iter().rev().map(|line| format!("| {line}\n")).collect();
            crate::print_past_capture(&format!("the gateway's last words:\n{text}"));
        }
    }
}
