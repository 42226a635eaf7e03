//! Support of the end-to-end tests: a gateway in this process, scripted endpoints, and clients on raw sockets.
//!
//! Every operation blocks for at most [`DEADLINE`]; nothing sleeps. Expectations belong to the tests.

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

/// Maximum time for one operation. A test fails after it. 20 s suffices on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Loopback address with port 0, for which the kernel chooses a free port.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

// ===== gateway =====

/// A gateway that serves a temporary folder. It has one worker unless the settings name a number.
pub(crate) struct TestGateway {
    pub(crate) gateway: Gateway,
    pub(crate) folder: TempDir,
}

impl TestGateway {
    /// Starts a gateway with default settings and one file. Waits until the file is live.
    pub(crate) fn start(yaml: &(impl Display + ?Sized)) -> Self {
        Self::with(yaml, Settings::default())
    }

    /// Starts a gateway with these settings and one file. Waits until the file is live.
    pub(crate) fn with(yaml: &(impl Display + ?Sized), settings: Settings) -> Self {
        let started = Self::unready(yaml, settings);
        started.gateway.wait(1, DEADLINE).unwrap();
        started
    }

    /// Starts a gateway with these settings. Does not wait for the first routing table.
    pub(crate) fn unready(yaml: &(impl Display + ?Sized), settings: Settings) -> Self {
        Self::changed(yaml, |options| options.settings = settings)
    }

    /// Starts a gateway with changed options. Does not wait for the first routing table.
    pub(crate) fn changed(yaml: &(impl Display + ?Sized), change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), yaml.to_string()).unwrap();
        let mut options = Options::new(Source::Files(folder.path().to_owned()), Settings::default());
        change(&mut options);
        // Standard output belongs to the test runner.
        if options.settings.access_log.destination == Destination::Stdout {
            options.settings.access_log.destination = Destination::Off;
        }
        options.settings.listeners =
            ListenerSettings { http: ANY_PORT, https: ANY_PORT, admin: ANY_PORT, probe: None };
        options.settings.workers.get_or_insert(1);
        Self { gateway: Gateway::start(&options).unwrap(), folder }
    }

    /// Returns the path of a file in the served folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Renames new content into place, and waits until the next generation is live.
    pub(crate) fn replace(&self, name: &str, yaml: &(impl Display + ?Sized)) {
        let before = self.gateway.generation();
        std::fs::write(self.path(".new"), yaml.to_string()).unwrap();
        std::fs::rename(self.path(".new"), self.path(name)).unwrap();
        self.gateway.wait(before + 1, DEADLINE).unwrap();
    }

    /// Opens a plaintext connection.
    pub(crate) fn client(&self) -> Client {
        Wire::connect(self.gateway.http)
    }

    /// Sends one GET on a new connection, and returns the response.
    pub(crate) fn get(&self, host: &str, target: &str) -> Message {
        self.client().get(host, target)
    }

    /// Returns status and body of an admin page.
    pub(crate) fn admin(&self, target: &str) -> (u16, String) {
        let page = Wire::connect(self.gateway.admin).get("admin", target);
        (page.status(), String::from_utf8(page.body).unwrap())
    }
}

/// Returns the default settings with a change.
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

/// Returns Ingress `a` and Service `a`: host `a.example`, all paths to one origin.
pub(crate) fn single_route(origin: &Origin) -> Manifests {
    single_route_to(&[origin.address])
}

/// Returns Ingress `a` and Service `a`: host `a.example`, all paths to these endpoints.
pub(crate) fn single_route_to(endpoints: &[SocketAddr]) -> Manifests {
    fixtures::ingress("a").host("a.example").path("/", "a") + fixtures::service("a").endpoints(endpoints)
}

// ===== messages on a raw stream =====

/// A received message. Fields keep their order, field names are in lower case, and the body has no framing.
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

    /// Returns the second word of the request line.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// Returns the value of the only field of this name, or `None`. Panics if there are several.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        only_value(&self.fields, name)
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Returns the value of the only field of this name, or `None`. Panics if there are several.
pub(crate) fn only_value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(given, _)| given == name);
    let value = values.next();
    assert!(values.next().is_none(), "several {name}: {fields:?}");
    value.map(|(_, value)| value.as_str())
}

/// The rule by which a body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Request: no body unless the fields announce one.
    Request,
    /// Response: until the close unless the fields say otherwise.
    Response,
    /// Response to HEAD: no body, whatever the fields say.
    Nothing,
}

/// A client on a raw socket.
pub(crate) type Client = Wire<TcpStream>;

/// A stream of HTTP/1.1 messages. The parser is as strict as the gateway's.
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

fn malformed(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason.to_owned())
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a GET, and returns the response.
    pub(crate) fn get(&mut self, host: &str, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.response()
    }

    /// Reads a response with its body.
    pub(crate) fn response(&mut self) -> Message {
        self.message(Follows::Response).unwrap().unwrap()
    }

    /// Reads up to the orderly close by the peer. Panics on a reset.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.try_rest().unwrap()
    }

    fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.input))
    }

    /// Reads a head and its body. Returns `None` if the stream ends instead.
    pub(crate) fn message(&mut self, follows: Follows) -> io::Result<Option<Message>> {
        let Some(mut message) = self.head()? else { return Ok(None) };
        self.body(&mut message, follows)?;
        Ok(Some(message))
    }

    /// Reads a head. Returns `None` if the stream ends instead.
    pub(crate) fn head(&mut self) -> io::Result<Option<Message>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let fields = self.fields()?;
        Ok(Some(Message { line, fields, ..Message::default() }))
    }

    /// Reads the body that follows the head of this message.
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
                return if self.input.is_empty() { Ok(None) } else { Err(malformed("unfinished line")) };
            }
        }
    }

    /// Waits for at least one byte, and returns all received bytes. Returns none at the end of the stream.
    pub(crate) fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.input.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.input))
    }

    /// Reads exactly this number of bytes.
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

/// The action of an origin on the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Waits for the next request.
    Keep,
    /// Closes the connection with a FIN.
    Close,
    /// Closes the connection with an RST.
    Reset,
    /// Keeps the connection open until the gateway closes it, and sends nothing.
    Hang,
}

/// A request as the script of an origin receives it.
pub(crate) struct Call<'a> {
    /// The head. It has the body after [`Call::read_body`].
    pub(crate) request: Message,
    pub(crate) wire: &'a mut Client,
    /// Number of this connection, from 1.
    pub(crate) connection: usize,
    /// Number of this request on the connection, from 1.
    pub(crate) turn: usize,
    recorder: &'a Recorder,
}

impl Call<'_> {
    /// Reads the body, and records the request as complete.
    pub(crate) fn read_body(&mut self) -> io::Result<()> {
        self.wire.body(&mut self.request, Follows::Request)?;
        self.recorder.update(|record| record.complete.push(self.request.clone()));
        Ok(())
    }

    /// Reads the body, then sends these bytes.
    pub(crate) fn respond(&mut self, raw: impl AsRef<[u8]>) -> io::Result<()> {
        self.read_body()?;
        self.wire.stream.write_all(raw.as_ref())
    }
}

/// Returns a `200 OK` response with this body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[derive(Debug, Default)]
struct Record {
    connections: usize,
    closed: usize,
    /// Requests whose head was read.
    heads: usize,
    /// Requests that were read to their end.
    complete: Vec<Message>,
}

#[derive(Debug, Default)]
struct Recorder {
    record: Mutex<Record>,
    changed: Condvar,
}

impl Recorder {
    fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let result = change(&mut self.record.lock().unwrap());
        self.changed.notify_all();
        result
    }
}

/// An endpoint that records its requests and responds by a script.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    recorder: Arc<Recorder>,
}

impl Origin {
    /// Starts an origin that responds to each request with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |call| call.respond(ok(name)).map(|()| Then::Keep))
    }

    /// Starts an origin that responds to each request with its body.
    pub(crate) fn echo() -> Self {
        Self::start(|call| {
            call.read_body()?;
            let response = ok(&String::from_utf8_lossy(&call.request.body));
            call.wire.stream.write_all(response.as_bytes()).map(|()| Then::Keep)
        })
    }

    /// Starts an origin that calls the script for each request head.
    pub(crate) fn start(script: impl Fn(&mut Call<'_>) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        // The standard library's backlog of 128 overflows when hundreds of clients connect at once. The kernel then
        // drops their SYN, and they retransmit it after 1 s.
        socket2::SockRef::from(&listener).listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = Arc::new(Recorder::default());
        let (shared, script) = (Arc::clone(&recorder), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (recorder, script) = (Arc::clone(&shared), Arc::clone(&script));
                let connection = recorder.update(|record| {
                    record.connections += 1;
                    record.connections
                });
                // The thread's error is dropped: the gateway causes it, and the test checks what its client receives.
                std::thread::spawn(move || {
                    let result = serve(stream?, connection, &recorder, &*script);
                    recorder.update(|record| record.closed += 1);
                    result
                });
            }
        });
        Self { address, recorder }
    }

    /// Returns the number of connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.recorder.record.lock().unwrap().connections
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        let record = self.recorder.record.lock().unwrap();
        record.connections - record.closed
    }

    /// Returns the number of request heads received.
    pub(crate) fn heads(&self) -> usize {
        self.recorder.record.lock().unwrap().heads
    }

    /// Returns the requests that were read to their end.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.recorder.record.lock().unwrap().complete.clone()
    }

    /// Returns the complete requests from number `first` on, counted from 0.
    pub(crate) fn requests_from(&self, first: usize) -> Vec<Message> {
        self.recorder.record.lock().unwrap().complete[first..].to_vec()
    }

    /// Returns the number of complete requests.
    pub(crate) fn count(&self) -> usize {
        self.recorder.record.lock().unwrap().complete.len()
    }

    /// Returns the last complete request.
    pub(crate) fn last(&self) -> Message {
        self.requests().pop().unwrap()
    }

    /// Waits until the total of received request heads reaches `count`.
    pub(crate) fn wait_heads(&self, count: usize) {
        let record = self.recorder.record.lock().unwrap();
        let waited = self
            .recorder
            .changed
            .wait_timeout_while(record, DEADLINE, |record| record.heads < count)
            .unwrap();
        assert!(!waited.1.timed_out(), "timed out at {} of {count} request heads", waited.0.heads);
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    recorder: &Recorder,
    script: &dyn Fn(&mut Call<'_>) -> io::Result<Then>,
) -> io::Result<()> {
    let mut wire = Wire::bounded(stream);
    for turn in 1.. {
        let Some(request) = wire.head()? else { break };
        // RFC 9112 §3.2 requires Host of each HTTP/1.1 request, so also of the gateway's.
        request.field("host").ok_or_else(|| malformed("no Host"))?;
        recorder.update(|record| record.heads += 1);
        match script(&mut Call { request, wire: &mut wire, connection, turn, recorder })? {
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

/// An address that refuses connections: the socket is bound and does not listen. Its drop frees the port.
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

/// Polls the condition until it holds. Panics with its description after [`DEADLINE`].
///
/// It yields the processor between two polls: most conditions send a request or read a file, which offers no event.
pub(crate) fn until(description: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "timed out: {description}");
        std::thread::yield_now();
    }
}

/// Upper bound of the bytes that all buffers between client and endpoint hold: the kernel's of four sockets, and the
/// gateway's.
pub(crate) const MAX_BUFFERED_BYTES: usize = 24 << 20;

/// Four times the bytes that the buffers hold.
pub(crate) const LARGE_BODY_BYTES: usize = 96 << 20;

/// Writes until the kernel took `most` bytes, or none for 500 ms. Returns the number of bytes that it took.
pub(crate) fn write_until_blocked(stream: &mut TcpStream, most: usize) -> usize {
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
