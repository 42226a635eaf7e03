//! `conformance echo`: the app behind the Ingresses. It answers every request with what it received, and who it is.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use serde::Serialize;

/// Where to listen.
#[derive(Debug, clap::Args)]
pub(crate) struct EchoArgs {
    /// The address; `PORT` in the environment sets the port alone.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// What an answer says.
#[derive(Debug, Serialize)]
struct EchoResponse {
    /// `NAMESPACE` and `POD_NAME` of the environment.
    namespace: String,
    pod: String,
    method: String,
    path: String,
    version: String,
    host: String,
    headers: BTreeMap<String, Vec<String>>,
}

/// Answers until SIGTERM or SIGINT, then finishes what it has begun.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn run(echo: &EchoArgs) -> anyhow::Result<ExitCode> {
    let port = std::env::var("PORT").ok().map(|port| port.parse()).transpose()?.unwrap_or(3000);
    let listen = echo.listen.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, port).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        axum::serve(listener, Router::new().fallback(echo_request)).with_graceful_shutdown(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn echo_request(request: Request) -> Json<EchoResponse> {
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in request.headers() {
        let values = headers.entry(name.to_string()).or_default();
        values.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let host = headers.get("host").and_then(|hosts| hosts.first()).cloned().unwrap_or_default();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    Json(EchoResponse {
        namespace: variable("NAMESPACE"),
        pod: variable("POD_NAME"),
        method: request.method().to_string(),
        path: request.uri().to_string(),
        version: format!("{:?}", request.version()),
        host,
        headers,
    })
}
