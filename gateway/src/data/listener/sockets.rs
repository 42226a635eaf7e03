//! Listening sockets: `SO_REUSEPORT` lets the workers share an address, each with its own accept queue.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Maximum connections in the accept queue of one worker. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds `address` once for each worker, and returns the bound address. Port 0 selects one free port for all workers.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if another socket has the address, [`io::ErrorKind::PermissionDenied`] for a privileged
/// port, and other errors of socket(2), bind(2) and listen(2).
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Another process can share a port bound with SO_REUSEPORT, and would silently receive half of the connections.
    // One bind without it shows that the address is free.
    if address.port() != 0 {
        drop(open(address, Sharing::Exclusive)?);
    }
    let first = open(address, Sharing::Shared)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(open(address, Sharing::Shared)?);
    }
    for listener in &listeners {
        socket2::SockRef::from(listener).listen(BACKLOG)?;
    }
    Ok((address, listeners))
}

/// Whether other sockets may bind the same address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Shared,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
