//! Listening sockets: `SO_REUSEPORT` lets the workers share an address, each with its own accept queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

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
        let socket = socket2::SockRef::from(listener);
        // Accepted connections inherit it, without a system call for each.
        socket.set_tcp_keepalive(&keep_alive_probes())?;
        socket.listen(BACKLOG)?;
    }
    Ok((address, listeners))
}

/// Returns when the kernel probes a silent client: after 60 s, and then each 15 s. A client that answers none of four
/// probes, such as a phone that has lost its network, is disconnected after two minutes. An idle tunnel lasts for an hour.
fn keep_alive_probes() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn accepted_connections_are_probed() {
        let (address, listeners) = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        listeners[0].set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let accepted = listeners[0].accept().unwrap().0;
        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    }
}
