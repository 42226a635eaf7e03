//! Data plane of the fake controller: one request a connection, forwarded byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use conformance::suite::client::Addresses;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::fake::Fault;
use crate::fake::Store;
use crate::routes;
use crate::routes::Destination;

/// Starts both listeners.
pub(crate) async fn start(store: &Arc<Mutex<Store>>) -> Addresses {
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let https = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = Addresses { http: http.local_addr().unwrap(), https: https.local_addr().unwrap() };
    let plane = Arc::new(DataPlane { store: Arc::clone(store), turn: AtomicUsize::new(0) });
    let acceptor = TlsAcceptor::from(Arc::new(plane.tls_config()));
    let plain = Arc::clone(&plane);
    tokio::spawn(async move {
        while let Ok((stream, client)) = http.accept().await {
            let plane = Arc::clone(&plain);
            tokio::spawn(async move { plane.serve(stream, &Connection { client, server_name: None }).await });
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, client)) = https.accept().await {
            let (plane, acceptor) = (Arc::clone(&plane), acceptor.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let server_name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
                plane.serve(stream, &Connection { client, server_name: Some(server_name) }).await
            });
        }
    });
    addresses
}

/// What is known about a client's connection.
struct Connection {
    client: SocketAddr,
    /// `None` without TLS.
    server_name: Option<String>,
}

#[derive(Debug)]
struct DataPlane {
    store: Arc<Mutex<Store>>,
    turn: AtomicUsize,
}

/// Chooses the certificate at each handshake.
#[derive(Debug)]
struct Resolver(Arc<Mutex<Store>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let store = self.0.lock().unwrap();
        let secret = routes::secret(&store, hello.server_name()?)?;
        let pem = |name: &str| secret["stringData"][name].as_str().unwrap().as_bytes();
        let certificate = CertificateDer::from_pem_slice(pem("tls.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pem("tls.key")).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Some(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }
}

impl DataPlane {
    fn tls_config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(&self.store))))
    }

    async fn serve<S>(&self, mut client: S, connection: &Connection) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (head, rest) = read_head(&mut client).await?;
        let field = |name: &str| {
            let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let host = field("host").unwrap_or_default();
        let target = head.split(' ').nth(1).unwrap_or("/");
        let path = target.split('?').next().unwrap_or("/");
        let (destination, fault) = {
            let mut store = self.store.lock().unwrap();
            match routes::route(&store, &host, path) {
                Destination::Endpoints(_, namespace) if store.take_disturbance(&namespace) => {
                    (Destination::Status(502), store.fault)
                }
                destination => (destination, store.fault),
            }
        };
        let is_misdirected = fault == Some(Fault::ServerNameRoutes)
            && connection.server_name.as_ref().is_some_and(|name| *name != host);
        let is_refused = fault == Some(Fault::NoUpgrade) && field("upgrade").is_some();
        let mut endpoints = match destination {
            Destination::Endpoints(endpoints, _) if !is_misdirected && !is_refused => endpoints,
            Destination::Endpoints(..) => return respond(&mut client, 421).await,
            Destination::Status(status) => return respond(&mut client, status).await,
        };
        if fault != Some(Fault::OneEndpoint) {
            let count = endpoints.len();
            endpoints.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % count);
        }
        let mut upstream = TcpStream::connect(endpoints[0]).await?;
        upstream.set_nodelay(true)?;
        let scheme = if connection.server_name.is_some() { "https" } else { "http" };
        let own = format!("x-forwarded-for: {}\r\nx-forwarded-proto: {scheme}\r\n", connection.client.ip());
        let (line, fields) = head.split_once("\r\n").unwrap();
        upstream.write_all(format!("{line}\r\n{own}{fields}").as_bytes()).await?;
        upstream.write_all(&rest).await?;
        forward(&mut client, &mut upstream, fault).await
    }
}

/// Forwards both directions until one side closes.
async fn forward<S>(client: &mut S, upstream: &mut TcpStream, fault: Option<Fault>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut upstream_read, mut upstream_write) = upstream.split();
    let upload = tokio::io::copy(&mut client_read, &mut upstream_write);
    let download = async {
        let (head, rest) = read_head(&mut upstream_read).await?;
        let (line, fields) = head.split_once("\r\n").unwrap();
        let server = if fault == Some(Fault::NoServerField) { "" } else { "server: fake\r\n" };
        if fault == Some(Fault::Buffering) && fields.contains("text/event-stream") {
            let mut held = rest;
            while !held.ends_with(b"0\r\n\r\n") && upstream_read.read_buf(&mut held).await? > 0 {}
            client_write.write_all(format!("{line}\r\n{server}{fields}").as_bytes()).await?;
            return client_write.write_all(&held).await;
        }
        client_write.write_all(format!("{line}\r\n{server}{fields}").as_bytes()).await?;
        client_write.write_all(&rest).await?;
        tokio::io::copy(&mut upstream_read, &mut client_write).await.map(drop)
    };
    tokio::select! {
        done = download => done,
        done = upload => done.map(drop),
    }
}

/// Reads up to the end of a head. Returns the head with its empty line, and what follows.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(String, Vec<u8>)> {
    let mut received = Vec::new();
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = received.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&received).into_owned(), rest));
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn respond(client: &mut (impl AsyncWrite + Unpin), status: u16) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 {status} Status\r\nserver: fake\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await
}
