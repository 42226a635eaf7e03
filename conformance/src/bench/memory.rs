//! `--case memory`: RSS per connection that does nothing, in each of three states.
//!
//! Every peer is started anew for each state, so that no state's memory serves the next one. Connections are opened one
//! after another, looked at while they stand, and checked to be open still when memory was read. Not here: memory in
//! the kernel.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::figure::{Figure, Goal, Spread};
use super::http::{self, HOST, Scheme};
use super::peer::{ClientTimeouts, Peer, PeerKind, PeerSetup};
use super::process::Cores;
use super::tell;
use super::tls::{Certificate, TlsClient};

/// More rounds show nothing new: a peer's figures differ by a few bytes.
const MAX_ROUNDS: u32 = 3;
/// Connections that are opened and closed before memory is read for the first time: what the first ones cost
/// (code pages, pools, upstream connections) is no cost of the later ones.
const WARM_UP_CONNECTIONS: usize = 100;

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionState {
    /// Plaintext, one request was answered.
    Idle,
    /// TLS, one request was answered.
    IdleTls,
    /// Plaintext, half a header was sent.
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

    /// KiB that DESIGN §8 accepts.
    fn limit(self) -> f64 {
        match self {
            Self::Idle => 2.0,
            Self::IdleTls => 16.0,
            Self::SlowHeader => 6.0,
        }
    }
}

/// What is measured, and where.
pub(crate) struct MemoryCase<'a> {
    /// Who, with the program.
    pub(crate) peers: &'a BTreeMap<PeerKind, PathBuf>,
    /// Where the proxy runs.
    pub(crate) cores: Cores,
    /// For the peers' files.
    pub(crate) dir: &'a Path,
    /// Ports of the endpoints.
    pub(crate) endpoints: [u16; 2],
    /// What the peers show.
    pub(crate) certificate: &'a Certificate,
}

impl MemoryCase<'_> {
    /// Measures so many connections of each state, at most three times.
    ///
    /// # Errors
    /// A peer cannot be started or dies, or closes a connection.
    pub(crate) fn measure(&self, connections: u32, rounds: u32) -> Result<Vec<Figure>> {
        let client = self.certificate.client()?;
        let mut figures = Vec::new();
        for state in STATES {
            let mut kib: BTreeMap<PeerKind, Vec<f64>> = BTreeMap::new();
            for round in 1..=rounds.min(MAX_ROUNDS) {
                for (&kind, program) in self.peers {
                    let folder = self.dir.join(format!("memory-{kind}-{state:?}-{round}"));
                    let mut peer = self.start(kind, &folder, program)?;
                    let each = per_connection(&mut peer, state, (connections, &client))
                        .with_context(|| format!("{kind}, {}", state.title()))?;
                    tell(&format!("{}: round {round} {kind:8} {each:.3} KiB", state.title()));
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
        Peer::start(kind, dir, (program, self.cores.proxy), &setup)
    }
}

/// What each of so many connections adds to a peer's memory, in KiB.
fn per_connection(
    peer: &mut Peer,
    state: ConnectionState,
    (count, client): (u32, &TlsClient),
) -> Result<f64> {
    let port = peer.port(if state == ConnectionState::IdleTls { Scheme::Https } else { Scheme::Http });
    for _ in 0..WARM_UP_CONNECTIONS {
        drop(open(port, state, client)?);
    }
    let before = peer.process().settled_rss()?;
    let mut held = Vec::new();
    for number in 1..=count {
        held.push(open(port, state, client).with_context(|| format!("connection {number} of {count}"))?);
    }
    let after = peer.process().settled_rss()?;
    let closed = held.iter().filter(|stream| !is_open(stream)).count();
    ensure!(closed == 0, "{closed} of {count} connections were closed before memory was read");
    Ok((after as f64 - before as f64) / f64::from(count) / 1024.0)
}

/// Opens a connection and brings it into a state. Of TLS only the socket is kept: the peer cannot tell.
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

/// Whether the other side has neither closed nor answered.
fn is_open(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::is_open;

    #[test]
    fn a_closed_or_answered_connection_does_not_pass_for_open() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(is_open(&stream));
        other.write_all(b"HTTP/1.1 408 Too Slow\r\n").unwrap();
        // Blocks until the bytes have come.
        stream.set_nonblocking(false).unwrap();
        stream.peek(&mut [0]).unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(!is_open(&stream), "answered");

        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(stream.peek(&mut [0]).unwrap(), 0);
        stream.set_nonblocking(true).unwrap();
        assert!(!is_open(&stream), "closed");
    }
}
