//! A small HTTP/1.1 client over anything that reads and writes, and a load that counts what fails.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// How long an answer may take that has nothing to wait for: milliseconds on an idle machine, with a margin for one
/// whose cores are shared with an API server that starts. It is less than any deadline of the gateway's for an endpoint
/// that does not answer, so nobody waits for one of those unnoticed.
pub(crate) const PROMPT: Duration = Duration::from_secs(2);

/// Between two requests of one load thread: 200 a second leave two cores to all others.
const PACE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is(&self, status: u16, body: &str) -> bool {
        self.status == status && self.body == body
    }
}

/// One connection.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

/// One request on a connection of its own.
pub(crate) fn fetch(address: SocketAddr, host: &str, path: &str) -> io::Result<Answer> {
    Wire::connect(address)?.get(host, path)
}

impl Wire<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
    }

    /// A POST with a body of so many bytes.
    pub(crate) fn post(&mut self, host: &str, path: &str, body: &str) -> io::Result<Answer> {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    fn send(&mut self, request: &str) -> io::Result<Answer> {
        self.stream.write_all(request.as_bytes())?;
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let bad = || io::Error::other(format!("not understood: {head}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).ok_or_else(bad)?;
        while self.read.len() < length {
            self.more()?;
        }
        let body = self.read.drain(..length).collect();
        Ok(Answer { status, body: String::from_utf8(body).map_err(io::Error::other)? })
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        let read = self.stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.extend_from_slice(&piece[..read]);
        Ok(())
    }
}

/// Requests without a break until it is ended: on one kept connection, opened anew after a failure.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: Option<JoinHandle<Report>>,
}

/// What a load saw.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) good: u64,
    pub(crate) bad: u64,
    /// The first failures, with the time since the load began.
    pub(crate) first: Vec<String>,
    pub(crate) slowest: Duration,
}

impl Load {
    /// Anything but a 200 is a failure.
    pub(crate) fn start(address: SocketAddr, host: &str) -> Self {
        let (stop, host) = (Arc::new(AtomicBool::new(false)), host.to_owned());
        let stopped = Arc::clone(&stop);
        let good = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&good);
        let thread = std::thread::spawn(move || {
            let (began, mut report, mut wire) = (Instant::now(), Report::default(), None);
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = once(&mut wire, address, &host);
                report.slowest = report.slowest.max(asked.elapsed());
                match answer {
                    Ok(answer) if answer.status == 200 => {
                        report.good += 1;
                        counted.store(report.good, Ordering::Relaxed);
                    }
                    failed => {
                        wire = None;
                        report.bad += 1;
                        if report.first.len() < 5 {
                            report.first.push(format!("{:?}: {failed:?}", began.elapsed()));
                        }
                    }
                }
                std::thread::sleep(PACE);
            }
            report
        });
        Self { stop, good, thread: Some(thread) }
    }

    /// How many requests were answered so far.
    pub(crate) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// Ends it; not one request may have failed, or have hung.
    pub(crate) fn end_without_failure(self) -> Report {
        self.end_without_failure_within(PROMPT)
    }

    /// The same with another limit for the slowest answer.
    pub(crate) fn end_without_failure_within(self, limit: Duration) -> Report {
        let report = self.end();
        assert_eq!(report.bad, 0, "{report:?}");
        assert!(report.slowest < limit, "a request hung: {report:?}");
        assert!(report.good > 0, "{report:?}");
        report
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn once(wire: &mut Option<Wire<TcpStream>>, address: SocketAddr, host: &str) -> io::Result<Answer> {
    let wire = match wire {
        Some(wire) => wire,
        None => wire.insert(Wire::connect(address)?),
    };
    wire.get(host, "/")
}
