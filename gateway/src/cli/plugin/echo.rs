//! The endpoint of `gateway plugin run`: answers each request with what it received.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::IntoResponse;
use tokio::runtime::Handle;

/// Starts the endpoint. Returns its address.
///
/// # Errors
/// No port is free.
pub(super) fn serve(runtime: &Handle) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free on 127.0.0.1")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let _inside = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
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
