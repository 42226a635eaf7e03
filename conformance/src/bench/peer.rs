//! The measured proxies, with one worker each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::backend;
use super::http::{self, LoadTarget, Scheme};
use super::process::{self, ChildProcess, CpuTime, PinnedProgram};
use super::tls::BenchCertificate;

mod config;
mod kind;

use config::ProxyConfig;
pub(crate) use kind::{ClientTimeouts, PeerKind};

/// Inputs that all peers of a run share.
pub(crate) struct PeerSetup<'a> {
    /// Ports of the two endpoints.
    pub(crate) endpoints: [u16; 2],
    /// BenchCertificate for TLS clients.
    pub(crate) certificate: &'a BenchCertificate,
    /// Timeouts towards clients.
    pub(crate) timeouts: ClientTimeouts,
}

/// Returns the first line of a program's version output.
pub(crate) fn version(kind: PeerKind, program: &Path) -> String {
    let flag = if kind == PeerKind::Gateway { "--version" } else { "-v" };
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    // nginx prints its version to standard error.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// A running proxy.
pub(crate) struct Peer {
    kind: PeerKind,
    process: ChildProcess,
    ports: [u16; 2],
}

impl Peer {
    /// Starts a proxy in front of the endpoints and waits for its first 200.
    pub(crate) fn start(
        kind: PeerKind,
        dir: &Path,
        program: PinnedProgram<'_>,
        setup: &PeerSetup<'_>,
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let pem = setup.certificate.write(dir)?;
        process::with_free_ports(|[port, https, admin]| {
            let (ports, endpoints, timeouts) = ([port, https], setup.endpoints, setup.timeouts);
            let config = ProxyConfig { ports, endpoints, pem: &pem, timeouts };
            let command = match kind {
                PeerKind::Nginx => backend::nginx_command(program, dir, &config.nginx())?,
                PeerKind::Haproxy | PeerKind::HaproxySplice => {
                    haproxy_command(program, dir, &config.haproxy(kind))?
                }
                PeerKind::Envoy => bail!("Envoy is measured by the case `plugins` only"),
                PeerKind::Gateway => gateway(program)
                    .files(dir, &config::gateway(endpoints, setup.certificate))?
                    .set(&[
                        ("timeouts.requestHeader", format!("{}s", timeouts.seconds(10))),
                        ("timeouts.keepAlive", format!("{}s", timeouts.seconds(75))),
                    ])
                    .listen([port, https, admin]),
            };
            let mut process = ChildProcess::spawn(&kind.to_string(), command, dir)?;
            if kind == PeerKind::Gateway {
                process.wait_until(|| is_ok(admin, "/readyz"))?;
            }
            process.wait_until(|| is_ok(port, "/"))?;
            Ok(Self { kind, process, ports })
        })
    }

    /// Returns the kind of the proxy.
    pub(crate) fn kind(&self) -> PeerKind {
        self.kind
    }

    /// Returns the port of a scheme.
    pub(crate) fn target(&self, scheme: Scheme) -> LoadTarget {
        let [http, https] = self.ports;
        let port = match scheme {
            Scheme::Http => http,
            Scheme::Https => https,
        };
        LoadTarget { scheme, port }
    }

    /// Returns the worker process.
    pub(crate) fn process(&mut self) -> &mut ChildProcess {
        &mut self.process
    }

    /// Returns the CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        self.process.cpu()
    }

    /// Checks that the process is running.
    ///
    /// # Errors
    /// The process has exited.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }
}

/// Returns whether a loopback port responds with 200.
pub(crate) fn is_ok(port: u16, path: &str) -> bool {
    http::get(port, path, "").is_ok_and(|response| response.status == 200)
}

fn haproxy_command(program: PinnedProgram<'_>, dir: &Path, config: &str) -> Result<Command> {
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = program.command();
    // `-db`: one process in the foreground.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

/// Starts to build a gateway command with one worker and without access log.
pub(crate) fn gateway(program: PinnedProgram<'_>) -> GatewayCommand {
    let mut command = program.command();
    command.arg("run").args(["--set", "accessLog.to=off"]);
    GatewayCommand { command, workers: 1 }
}

/// Builder of a command that runs the gateway.
pub(crate) struct GatewayCommand {
    command: Command,
    workers: u16,
}

impl GatewayCommand {
    /// Writes these objects into a folder below `dir` and serves them.
    pub(crate) fn files(self, dir: &Path, yaml: &str) -> Result<Self> {
        let files: PathBuf = dir.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("bench.yaml"), yaml)?;
        Ok(self.folder(&files))
    }

    /// Serves the objects of a folder.
    pub(crate) fn folder(mut self, files: &Path) -> Self {
        self.command.arg("--files").arg(files);
        self
    }

    /// Serves the objects of a cluster.
    pub(crate) fn cluster(mut self, kubeconfig: &Path) -> Self {
        self.command.arg("--kubeconfig").arg(kubeconfig);
        self
    }

    /// Lets the gateway write statuses and Events. Its Lease is in this namespace.
    pub(crate) fn reports(mut self, namespace: &str) -> Self {
        self.command.args(["--status-address", "192.0.2.1"]).env("POD_NAMESPACE", namespace);
        self
    }

    /// Sets the number of workers.
    pub(crate) fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    fn set(mut self, settings: &[(&str, String)]) -> Self {
        for (key, value) in settings {
            self.command.arg("--set").arg(format!("{key}={value}"));
        }
        self
    }

    /// Returns the command, with the ports for plaintext, TLS and the admin pages.
    pub(crate) fn listen(mut self, [http, https, admin]: [u16; 3]) -> Command {
        self.command.arg("--workers").arg(self.workers.to_string());
        for (flag, port) in [("--http", http), ("--https", https), ("--admin", admin)] {
            self.command.arg(flag).arg(format!("127.0.0.1:{port}"));
        }
        self.command
    }
}
