//! The proxies: one worker each, and started.
//!
//! Not here: what they are told to do (`peer::config`).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::backend;
use super::http::{self, Scheme};
use super::process::{self, ChildProcess, CpuTime};
use super::tls::Certificate;

mod config;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeerKind {
    /// nginx from Debian.
    Nginx,
    /// HAProxy from Debian: the one that ratios are against.
    Haproxy,
    /// HAProxy with `option splice-response`: measured beside HAProxy with large plaintext bodies only.
    #[value(skip)]
    HaproxySplice,
    /// Ours.
    Gateway,
}

impl PeerKind {
    /// The name of the program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxySplice => "haproxy",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HaproxySplice => "haproxy-splice",
            other => other.program(),
        })
    }
}

/// How long a client may take over its next request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientTimeouts {
    /// As by default, or 10 s for a header and 75 s between requests where there is no default.
    Default,
    /// Ten minutes, for connections that are opened to be looked at.
    Long,
}

impl ClientTimeouts {
    fn seconds(self, default: u32) -> u32 {
        match self {
            Self::Default => default,
            Self::Long => 600,
        }
    }
}

/// What all peers of a run have in common.
pub(crate) struct PeerSetup<'a> {
    /// Ports of the two endpoints.
    pub(crate) endpoints: [u16; 2],
    /// What is shown to TLS clients.
    pub(crate) certificate: &'a Certificate,
    /// With clients.
    pub(crate) timeouts: ClientTimeouts,
}

/// The first line that a program says about its version.
pub(crate) fn version(kind: PeerKind, program: &Path) -> String {
    let flag = if kind == PeerKind::Gateway { "--version" } else { "-v" };
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    // nginx says it on standard error.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// A running proxy that answers.
pub(crate) struct Peer {
    kind: PeerKind,
    process: ChildProcess,
    ports: [u16; 2],
}

impl Peer {
    /// Starts a proxy on a core, in front of the endpoints, and waits for its first 200.
    pub(crate) fn start(
        kind: PeerKind,
        dir: &Path,
        (program, core): (&Path, usize),
        setup: &PeerSetup<'_>,
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let pem = setup.certificate.write(dir)?;
        process::with_free_ports(|[port, https, admin]| {
            let (ports, endpoints, timeouts) = ([port, https], setup.endpoints, setup.timeouts);
            let command = match kind {
                PeerKind::Nginx => {
                    let config = config::nginx(ports, endpoints, &pem, timeouts);
                    backend::nginx_command(program, dir, core, &config)?
                }
                PeerKind::Haproxy | PeerKind::HaproxySplice => {
                    let config = config::haproxy(kind, ports, (endpoints, &pem), timeouts);
                    haproxy_command(program, dir, core, &config)?
                }
                PeerKind::Gateway => gateway(program, core)
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

    /// Which proxy it is.
    pub(crate) fn kind(&self) -> PeerKind {
        self.kind
    }

    /// The port that it serves on.
    pub(crate) fn port(&self, scheme: Scheme) -> u16 {
        let [http, https] = self.ports;
        match scheme {
            Scheme::Http => http,
            Scheme::Https => https,
        }
    }

    /// The process that does the work.
    pub(crate) fn process(&mut self) -> &mut ChildProcess {
        &mut self.process
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        self.process.cpu()
    }

    /// # Errors
    /// The process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }
}

/// Whether a loopback port answers 200.
pub(crate) fn is_ok(port: u16, path: &str) -> bool {
    http::get(port, path, "").is_ok_and(|answer| answer.status == 200)
}

fn haproxy_command(program: &Path, dir: &Path, core: usize, config: &str) -> Result<Command> {
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = process::pinned(core, program);
    // `-db`: one process in the foreground.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

/// The beginning of a command that runs the gateway on a core, with one worker and no access log.
pub(crate) fn gateway(program: &Path, core: usize) -> GatewayCommand {
    let mut command = process::pinned(core, program);
    command.arg("run").args(["--set", "accessLog.to=off"]);
    GatewayCommand { command, workers: 1 }
}

/// A command that runs the gateway, being made.
pub(crate) struct GatewayCommand {
    command: Command,
    workers: u16,
}

impl GatewayCommand {
    /// With these objects in a folder below `dir`.
    pub(crate) fn files(self, dir: &Path, yaml: &str) -> Result<Self> {
        let files: PathBuf = dir.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("bench.yaml"), yaml)?;
        Ok(self.folder(&files))
    }

    /// With the objects in a folder.
    pub(crate) fn folder(mut self, files: &Path) -> Self {
        self.command.arg("--files").arg(files);
        self
    }

    /// With the objects of a cluster.
    pub(crate) fn cluster(mut self, kubeconfig: &Path) -> Self {
        self.command.arg("--kubeconfig").arg(kubeconfig);
        self
    }

    /// With so many workers.
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

    /// The command, with the ports for plaintext, TLS and the admin pages.
    pub(crate) fn listen(mut self, [http, https, admin]: [u16; 3]) -> Command {
        self.command.arg("--workers").arg(self.workers.to_string());
        for (flag, port) in [("--http", http), ("--https", https), ("--admin", admin)] {
            self.command.arg(flag).arg(format!("127.0.0.1:{port}"));
        }
        self.command
    }
}
