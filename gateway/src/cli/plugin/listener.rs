//! Sockets of the servers beside a gateway of plugin authors.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// Listens on a free port of this machine. Returns the address too.
///
/// # Errors
/// No port is free.
pub(super) fn bind(runtime: &Handle) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free on 127.0.0.1")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let _inside = runtime.enter();
    Ok((TcpListener::from_std(listener)?, address))
}
