//! What the end-to-end tests share: a gateway in this process, scripted endpoints, and clients on raw sockets.
//!
//! Everything is blocking and bounded by [`DEADLINE`]; nothing sleeps. Not here: what is expected.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gateway::cli::process::{Gateway, Options, Source};
use gateway::observe::access_log::Destination;
use gateway::settings::{ListenerSettings, Settings};
use tempfile::TempDir;

mod certificates;
pub(crate) mod fixtures;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use certificates::{Certificate, TlsClient, shown, tls, tls_client, tls_config};
use fixtures::Manifests;

/// How long anything may take on a busy machine before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Any free port of the loopback address.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

// ===== the gateway and its folder =====

/// A gateway with one worker over a folder of its own.
pub(crate) struct TestGateway {
    pub(crate) gateway: Gateway,
    pub(crate) folder: TempDir,
}

impl TestGateway {
    /// Starts with one file, and waits until it is served.
    pub(crate) fn start(yaml: &(impl Display + ?Sized)) -> Self {
        Self::with(yaml, Settings::default())
    }

    pub(crate) fn with(yaml: &(impl Display + ?Sized), settings: Settings) -> Self {
        let started = Self::unready(yaml, settings);
        started.gateway.wait(1, DEADLINE).unwrap();
        started
    }

    /// Starts, and does not wait for the first table.
    pub(crate) fn unready(yaml: &(impl Display + ?Sized), settings: Settings) -> Self {
        Self::changed(yaml, |options| options.settings = settings)
    }

    /// Starts with options of its own, and does not wait for the first table.
    pub(crate) fn changed(yaml: &(impl Display + ?Sized), change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), yaml.to_string()).unwrap();
        let mut options = Options::new(Source::Files(folder.path().to_owned()), Settings::default());
        change(&mut options);
        // Standard output is the test runner's.
        if options.settings.access_log.destination == Destination::Stdout {
            options.settings.access_log.destination = Destination::Off;
        }
        options.settings.listeners =
            ListenerSettings { http: ANY_PORT, https: ANY_PORT, admin: ANY_PORT, probe: None };
        options.settings.workers.get_or_insert(1);
        Self { gateway: Gateway::start(&options).unwrap(), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Renames new content into place, and waits until it is served.
    pub(crate) fn replace(&self, name: &str, yaml: &(impl Display + ?Sized)) {
        let before = self.gateway.generation();
        std::fs::write(self.path(".new"), yaml.to_string()).unwrap();
        std::fs::rename(self.path(".new"), self.path(name)).unwrap();
        self.gateway.wait(before + 1, DEADLINE).unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        Wire::connect(self.gateway.http)
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, host: &str, target: &str) -> Message {
        self.client().get(host, target)
    }

    /// One admin page: status and body.
    pub(crate) fn admin(&self, target: &str) -> (u16, String) {
        let page = Wire::connect(self.gateway.admin).get("admin", target);
        (page.status(), String::from_utf8(page.body).unwrap())
    }
}

/// The default settings with some changes.
pub(crate) fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// Returns the YAML of an Ingress with one host and Prefix paths: (path, Service). New tests use [`fixtures::ingress`].
pub(crate) fn ingress(name: &str, host: &str, paths: &[(&str, &str)]) -> String {
    let host = host.trim_matches('"');
    let mut ingress = fixtures::ingress(name);
    if !host.is_empty() {
        ingress = ingress.host(host);
    }
    paths.iter().fold(ingress, |ingress, (path, service)| ingress.path(path, service)).to_yaml()
}

/// Returns the YAML of a Service with port 80. New tests use [`fixtures::service`].
pub(crate) fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    fixtures::service(name).endpoints(endpoints).to_yaml()
}

/// Returns the YAML of [`single_route`]. New tests use that one.
pub(crate) fn one(origin: &Origin) -> String {
    single_route(origin).to_yaml()
}

/// Returns Ingress `a` and Service `a`: host `a.example`, all paths to one origin.
pub(crate) fn single_route(origin: &Origin) -> Manifests {
    single_route_to(&[origin.address])
}

/// Returns Ingress `a` and Service `a`: host `a.example`, all paths to these endpoints.
pub(crate) fn single_route_to(endpoints: &[SocketAddr]) -> Manifests {
    fixtures::ingress("a").host("a.example").path("/", "a") + fixtures::service("a").endpoints(endpoints)
}

// ===== messages on a raw stream =====

/// A message as it came: first line, fields in their order with names in lower case, body without framing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// The value of the only field of this name; panics if there are more.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(given, _)| given == name);
        let value = values.next();
        assert!(values.next().is_none(), "several {name}: {self:?}");
        value.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Which body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// A request's: none unless the fields say so.
    Request,
    /// A response's: until the close unless the fields say otherwise.
    Response,
    /// None, whatever the fields say: the request was HEAD.
    Nothing,
}

/// A client on a raw socket.
pub(crate) type Client = Wire<TcpStream>;

/// A stream with HTTP/1.1 on it, read by rules as strict as the gateway's.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        Self::bounded(stream)
    }

    fn bounded(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::new(stream)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn get(&mut self, host: &str, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.response()
    }

    pub(crate) fn response(&mut self) -> Message {
        self.message(Follows::Response).unwrap().unwrap()
    }

    /// Reads what is left, up to the peer's orderly close.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.try_rest().unwrap()
    }

    fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.input))
    }

    pub(crate) fn message(&mut self, follows: Follows) -> io::Result<Option<Message>> {
        let Some(mut message) = self.head()? else { return Ok(None) };
        self.body(&mut message, follows)?;
        Ok(Some(message))
    }

    /// Reads a head; nothing if the stream ends instead.
    pub(crate) fn head(&mut self) -> io::Result<Option<Message>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let fields = self.fields()?;
        Ok(Some(Message { line, fields, ..Message::default() }))
    }

    pub(crate) fn body(&mut self, message: &mut Message, follows: Follows) -> io::Result<()> {
        let status = message.line.split(' ').nth(1).unwrap_or_default();
        let has_none = status.starts_with('1') || ["204", "304"].contains(&status);
        if follows == Follows::Nothing || (follows == Follows::Response && has_none) {
            return Ok(());
        }
        match (message.field("content-length"), message.field("transfer-encoding")) {
            (Some(length), None) => message.body = self.take(length.parse().unwrap())?,
            (None, Some("chunked")) => loop {
                let size = self.line()?.ok_or_else(|| malformed("no chunk"))?;
                let size = usize::from_str_radix(&size, 16).map_err(|_| malformed("chunk size"))?;
                if size == 0 {
                    message.trailers = self.fields()?;
                    return Ok(());
                }
                message.body.extend(self.take(size)?);
                if self.take(2)? != b"\r\n" {
                    return Err(malformed("chunk end"));
                }
            },
            (None, None) if follows == Follows::Request => {}
            (None, None) => message.body = self.try_rest()?,
            _ => return Err(malformed("framing")),
        }
        Ok(())
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?.ok_or_else(|| malformed("no end of fields"))?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(": ").ok_or_else(|| malformed(&line))?;
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.input[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(searched + end + 2)?;
                let line = String::from_utf8(line).map_err(|_| malformed("line"))?;
                return Ok(Some(line.trim_end_matches("\r\n").to_owned()));
            }
            searched = self.input.len().saturating_sub(1);
            if self.fill()? == 0 {
                return if self.input.is_empty() { Ok(None) } else { Err(malformed("half a line")) };
            }
        }
    }

    /// What has arrived, waiting for at least one byte; nothing at the end.
    pub(crate) fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.input.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.input))
    }

    pub(crate) fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < length {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.input.split_off(length);
        Ok(std::mem::replace(&mut self.input, rest))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 << 10];
        let read = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

// ===== endpoints =====

/// What an origin does with the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Waits for the next request.
    Keep,
    /// Closes it in order.
    Close,
    /// Resets it.
    Reset,
    /// Keeps it and reads nothing more than its end.
    Hang,
}

/// A request that a script has to deal with.
pub(crate) struct Call<'a> {
    /// The head; the body as well after [`Call::read_body`].
    pub(crate) request: Message,
    pub(crate) wire: &'a mut Client,
    /// The how manieth connection this is, and the how manieth request on it, from 1.
    pub(crate) connection: usize,
    pub(crate) turn: usize,
    seen: &'a Seen,
}

impl Call<'_> {
    /// Reads the body, and counts the request as seen whole.
    pub(crate) fn read_body(&mut self) -> io::Result<()> {
        self.wire.body(&mut self.request, Follows::Request)?;
        self.seen.change(|log| log.whole.push(self.request.clone()));
        Ok(())
    }

    /// Reads the body, then sends these bytes.
    pub(crate) fn answer(&mut self, raw: impl AsRef<[u8]>) -> io::Result<()> {
        self.read_body()?;
        self.wire.stream.write_all(raw.as_ref())
    }
}

/// A plain answer with this body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    closed: usize,
    heads: Vec<Message>,
    whole: Vec<Message>,
}

#[derive(Debug, Default)]
struct Seen {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Seen {
    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let changed = change(&mut self.log.lock().unwrap());
        self.changed.notify_all();
        changed
    }
}

/// An endpoint that records all it is sent, and answers by a script.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

impl Origin {
    /// Answers every request with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |call| call.answer(ok(name)).map(|()| Then::Keep))
    }

    pub(crate) fn start(script: impl Fn(&mut Call<'_>) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        // Hundreds of connections at one moment find no place in the standard library's 128, and try again after 1 s.
        socket2::SockRef::from(&listener).listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (log, script) = (Arc::clone(&seen), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                let connection = log.change(|log| {
                    log.connections += 1;
                    log.connections
                });
                // A connection that fails is the gateway's doing: the test sees it at its own end.
                std::thread::spawn(move || {
                    let served = serve(stream?, connection, &log, &*script);
                    log.change(|log| log.closed += 1);
                    served
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.log.lock().unwrap().connections
    }

    /// How many connections are open now.
    pub(crate) fn open(&self) -> usize {
        let log = self.seen.log.lock().unwrap();
        log.connections - log.closed
    }

    /// How many request heads have come.
    pub(crate) fn heads(&self) -> usize {
        self.seen.log.lock().unwrap().heads.len()
    }

    /// The requests that were read to their end.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.log.lock().unwrap().whole.clone()
    }

    /// Those of them from number `first` on, counted from 0.
    pub(crate) fn requests_from(&self, first: usize) -> Vec<Message> {
        self.seen.log.lock().unwrap().whole[first..].to_vec()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.log.lock().unwrap().whole.len()
    }

    pub(crate) fn last(&self) -> Message {
        self.requests().pop().unwrap()
    }

    /// Waits until so many request heads have come in all.
    pub(crate) fn wait_heads(&self, count: usize) {
        let log = self.seen.log.lock().unwrap();
        let waited = self.seen.changed.wait_timeout_while(log, DEADLINE, |log| log.heads.len() < count);
        assert!(!waited.unwrap().1.timed_out(), "no {count} requests in time");
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    seen: &Seen,
    script: &dyn Fn(&mut Call<'_>) -> io::Result<Then>,
) -> io::Result<()> {
    let mut wire = Wire::bounded(stream);
    for turn in 1.. {
        let Some(request) = wire.head()? else { break };
        // RFC 9112 §3.2. Whatever a gateway makes of its clients, it is a client itself.
        request.field("host").ok_or_else(|| malformed("no Host"))?;
        seen.change(|log| log.heads.push(request.clone()));
        match script(&mut Call { request, wire: &mut wire, connection, turn, seen })? {
            Then::Keep => {}
            Then::Close => break,
            Then::Reset => {
                socket2::SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO))?;
                break;
            }
            Then::Hang => while wire.fill()? > 0 {},
        }
    }
    Ok(())
}

/// An address that refuses connections for as long as this lives: bound, and not listening.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    _socket: socket2::Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&ANY_PORT.into()).unwrap();
        Self { address: socket.local_addr().unwrap().as_socket().unwrap(), _socket: socket }
    }
}

/// Asks again and again until the answer is yes.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// More than fits into all buffers between the two ends of a connection through the gateway: the system's on four
/// sockets, and the gateway's own.
pub(crate) const MOST_ON_THE_WAY: usize = 24 << 20;

/// Several times as much.
pub(crate) const PLENTY: usize = 96 << 20;

/// Writes until `most` bytes are taken, or nothing has been taken for a while; how many were.
pub(crate) fn push(stream: &mut TcpStream, most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (piece, mut sent) = (vec![b'x'; 64 << 10], 0);
    while sent < most
        && let Ok(written) = stream.write(&piece[..piece.len().min(most - sent)])
    {
        sent += written;
    }
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    sent
}
