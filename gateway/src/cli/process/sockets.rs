//! The sockets of a gateway.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;

use crate::data::listener::sockets;
use crate::settings::{ListenerSettings, Settings};

/// The sockets of one listener, with the address that they have.
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

impl Bound {
    fn new(name: &str, address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let bound = sockets::bind(address, count);
        let (address, sockets) = bound.with_context(|| format!("cannot listen on {address} ({name})"))?;
        Ok(Self { address, sockets })
    }
}

/// The sockets of all listeners.
pub(super) struct Sockets {
    /// One for each worker.
    pub(super) http: Bound,
    /// One for each worker.
    pub(super) https: Bound,
    pub(super) admin: Bound,
    pub(super) probe: Option<Bound>,
}

impl Sockets {
    /// Binds the sockets of all listeners.
    ///
    /// # Errors
    /// Returns an error that names the listener and the address that cannot be bound.
    pub(super) fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let ListenerSettings { http, https, admin, probe } = settings.listeners;
        let workers = settings.workers();
        Ok(Self {
            http: Bound::new("http", http, workers)?,
            https: Bound::new("https", https, workers)?,
            admin: Bound::new("admin", admin, 1)?,
            probe: probe.map(|address| Bound::new("probe", address, 1)).transpose()?,
        })
    }
}
