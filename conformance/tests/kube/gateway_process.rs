//! The built gateway as a child process on the cluster's host.

#[path = "../../../gateway/tests/support/started.rs"]
mod started;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use conformance::http::Response;

use self::started::Started;
use crate::cluster::{WAIT_TIMEOUT, wait_until};
use crate::http_client;

/// Called for each line that the gateway logs. Conditions are polled here.
fn on_log_line() {}

/// A `gateway run` process. It is killed on drop.
pub(crate) struct Gateway(Started);

/// Returns the path of the program, which is beside the conformance program.
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
    /// Starts the gateway and waits until it is ready.
    pub(crate) fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let started = Self::spawn(kubeconfig, flags);
        wait_until("the gateway is ready", || started.page("/readyz").status == 200);
        started
    }

    /// Starts the gateway and waits until it listens.
    pub(crate) fn spawn(kubeconfig: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.arg("run").arg("--kubeconfig").arg(kubeconfig).args(["--workers", "1"]);
        command.args(["--set", "accessLog.to=off"]);
        for flag in ["--http", "--https", "--admin", "--probe"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.args(flags);
        command
            .env("GATEWAY_LOG", "info,gateway::control::source=debug,gateway::control::status=debug")
            .env("NODE_NAME", "node-1");
        Self(Started::new(&mut command, WAIT_TIMEOUT))
    }

    /// Requests an admin page.
    pub(crate) fn page(&self, path: &str) -> Response {
        http_client::fetch(self.admin, "admin", path).unwrap()
    }

    /// Requests the root path of a host through the gateway.
    pub(crate) fn get(&self, host: &str) -> Response {
        http_client::fetch(self.http, host, "/").unwrap()
    }

    /// Waits until the named endpoint responds for a host.
    pub(crate) fn wait_until_served_by(&self, host: &str, endpoint: &str) {
        wait_until(&format!("{host} is served by {endpoint}"), || self.get(host).is(200, endpoint));
    }

    /// Waits until the response for a host has this status.
    pub(crate) fn wait_until_status(&self, host: &str, status: u16) {
        wait_until(&format!("{host} has status {status}"), || self.get(host).status == status);
    }

    /// Sends SIGTERM. The gateway drains.
    pub(crate) fn terminate(&self) {
        crate::cluster::run("kill", &["-TERM", &self.child.id().to_string()]);
    }

    /// Stops the gateway. Panics if it exited before, or if the API server forbade a call.
    pub(crate) fn stop(self) {
        assert!(!self.log().contains("forbidden"), "a call was forbidden");
        self.stop_after_api_restart();
    }

    /// Stops the gateway after a restart of the API server. Panics if it exited before, or if a Problem remains.
    ///
    /// A restarting API server forbids allowed calls until it has loaded its rules. These Problems must end.
    pub(crate) fn stop_after_api_restart(mut self) {
        assert_eq!(self.0.child.try_wait().unwrap(), None, "the gateway exited");
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
            crate::print_past_capture(&format!("the last log lines of the gateway:\n{text}"));
        }
    }
}
