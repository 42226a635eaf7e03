//! A TCP proxy between a gateway and its API server, whose connections can be stalled or cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::endpoint::NODE_IP;

/// The proxy; its threads end with their connections.
pub(crate) struct ApiProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Connections with a lower number are stalled: what arrives is read and goes nowhere.
    stalled_below: AtomicU64,
    is_cut: AtomicBool,
    opened: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl ApiProxy {
    /// Forwards to `target` from now on.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((NODE_IP, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepted = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A target that is away closes the client's connection, as a machine without the program does.
                let _ = forward(&accepted, client, target);
            }
        });
        Self { address, shared }
    }

    /// From now on nothing moves on the connections there are, and nobody is told; new ones work.
    pub(crate) fn stall(&self) {
        self.shared.stalled_below.store(self.shared.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Ends all connections, and new ones as soon as they come.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
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
    let mut piece = [0; 16384];
    let is_stalled = || number < shared.stalled_below.load(Ordering::SeqCst);
    while let Ok(count) = from.read(&mut piece) {
        if is_stalled() && count > 0 {
            continue;
        }
        if count == 0 || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    // Half a connection that is stalled does not tell the other half of its end either.
    if !is_stalled() {
        let _ = to.shutdown(Shutdown::Both);
    }
}
