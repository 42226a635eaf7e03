//! Plugins of tests: modules, WasmPlugin objects, and requests with bodies and trailers over HTTP/1.1 and HTTP/2.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gateway::settings::Settings;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::missing::skipped;
use crate::modules::{self, NoModule};
use crate::support::{self, DEADLINE, Follows, Message, TestGateway, Wire, until};

/// Returns the path of a guest in Rust, or notes that the test is skipped. Panics if the build fails.
pub(crate) fn module(name: &str, test: &str) -> Option<PathBuf> {
    found(modules::module(&guests(), name), test)
}

/// Returns the path of the guest in Go, or notes that the test is skipped. Panics if the build fails.
pub(crate) fn go_module(test: &str) -> Option<PathBuf> {
    found(modules::go_module(&guests()), test)
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-host/guests")
}

fn found(module: Result<PathBuf, NoModule>, test: &str) -> Option<PathBuf> {
    match module {
        Ok(path) => Some(path),
        Err(NoModule::Missing(reason)) => {
            skipped(&format!("{test}: {reason}"));
            None
        }
        Err(NoModule::Failed(reason)) => panic!("{reason}"),
    }
}

/// Returns a WasmPlugin for all Ingresses of its namespace, with a module file beside its YAML.
pub(crate) fn wasm_plugin(name: &str, file: &str) -> WasmPlugin {
    WasmPlugin { name: name.to_owned(), file: file.to_owned(), spec: String::new() }
}

/// A WasmPlugin; see [`wasm_plugin`].
#[derive(Clone, Debug)]
pub(crate) struct WasmPlugin {
    name: String,
    file: String,
    spec: String,
}

impl WasmPlugin {
    /// Sets `pluginConfig` to a text.
    pub(crate) fn config(self, text: &str) -> Self {
        self.spec(&format!("pluginConfig: {text:?}"))
    }

    /// Limits it to one Ingress.
    pub(crate) fn target_ingress(self, name: &str) -> Self {
        self.spec(&format!("targetRefs: [{{group: networking.k8s.io, kind: Ingress, name: {name}}}]"))
    }

    /// Adds lines of `spec`, without indentation.
    pub(crate) fn spec(mut self, yaml: &str) -> Self {
        self.spec.extend(yaml.lines().map(|line| format!("  {line}\n")));
        self
    }
}

impl Display for WasmPlugin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, file, spec } = self;
        writeln!(
            f,
            "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: {name}}}"
        )?;
        write!(f, "spec:\n  url: file://{file}\n{spec}")
    }
}

/// Starts a gateway with these objects and module files. Waits until no plugin of host `a.example` is pending.
pub(crate) fn start(yaml: &(impl Display + ?Sized), modules: &[(&str, &Path)]) -> TestGateway {
    start_with(yaml, modules, Settings::default())
}

/// As [`start`], with these settings.
pub(crate) fn start_with(
    yaml: &(impl Display + ?Sized),
    modules: &[(&str, &Path)],
    settings: Settings,
) -> TestGateway {
    let gateway = TestGateway::with("", settings);
    for (file, module) in modules {
        std::fs::copy(module, gateway.path(file)).unwrap();
    }
    gateway.replace("all.yaml", yaml);
    until_live(&gateway, &get("/"));
    gateway
}

/// Waits until the plugins of a request's route are loaded: the gateway itself no longer replies that they are not.
pub(crate) fn until_live(gateway: &TestGateway, request: &Sent) {
    until("the plugins are live", || !is_closed(&request.send(gateway.gateway.http, Protocol::Http1)));
}

/// Returns true if the gateway replied in place of a plugin that is not loaded or failed.
pub(crate) fn is_closed(response: &Received) -> bool {
    let reason = response.field("gateway-reason");
    reason.is_some_and(|reason| ["plugin_unavailable", "plugin_failed"].contains(&reason))
}

/// Writes a module into the folder of a gateway, in one step. Does not wait for it.
pub(crate) fn rename_module(folder: &Path, file: &str, module: &[u8]) {
    let new = folder.join(format!(".{file}"));
    std::fs::write(&new, module).unwrap();
    std::fs::rename(new, folder.join(file)).unwrap();
}

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Both protocols.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// A request to host `a.example`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    trailers: Vec<(String, String)>,
}

/// Returns a GET.
pub(crate) fn get(target: &str) -> Sent {
    Sent { method: "GET".to_owned(), target: target.to_owned(), ..Sent::default() }
}

/// Returns a POST with a body.
pub(crate) fn post(target: &str, body: impl AsRef<[u8]>) -> Sent {
    Sent { method: "POST".to_owned(), body: Some(body.as_ref().to_vec()), ..get(target) }
}

impl Sent {
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a trailer field. The body of a request with trailers is chunked over HTTP/1.1.
    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends the request on a new connection, and returns the response.
    ///
    /// # Errors
    /// The connection or the stream ends before the response does.
    pub(crate) fn try_send(&self, address: SocketAddr, protocol: Protocol) -> Result<Received, String> {
        match protocol {
            Protocol::Http1 => self.http1(address),
            Protocol::Http2 => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    timeout(DEADLINE, self.http2(address)).await.unwrap().map_err(|error| error.to_string())
                })
            }
        }
    }

    /// Sends the request on a new connection, and returns the response. Panics if there is none.
    pub(crate) fn send(&self, address: SocketAddr, protocol: Protocol) -> Received {
        self.try_send(address, protocol)
            .unwrap_or_else(|error| panic!("{protocol:?} {}: {error}", self.target))
    }

    /// Returns the bytes of the request over HTTP/1.1.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let lines = |fields: &[(String, String)]| -> String {
            fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
        };
        let mut head = format!("{} {} HTTP/1.1\r\nHost: a.example\r\n", self.method, self.target);
        head += &lines(&self.fields);
        let body = self.body.as_deref().unwrap_or_default();
        if !self.trailers.is_empty() {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            let mut bytes = head.into_bytes();
            if !body.is_empty() {
                bytes.extend(
                    format!("{:x}\r\n", body.len()).bytes().chain(body.iter().copied()).chain(*b"\r\n"),
                );
            }
            bytes.extend(format!("0\r\n{}\r\n", lines(&self.trailers)).bytes());
            return bytes;
        }
        if self.body.is_some() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head.bytes().chain(*b"\r\n").chain(body.iter().copied()).collect()
    }

    fn http1(&self, address: SocketAddr) -> Result<Received, String> {
        let mut client = Wire::connect(address);
        let (mut writer, bytes) = (client.stream.try_clone().unwrap(), self.bytes());
        // A thread, because a peer may respond before it has read everything, or never read it.
        let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes));
        let follows = if self.method == "HEAD" { Follows::Nothing } else { Follows::Response };
        let response = client.message(follows);
        let _ = client.stream.shutdown(std::net::Shutdown::Both);
        let _ = writing.join().unwrap();
        let message = response.map_err(|error| error.to_string())?.ok_or("closed without a response")?;
        let Message { fields, body, trailers, .. } = message.clone();
        Ok(Received { status: message.status(), fields, body, trailers })
    }

    async fn http2(&self, address: SocketAddr) -> Result<Received, h2::Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let uri = format!("http://a.example{}", self.target);
        let mut request = Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        let is_end = self.body.is_none() && self.trailers.is_empty();
        let (response, mut stream) = send.send_request(request.body(()).unwrap(), is_end)?;
        let sent = async {
            if !is_end {
                let body = Bytes::from(self.body.clone().unwrap_or_default());
                stream.send_data(body, self.trailers.is_empty())?;
            }
            if !self.trailers.is_empty() {
                stream.send_trailers(map_of(&self.trailers))?;
            }
            Ok::<_, h2::Error>(())
        };
        // A peer that replies early resets the rest of the request.
        let _ = sent.await;
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        connection.abort();
        let (fields, trailers) = (fields_of(&head.headers), fields_of(&trailers));
        Ok(Received { status: head.status.as_u16(), fields, body: bytes, trailers })
    }
}

fn map_of(fields: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(http::HeaderName::try_from(name).unwrap(), http::HeaderValue::try_from(value).unwrap());
    }
    map
}

fn fields_of(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

/// A received response, whatever the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Received {
    /// Returns the value of the only field of this name, or `None`. Panics if there are several.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        support::only_value(&self.fields, name)
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
