//! The sample apps: small HTTP servers in this process, and the YAML that describes them.
//!
//! Not here: the gateway. It finds the apps by the YAML alone, like all other Services.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

/// Numbers of the apps that have only a number: app-03 to app-12.
const NUMBERS: std::ops::RangeInclusive<u8> = 3..=12;

/// Ports of the backends: four digits, and the same in each run. They are below Linux's ephemeral ports, so no client
/// holds one.
const PORTS: std::ops::RangeInclusive<u16> = 7101..=7199;

/// Attempts with a port that the system chooses, once all of [`PORTS`] are taken. Such a port may be taken on a second
/// address.
const MAX_PORT_ATTEMPTS: usize = 20;

/// A header that the gateway adds, besides all `x-forwarded-*`.
const X_REAL_IP: &str = "x-real-ip";

/// A backend's response body: the Pod's identity and the request that it received.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Echo {
    /// The Service that the Pod belongs to.
    pub(super) service: String,
    /// The Pod.
    pub(super) pod: String,
    /// The Pod's address and port.
    pub(super) endpoint: SocketAddr,
    method: String,
    host: String,
    path: String,
    /// The headers in which the gateway describes the client.
    forwarded: BTreeMap<String, String>,
}

/// All backends. They listen, but connections wait in the kernel until [`Apps::serve`].
pub(super) struct Apps {
    services: Vec<Service>,
}

/// The Pods of one Service.
struct Service {
    name: String,
    pods: Vec<(SocketAddr, TcpListener)>,
}

impl Apps {
    /// Binds a free port for each backend.
    ///
    /// # Errors
    /// Returns an error if the system lacks a loopback address or a free port.
    pub(super) fn bind() -> anyhow::Result<Self> {
        let mut services = vec![
            Service::on_one_port("service-a", &[2, 3, 4])?,
            Service::on_one_port("service-b", &[2, 3])?,
            Service::on_one_address("catalog", 2)?,
            Service::on_one_address("checkout", 2)?,
        ];
        for name in numbered_names() {
            services.push(Service::on_one_address(&name, 1)?);
        }
        Ok(Self { services })
    }

    /// Returns the YAML files by name. They refer to the Secret `demo-tls`, which they do not contain.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![
            ("app1.yaml".to_owned(), self.fill_in(include_str!("yaml/app1.yaml"))),
            ("app2.yaml".to_owned(), self.fill_in(include_str!("yaml/app2.yaml"))),
            ("shop.yaml".to_owned(), self.fill_in(include_str!("yaml/shop.yaml"))),
        ];
        for service in &self.services {
            if numbered_names().any(|name| name == service.name) {
                let text = include_str!("yaml/numbered.yaml").replace("${app}", &service.name);
                let text = text.replace("${endpoints}", &service.endpoints());
                files.push((format!("{}.yaml", service.name), text));
            }
        }
        files
    }

    /// Replaces a template's placeholders with the ports and endpoints of the Services.
    fn fill_in(&self, template: &str) -> String {
        let fill = |text: String, service: &Service| {
            let text = text.replace(&format!("${{{}.port}}", service.name), &service.port().to_string());
            text.replace(&format!("${{{}.endpoints}}", service.name), &service.endpoints())
        };
        self.services.iter().fold(template.to_owned(), fill)
    }

    /// Starts all backends. They run as long as the runtime.
    ///
    /// # Errors
    /// Returns an error if the runtime cannot register a socket.
    pub(super) fn serve(self, runtime: &Runtime) -> io::Result<()> {
        let _inside = runtime.enter();
        for service in self.services {
            for (number, (endpoint, listener)) in (1..).zip(service.pods) {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let pod = Pod {
                    service: service.name.clone(),
                    name: format!("{}-{number}", service.name),
                    endpoint,
                };
                let router = Router::new().fallback(echo).with_state(Arc::new(pod));
                runtime.spawn(async move {
                    if let Err(error) = axum::serve(listener, router).await {
                        tracing::error!(%error, %endpoint, "sample backend stopped");
                    }
                });
            }
        }
        Ok(())
    }
}

/// Returns the names of the numbered apps. Their Services and files have the same names.
pub(super) fn numbered_names() -> impl Iterator<Item = String> {
    NUMBERS.map(|number| format!("app-{number:02}"))
}

impl Service {
    /// Binds several addresses with the same port, as Pods have it. All of 127.0.0.0/8 is this machine on Linux.
    fn on_one_port(name: &str, last_bytes: &[u8]) -> anyhow::Result<Self> {
        let addresses: Vec<_> = last_bytes.iter().map(|byte| Ipv4Addr::new(127, 0, 0, *byte)).collect();
        let pods = first_free(|port| bind_all(&addresses, port));
        let pods = pods.with_context(|| format!("no port for {name} is free on all of {addresses:?}"))?;
        Ok(Self { name: name.to_owned(), pods })
    }

    /// Binds several ports of 127.0.0.1.
    fn on_one_address(name: &str, pods: usize) -> anyhow::Result<Self> {
        let one = |_| first_free(|port| bind((Ipv4Addr::LOCALHOST, port).into()));
        let pods = (0..pods).map(one).collect::<io::Result<_>>();
        Ok(Self { name: name.to_owned(), pods: pods.with_context(|| format!("no port for {name}"))? })
    }

    /// Returns the port of the first Pod.
    fn port(&self) -> u16 {
        self.pods.first().map_or(0, |(endpoint, _)| endpoint.port())
    }

    /// Returns all endpoints in the format of the annotation.
    fn endpoints(&self) -> String {
        let endpoints: Vec<_> = self.pods.iter().map(|(endpoint, _)| endpoint.to_string()).collect();
        endpoints.join(",")
    }
}

/// Binds with the first of [`PORTS`] that is free, else with a port of the system's choice.
fn first_free<T>(bind: impl Fn(u16) -> io::Result<T>) -> io::Result<T> {
    let candidates = PORTS.chain(std::iter::repeat_n(0, MAX_PORT_ATTEMPTS));
    let mut last_error = io::ErrorKind::AddrInUse.into();
    for port in candidates {
        match bind(port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last_error = error,
            result => return result,
        }
    }
    Err(last_error)
}

/// Binds each address with the same port. Port 0: the system chooses one for the first address.
fn bind_all(addresses: &[Ipv4Addr], port: u16) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
    let mut bound: Vec<(SocketAddr, TcpListener)> = Vec::new();
    for address in addresses {
        let port = bound.first().map_or(port, |(first, _)| first.port());
        bound.push(bind((IpAddr::from(*address), port).into())?);
    }
    Ok(bound)
}

fn bind(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok((listener.local_addr()?, listener))
}

/// The identity of a backend.
struct Pod {
    service: String,
    name: String,
    endpoint: SocketAddr,
}

async fn echo(
    State(pod): State<Arc<Pod>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> impl IntoResponse + use<> {
    let text = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ")
    };
    let is_forwarded = |name: &&HeaderName| name.as_str().starts_with("x-forwarded-") || *name == X_REAL_IP;
    let echo = Echo {
        service: pod.service.clone(),
        pod: pod.name.clone(),
        endpoint: pod.endpoint,
        method: method.to_string(),
        host: text(&header::HOST),
        path: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
        forwarded: headers.keys().filter(is_forwarded).map(|name| (name.to_string(), text(name))).collect(),
    };
    // Indented and with a line end, since people read it in a terminal.
    let json = serde_json::to_string_pretty(&echo).unwrap_or_else(|error| error.to_string());
    ([(header::CONTENT_TYPE, "application/json")], json + "\n")
}

#[cfg(test)]
mod tests {
    use super::Apps;

    #[test]
    fn every_placeholder_is_filled_in() {
        let files = Apps::bind().unwrap().files();
        assert_eq!(files.len(), 13, "app1, app2, shop and ten further apps");
        for (name, text) in files {
            assert!(!text.contains("${"), "{name}: {text}");
        }
    }

    #[test]
    fn pods_behind_a_slice_share_their_port_and_not_their_address() {
        let apps = Apps::bind().unwrap();
        let service = apps.services.iter().find(|service| service.name == "service-a").unwrap();
        let endpoints: Vec<_> = service.pods.iter().map(|(endpoint, _)| endpoint.to_string()).collect();
        let port = service.port();
        assert_eq!(endpoints, [2, 3, 4].map(|last| format!("127.0.0.{last}:{port}")));
    }
}
