//! One case in the real gateway: sockets, worker, instance, reload.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use api::plugin_case::{CaseRecord, CaseRequest, LogLine, PluginCase, RecordedMessage};
use plugin_host::{GuestCall, GuestLine, GuestObserver};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::sandbox::{self, SandboxRoute};
use super::script::{Received, Script};
use super::wire::{BodyRule, Connection, Outgoing};
use crate::cli::args::loopback;
use crate::cli::folder::Folder;
use crate::cli::process::Gateway;

/// Time limit of the request of a case.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the callbacks after the response.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs cases of one module.
pub(super) struct CaseRunner {
    module: Vec<u8>,
    runtime: Runtime,
    /// Holds compiled code, so that each gateway but the first starts at once.
    cache: Folder,
}

/// The log lines of a case.
#[derive(Debug, Default)]
struct CaseLog(Mutex<Vec<LogLine>>);

impl GuestObserver for CaseLog {
    fn on_call(&self, call: &GuestCall<'_>) {
        let Some(trap) = call.trap else { return };
        let frames: String = trap.frames.iter().map(|frame| format!("\n    {frame}")).collect();
        let message = format!("trap in {}: {}{frames}", call.what, trap.message);
        self.push(LogLine { level: "critical".to_owned(), message });
    }

    fn on_log(&self, line: &GuestLine<'_>) {
        self.push(LogLine { level: line.level.to_owned(), message: line.text.to_owned() });
    }
}

impl CaseLog {
    fn push(&self, line: LogLine) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CaseRunner {
    /// Creates a runner for a module.
    ///
    /// # Errors
    /// The module cannot be read, or the system has no thread.
    pub(super) fn new(module: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(module).with_context(|| format!("{} cannot be read", module.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { module: bytes, runtime, cache: Folder::temporary("gateway-plugin-cache")? })
    }

    /// Runs a case in a gateway of its own, so that no shared data or metric of another case exists.
    ///
    /// # Errors
    /// The plugin is refused, or this machine has no socket.
    pub(super) fn run(&self, case: &PluginCase) -> anyhow::Result<CaseRecord> {
        let script = Script::new(case);
        let handle = self.runtime.handle();
        let mut upstreams = Vec::new();
        for callout in &case.callouts {
            if !upstreams.iter().any(|(to, _)| *to == callout.to) {
                upstreams.push((callout.to.clone(), script.serve_callouts(handle, &callout.to)?));
            }
        }
        let folder = Folder::temporary("gateway-plugin-test")?;
        folder.replace(sandbox::MODULE, &self.module)?;
        let endpoint = script.serve_upstream(handle)?;
        SandboxRoute { endpoint, config: case.config.as_ref(), upstreams: &upstreams }.write(&folder)?;

        let log = Arc::new(CaseLog::default());
        let mut options = sandbox::options(&folder, loopback(0), Arc::clone(&log) as Arc<dyn GuestObserver>);
        options.settings.plugins.cache = Some(self.cache.path().to_owned());
        options.settings.drain.limit = END_TIMEOUT;
        let gateway = Gateway::start(&options)?;
        sandbox::wait_ready(&gateway)?;
        let address = gateway.http;
        let response = self.runtime.block_on(async {
            let response = send(address, &case.request);
            tokio::time::timeout(REQUEST_TIMEOUT, response).await.context("no response in time").flatten()
        });
        // Ends the request, with the callbacks after it.
        gateway.drain();
        let log = log.take();
        let Received { request, callouts } = script.received();
        let response = match response {
            Ok(response) => Some(response),
            Err(error) => {
                tracing::warn!("the client has no response: {error:#}");
                None
            }
        };
        Ok(CaseRecord { request, response, callouts, log })
    }
}

async fn send(address: std::net::SocketAddr, request: &CaseRequest) -> anyhow::Result<RecordedMessage> {
    let mut connection = Connection::new(TcpStream::connect(address).await?);
    let CaseRequest { method, authority, path, .. } = request;
    let message = Outgoing {
        start: &format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\n"),
        fields: &request.headers,
        pieces: &request.pieces(),
        trailers: &request.trailers,
        body: BodyRule::Optional,
    };
    // The plugin may reply before it has read the body.
    let _ = connection.send(&message).await;
    connection.response(method).await
}
