//! `--case memory`: RSS per idle connection in three states.
//!
//! Every peer is started again for each state, so that no state reuses the memory of another. Connections are opened
//! one after another and must still be open after memory was read. Kernel memory is not measured.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::figure::{Figure, Goal, Spread};
use super::http::{self, HOST, Scheme};
use super::peer::{ClientTimeouts, Peer, PeerKind, PeerSetup};
use super::process::{Cores, PinnedProgram};
use super::tls::{BenchCertificate, TlsClient};
use crate::terminal::print_message;

/// Maximum number of rounds. The figures of a peer differ by a few bytes only.
const MAX_ROUNDS: u32 = 3;
/// Connections that are opened and closed before the first reading. The one-time costs of the first connections (code
/// pages, pools, upstream connections) are not costs of later ones.
const WARM_UP_CONNECTIONS: usize = 100;

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionState {
    /// Plaintext, after one response.
    Idle,
    /// TLS, after one response.
    IdleTls,
    /// Plaintext, after half a request head.
    SlowHeader,
}

const STATES: [ConnectionState; 3] =
    [ConnectionState::Idle, ConnectionState::IdleTls, ConnectionState::SlowHeader];

impl ConnectionState {
    fn title(self) -> &'static str {
        match self {
            Self::Idle => "idle plaintext connection",
            Self::IdleTls => "idle TLS connection",
            Self::SlowHeader => "slow-header connection",
        }
    }

    /// Returns the maximum of DESIGN §8 in KiB.
    fn limit(self) -> f64 {
        match self {
            Self::Idle => 2.0,
            Self::IdleTls => 16.0,
            Self::SlowHeader => 6.0,
        }
    }
}

/// Inputs of the case.
pub(crate) struct MemoryCase<'a> {
    /// The peers and their programs.
    pub(crate) peers: &'a BTreeMap<PeerKind, PathBuf>,
    /// The cores of peers and load.
    pub(crate) cores: Cores,
    /// Folder for the peers' files.
    pub(crate) dir: &'a Path,
    /// Ports of the endpoints.
    pub(crate) endpoints: [u16; 2],
    /// BenchCertificate of the peers.
    pub(crate) certificate: &'a BenchCertificate,
}

impl MemoryCase<'_> {
    /// Measures this number of connections in each state, in at most three rounds.
    ///
    /// # Errors
    /// A peer cannot be started, exits, or closes a connection.
    pub(crate) fn measure(&self, connections: u32, rounds: u32) -> Result<Vec<Figure>> {
        let client = self.certificate.client()?;
        let mut figures = Vec::new();
        for state in STATES {
            let mut kib: BTreeMap<PeerKind, Vec<f64>> = BTreeMap::new();
            for round in 1..=rounds.min(MAX_ROUNDS) {
                for (&kind, program) in self.peers {
                    let folder = self.dir.join(format!("memory-{kind}-{state:?}-{round}"));
                    let mut peer = self.start(kind, &folder, program)?;
                    let each = per_connection(&mut peer, state, connections, &client)
                        .with_context(|| format!("{kind}, {}", state.title()))?;
                    print_message(&format!("{}: round {round} {kind:8} {each:.3} KiB", state.title()));
                    kib.entry(kind).or_default().push(each);
                }
            }
            figures.push(Figure {
                what: format!("{}, of {connections}", state.title()),
                unit: "KiB RSS",
                values: kib
                    .into_iter()
                    .filter_map(|(kind, rounds)| Some((kind, Spread::from_rounds(&rounds)?)))
                    .collect(),
                ratio: None,
                target: Goal::AtMost(state.limit()),
            });
        }
        Ok(figures)
    }

    fn start(&self, kind: PeerKind, dir: &Path, program: &Path) -> Result<Peer> {
        let setup = PeerSetup {
            endpoints: self.endpoints,
            certificate: self.certificate,
            timeouts: ClientTimeouts::Long,
        };
        Peer::start(kind, dir, PinnedProgram { path: program, core: self.cores.proxy }, &setup)
    }
}

/// Returns the memory that each connection adds to a peer, in KiB.
fn per_connection(peer: &mut Peer, state: ConnectionState, count: u32, client: &TlsClient) -> Result<f64> {
    let scheme = if state == ConnectionState::IdleTls { Scheme::Https } else { Scheme::Http };
    let port = peer.target(scheme).port;
    for _ in 0..WARM_UP_CONNECTIONS {
        drop(open(port, state, client)?);
    }
    let before = peer.process().settled_rss()?;
    let mut connections = Vec::new();
    for number in 1..=count {
        connections
            .push(open(port, state, client).with_context(|| format!("connection {number} of {count}"))?);
    }
    let after = peer.process().settled_rss()?;
    let closed = connections.iter().filter(|stream| !is_open(stream)).count();
    ensure!(closed == 0, "{closed} of {count} connections were closed before memory was read");
    Ok((after as f64 - before as f64) / f64::from(count) / 1024.0)
}

/// Opens a connection and brings it into a state. For TLS, only the socket is kept: the peer does not notice.
fn open(port: u16, state: ConnectionState, client: &TlsClient) -> Result<TcpStream> {
    let mut stream = http::connect(port)?;
    match state {
        ConnectionState::Idle => http::get_keep_alive(&mut stream, HOST)?,
        ConnectionState::IdleTls => {
            let mut tls = client.handshake(stream)?;
            http::get_keep_alive(&mut tls, HOST)?;
            stream = tls.sock;
        }
        ConnectionState::SlowHeader => {
            stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ").as_bytes())?
        }
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Returns whether the peer has neither closed the connection nor sent anything.
fn is_open(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::is_open;

    #[test]
    fn closed_or_readable_connection_is_not_open() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(is_open(&stream));
        other.write_all(b"HTTP/1.1 408 Too Slow\r\n").unwrap();
        // Blocks until the bytes have arrived.
        stream.set_nonblocking(false).unwrap();
        stream.peek(&mut [0]).unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(!is_open(&stream), "readable");

        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(stream.peek(&mut [0]).unwrap(), 0);
        stream.set_nonblocking(true).unwrap();
        assert!(!is_open(&stream), "closed");
    }
}
