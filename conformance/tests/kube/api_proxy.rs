//! A TCP proxy between a gateway and the API server. A test can stall or close its connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::endpoint::NODE_IP;

/// A running proxy. Its threads end with their connections.
pub(crate) struct ApiProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Connections with a lower number are stalled: the proxy reads their bytes and drops them.
    stalled_below: AtomicU64,
    is_cut: AtomicBool,
    opened: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl ApiProxy {
    /// Starts a proxy to `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((NODE_IP, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepted = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // An unreachable target closes the client's connection, as a host without a listener does.
                let _ = forward(&accepted, client, target);
            }
        });
        Self { address, shared }
    }

    /// Stalls all open connections without closing them. New connections work.
    pub(crate) fn stall(&self) {
        self.shared.stalled_below.store(self.shared.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Closes all connections, and new ones on accept.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Accepts connections again.
    pub(crate) fn restore(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

fn forward(shared: &Arc<Shared>, client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    if shared.is_cut.load(Ordering::SeqCst) {
        return Ok(());
    }
    let server = TcpStream::connect(target)?;
    let number = shared.opened.fetch_add(1, Ordering::SeqCst);
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to, shared) = (from.try_clone()?, to.try_clone()?, Arc::clone(shared));
        shared.open.lock().unwrap().push(from.try_clone()?);
        std::thread::spawn(move || copy(&shared, number, from, to));
    }
    Ok(())
}

fn copy(shared: &Shared, number: u64, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16384];
    let is_stalled = || number < shared.stalled_below.load(Ordering::SeqCst);
    while let Ok(count) = from.read(&mut buffer) {
        if is_stalled() && count > 0 {
            continue;
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The end of a stalled direction is not forwarded either.
    if !is_stalled() {
        let _ = to.shutdown(Shutdown::Both);
    }
}
