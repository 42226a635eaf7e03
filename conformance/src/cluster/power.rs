//! `cluster stop` and `cluster start`: requests over a Unix socket in the cluster's tmpfs.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::args::PowerTarget;
use super::control_plane::ControlPlane;
use super::layout;
use super::node::Nodes;

/// Name of the API server on the command line. All other names are nodes.
const API_SERVER: &str = "api-server";

/// Maximum bytes of a request. Longer requests are truncated and fail to parse.
const MAX_REQUEST_BYTES: u64 = 256;

/// The requested change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerAction {
    Stop,
    Start,
}

/// Sends a request to the running cluster and waits until it is executed.
///
/// # Errors
/// No cluster is running here, it has no part of that name, or the part cannot be stopped or started.
pub(super) fn send_request(action: PowerAction, target: &PowerTarget) -> anyhow::Result<ExitCode> {
    let mut stream = StdStream::connect(layout::path("control"))
        .context("no cluster is running here: this command works inside `conformance cluster run` only")?;
    let action = match action {
        PowerAction::Stop => "stop",
        PowerAction::Start => "start",
    };
    write!(stream, "{action} {}", target.name)?;
    stream.shutdown(Shutdown::Write)?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    ensure!(response == "ok", "{response}");
    Ok(ExitCode::SUCCESS)
}

/// A received request.
pub(super) struct PowerRequest {
    action: PowerAction,
    name: String,
    client: UnixStream,
}

/// Starts to accept requests.
///
/// # Errors
/// The socket cannot be created.
pub(super) fn listen() -> anyhow::Result<mpsc::Receiver<PowerRequest>> {
    let listener = UnixListener::bind(layout::path("control"))?;
    let (sender, power_requests) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            match read_request(client).await {
                Ok(request) => {
                    if sender.send(request).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "malformed request"),
            }
        }
    });
    Ok(power_requests)
}

async fn read_request(mut client: UnixStream) -> anyhow::Result<PowerRequest> {
    let mut text = String::new();
    (&mut client).take(MAX_REQUEST_BYTES).read_to_string(&mut text).await?;
    let (action, name) = text.split_once(' ').context("no action")?;
    let action = match action {
        "stop" => PowerAction::Stop,
        "start" => PowerAction::Start,
        _ => bail!("unknown action"),
    };
    Ok(PowerRequest { action, name: name.to_owned(), client })
}

impl PowerRequest {
    /// Executes the request and sends the result.
    ///
    /// # Cancellation
    /// Dropping the future may leave the part in transition, and closes the connection without a result.
    pub(super) async fn execute(mut self, control_plane: &mut ControlPlane, nodes: &mut Nodes) {
        let done = match (self.name.as_str(), self.action) {
            (API_SERVER, PowerAction::Stop) => control_plane.stop_api_server().await,
            (API_SERVER, PowerAction::Start) => control_plane.start_api_server().await,
            (name, PowerAction::Stop) => nodes.power_off(name).await,
            (name, PowerAction::Start) => nodes.power_on(name).await,
        };
        let response = done.err().map_or_else(|| "ok".to_owned(), |error| format!("{error:#}"));
        // The client may have closed the connection.
        let _ = self.client.write_all(response.as_bytes()).await;
    }
}
