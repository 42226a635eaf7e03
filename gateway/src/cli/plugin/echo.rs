//! The endpoint of `gateway plugin run`: answers each request with what it received.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::IntoResponse;
use tokio::runtime::Handle;

use super::listener;

/// Starts the endpoint. Returns its address.
///
/// # Errors
/// No port is free.
pub(super) fn serve(runtime: &Handle) -> anyhow::Result<SocketAddr> {
    let (listener, address) = listener::bind(runtime)?;
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, Router::new().fallback(echo)).await {
            tracing::error!(%error, "the echo endpoint stopped");
        }
    });
    Ok(address)
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let mut text = format!("{method} {uri}\n");
    for (name, value) in &headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    if !body.is_empty() {
        let _ = write!(text, "\n{}", String::from_utf8_lossy(&body));
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}
