//! `conformance echo`: the app behind the tested Ingresses. Responds to every request with its own content.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use serde::Serialize;

/// Options of `echo`.
#[derive(Debug, clap::Args)]
pub(crate) struct EchoArgs {
    /// Address to listen on. Defaults to port 3000 of all addresses; `PORT` in the environment sets the port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// Body of a response.
#[derive(Debug, Serialize)]
struct EchoResponse {
    /// `NAMESPACE` of the environment. `pod` is its `POD_NAME`.
    namespace: String,
    pod: String,
    method: String,
    path: String,
    version: String,
    host: String,
    headers: BTreeMap<String, Vec<String>>,
}

/// Serves until SIGTERM or SIGINT, then completes open requests.
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
