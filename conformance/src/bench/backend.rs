//! The backend: one nginx process with two ports, which marks its responses and counts requests.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::case::LARGE_BODY_BYTES;
use super::http;
use super::process::{self, ChildProcess, PinnedProgram};

/// Response field with the backend's mark.
pub(crate) const MARK: &str = "X-Backend";
/// Response field of [`CHECK_PATH`] with the forwarding fields that the backend received.
pub(crate) const SEEN_FIELDS: &str = "X-Seen";
/// Path whose response contains [`SEEN_FIELDS`]. All other paths return the measured response.
pub(crate) const CHECK_PATH: &str = "/check";
/// Path of a body of [`LARGE_BODY_BYTES`] bytes.
pub(crate) const LARGE_PATH: &str = "/large";
/// Path of a body of [`MEDIUM_BODY_BYTES`] bytes.
pub(crate) const MEDIUM_PATH: &str = "/medium";
/// Bytes of a body that plugins rewrite: 64 KiB.
pub(crate) const MEDIUM_BODY_BYTES: u64 = 64 * 1024;
/// Body of the measured response: 92 bytes, about as much as a small API call returns.
pub(crate) const BODY: &str =
    r#"{"products":[{"id":1,"name":"anvil","stock":7},{"id":2,"name":"hammer","stock":12}],"p":"1"}"#;

/// Number of further loopback addresses that the backend listens on, and the last byte of the first one.
const EXTRA_ADDRESSES: u8 = 50;
const FIRST_EXTRA_ADDRESS: u8 = 2;

/// A running backend.
pub(crate) struct Backend {
    process: ChildProcess,
    ports: [u16; 2],
    status_port: u16,
    mark: String,
}

/// Counters of a backend since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BackendCounts {
    /// Accepted connections.
    pub(crate) accepts: u64,
    /// Completed requests.
    pub(crate) requests: u64,
}

impl BackendCounts {
    /// Returns the difference to earlier counters. The request that reads the counters is not counted.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            accepts: self.accepts.saturating_sub(earlier.accepts + 1),
            requests: self.requests.saturating_sub(earlier.requests + 1),
        }
    }
}

impl Backend {
    /// Starts a backend with this mark and waits until it responds.
    pub(crate) fn start(dir: &Path, nginx: PinnedProgram<'_>, mark: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        // A sparse file of zeros costs the backend least to read.
        for (path, size) in [(LARGE_PATH, LARGE_BODY_BYTES), (MEDIUM_PATH, MEDIUM_BODY_BYTES)] {
            fs::File::create(dir.join(path.trim_start_matches('/')))?.set_len(size)?;
        }
        process::with_free_ports(|[first, second, status_port]| {
            let config = config(mark, dir, [first, second], status_port);
            let process = ChildProcess::spawn("backend", nginx_command(nginx, dir, &config)?, dir)?;
            let mut backend = Self { process, ports: [first, second], status_port, mark: mark.to_owned() };
            backend.process.wait_until(|| http::get(status_port, "/", "").is_ok())?;
            Ok(backend)
        })
    }

    /// Returns addresses for `count` Services with one endpoint each, all of the same server.
    pub(crate) fn addresses(&self, count: u8) -> Vec<SocketAddr> {
        let [port, _] = self.ports;
        (0..count.min(EXTRA_ADDRESSES))
            .map(|index| ([127, 0, 0, FIRST_EXTRA_ADDRESS + index], port).into())
            .collect()
    }

    /// Returns the two ports of the backend.
    pub(crate) fn ports(&self) -> [u16; 2] {
        self.ports
    }

    /// Returns the value of [`MARK`] in the responses.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// Reads the counters. This is itself a request on a new connection, and is counted.
    pub(crate) fn counts(&self) -> Result<BackendCounts> {
        parse_counts(&http::get(self.status_port, "/", "")?.body)
            .context("unreadable counters of the backend")
    }
}

/// Returns a command that runs nginx as one process. All its files are below `dir`.
pub(crate) fn nginx_command(
    nginx: PinnedProgram<'_>,
    dir: &Path,
    http: &str,
) -> Result<std::process::Command> {
    let file = dir.join("nginx.conf");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {}/{what};\n", dir.display()))
        .concat();
    // Without a master process, the started process is the worker: it can be pinned, read and killed.
    let config = format!(
        "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  keepalive_requests 1000000000;\n  \
         keepalive_timeout 1h;\n{temporary}{http}}}\n",
        dir = dir.display()
    );
    fs::write(&file, config)?;
    let mut command = nginx.command();
    // `-e`: error log before the configuration is read. The default path may not be writable.
    command.arg("-e").arg(dir.join("start.log")).arg("-p").arg(dir).arg("-c").arg(&file);
    Ok(command)
}

fn config(mark: &str, dir: &Path, [first, second]: [u16; 2], status_port: u16) -> String {
    let extra_listeners: String = (FIRST_EXTRA_ADDRESS..FIRST_EXTRA_ADDRESS + EXTRA_ADDRESSES)
        .map(|last| format!("    listen 127.0.0.{last}:{first};\n"))
        .collect();
    format!(
        "  sendfile on;\n  server {{\n    listen 127.0.0.1:{first};\n    listen 127.0.0.1:{second};\n{extra_listeners}    \
         default_type application/json;\n    root {dir};\n    \
         location = {LARGE_PATH} {{ add_header {MARK} {mark}; }}\n    \
         location = {MEDIUM_PATH} {{ add_header {MARK} {mark}; }}\n    \
         location / {{ add_header {MARK} {mark}; return 200 '{BODY}'; }}\n    \
         location = {CHECK_PATH} {{\n      add_header {MARK} {mark};\n      add_header {SEEN_FIELDS} \
         \"$http_x_forwarded_for|$http_x_forwarded_proto|$http_x_forwarded_host|$http_x_forwarded_port|$http_x_real_ip\";\
         \n      return 200 'ok';\n    }}\n  }}\n  \
         server {{ listen 127.0.0.1:{status_port}; location / {{ stub_status; }} }}\n",
        dir = dir.display()
    )
}

/// Parses nginx's stub_status page. The third line contains accepts, handled and requests.
fn parse_counts(page: &str) -> Option<BackendCounts> {
    let mut numbers = page.lines().nth(2)?.split_whitespace().map(str::parse);
    let accepts = numbers.next()?.ok()?;
    let requests = numbers.nth(1)?.ok()?;
    Some(BackendCounts { accepts, requests })
}
