//! The proxies: configured for equal work, one worker each, and started.
//!
//! Equal work: route by Host and path, keep-alive both ways, round robin over two endpoints, and set
//! X-Forwarded-For, -Proto, -Host, -Port and X-Real-IP from scratch, whatever the client sent.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::backend;
use super::http::{self, HOST};
use super::process::{self, CpuTime, Process};

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// nginx from Debian.
    Nginx,
    /// HAProxy from Debian: the one that ratios are against.
    Haproxy,
    /// Ours.
    Gateway,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Gateway => "gateway",
        })
    }
}

/// The first line that a program says about its version.
pub(crate) fn version(kind: Kind, program: &Path) -> String {
    let flag = if kind == Kind::Gateway { "--version" } else { "-v" };
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    // nginx says it on standard error.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// A running proxy that answers.
pub(crate) struct Peer {
    kind: Kind,
    process: Process,
    port: u16,
}

impl Peer {
    /// Starts a proxy on a core, in front of these ports, and waits for its first 200.
    pub(crate) fn start(
        kind: Kind,
        dir: &Path,
        (program, core): (&Path, usize),
        endpoints: [u16; 2],
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        process::with_free_ports(|[port, https, admin]| {
            let command = match kind {
                Kind::Nginx => backend::nginx_command(program, dir, core, &nginx_config(port, endpoints))?,
                Kind::Haproxy => haproxy_command(program, dir, core, &haproxy_config(port, endpoints))?,
                Kind::Gateway => gateway_command((program, core), dir, [port, https, admin], endpoints)?,
            };
            let mut process = Process::spawn(&kind.to_string(), command, dir)?;
            if kind == Kind::Gateway {
                process.wait_until(|| is_ok(admin, "/readyz"))?;
            }
            process.wait_until(|| is_ok(port, "/"))?;
            Ok(Self { kind, process, port })
        })
    }

    /// Which proxy it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The port that it serves on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process that does the work.
    pub(crate) fn process(&self) -> &Process {
        &self.process
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

fn is_ok(port: u16, path: &str) -> bool {
    http::get(port, path, "").is_ok_and(|answer| answer.status == 200)
}

fn nginx_config(port: u16, [first, second]: [u16; 2]) -> String {
    format!(
        "  upstream bench {{\n    server 127.0.0.1:{first};\n    server 127.0.0.1:{second};\n    keepalive 64;\n    \
         keepalive_requests 1000000000;\n  }}\n  server {{ listen 127.0.0.1:{port} default_server; return 404; }}\n  \
         server {{\n    listen 127.0.0.1:{port};\n    server_name {HOST};\n    location / {{\n      \
         proxy_pass http://bench;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-For $remote_addr;\n      \
         proxy_set_header X-Forwarded-Proto $scheme;\n      proxy_set_header X-Forwarded-Host $http_host;\n      \
         proxy_set_header X-Forwarded-Port $server_port;\n      proxy_set_header X-Real-IP $remote_addr;\n      \
         proxy_pass_header Server;\n    }}\n  }}\n"
    )
}

fn haproxy_config(port: u16, [first, second]: [u16; 2]) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 8192\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         timeout http-request 10s\n  timeout http-keep-alive 75s\n\
         frontend bench\n  bind 127.0.0.1:{port}\n  \
         http-request set-header X-Forwarded-For %[src]\n  http-request set-header X-Forwarded-Proto http\n  \
         http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  \
         http-request set-header X-Forwarded-Port %[dst_port]\n  http-request set-header X-Real-IP %[src]\n  \
         http-request deny deny_status 404 unless {{ req.hdr(host) -i {HOST} }} {{ path_beg / }}\n  \
         default_backend bench\n\
         backend bench\n  balance roundrobin\n  http-reuse always\n  \
         server first 127.0.0.1:{first}\n  server second 127.0.0.1:{second}\n"
    )
}

fn haproxy_command(program: &Path, dir: &Path, core: usize, config: &str) -> Result<Command> {
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = process::pinned(core, program);
    // `-db`: one process in the foreground.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn gateway_command(
    (program, core): (&Path, usize),
    dir: &Path,
    [http, https, admin]: [u16; 3],
    endpoints: [u16; 2],
) -> Result<Command> {
    let files = dir.join("files");
    fs::create_dir_all(&files)?;
    fs::write(files.join("bench.yaml"), ingress(endpoints))?;
    let mut command = process::pinned(core, program);
    command.arg("run").arg("--files").arg(files).args(["--workers", "1", "--set", "accessLog.to=off"]);
    for (flag, port) in [("--http", http), ("--https", https), ("--admin", admin)] {
        command.arg(flag).arg(format!("127.0.0.1:{port}"));
    }
    Ok(command)
}

fn ingress([first, second]: [u16; 2]) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: bench
  namespace: default
spec:
  ingressClassName: gateway
  rules:
    - host: {HOST}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: bench
                port:
                  number: 80
---
apiVersion: v1
kind: Service
metadata:
  name: bench
  namespace: default
  annotations:
    wasm-gateway.dev/endpoints: \"127.0.0.1:{first},127.0.0.1:{second}\"
spec:
  ports:
    - port: 80
"
    )
}
