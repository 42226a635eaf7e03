//! The sample apps: their backends, small HTTP servers in this process, and the YAML that says where they are.
//!
//! Not here: the gateway, which learns of the apps from the YAML alone, as it would of any others.

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

/// The further apps are app-03 to app-12: ten.
const NUMBERS: std::ops::RangeInclusive<u8> = 3..=12;

/// Ports of the backends: few digits, and the same in each run. Below Linux's ephemeral ports, so that no client of this
/// machine holds them.
const PORTS: std::ops::RangeInclusive<u16> = 7101..=7199;

/// Attempts with ports of the system's choice, once all of [`PORTS`] are taken. Such a port may be taken on a second
/// address.
const MAX_PORT_ATTEMPTS: usize = 20;

/// Fields that the gateway adds, besides all `x-forwarded-*`.
const X_REAL_IP: &str = "x-real-ip";

/// What a backend says about a request: who it is and what it saw.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Echo {
    /// The Service that the Pod belongs to.
    pub(super) service: String,
    /// The Pod that answered.
    pub(super) pod: String,
    /// Where the Pod listens.
    pub(super) endpoint: SocketAddr,
    method: String,
    host: String,
    path: String,
    /// What the gateway says about the client.
    forwarded: BTreeMap<String, String>,
}

/// All backends, listening but not answering yet: a connection waits in the kernel until [`Apps::serve`].
pub(super) struct Apps {
    services: Vec<Service>,
}

/// The Pods of one Service.
struct Service {
    name: String,
    pods: Vec<(SocketAddr, TcpListener)>,
}

impl Apps {
    /// Finds a free port for every backend.
    ///
    /// # Errors
    /// A loopback address that this system does not have, or no ports are left.
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

    /// The YAML files by name. A Secret of the hosts under TLS has to stand beside them.
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

    /// Puts ports and endpoints where a template names their Service.
    fn fill_in(&self, template: &str) -> String {
        let fill = |text: String, service: &Service| {
            let text = text.replace(&format!("${{{}.port}}", service.name), &service.port().to_string());
            text.replace(&format!("${{{}.endpoints}}", service.name), &service.endpoints())
        };
        self.services.iter().fold(template.to_owned(), fill)
    }

    /// Lets all backends answer, for as long as the runtime lives.
    ///
    /// # Errors
    /// The runtime cannot take the sockets.
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

/// The names of the further apps, which are the names of their Services and files too.
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

    /// The port of the first Pod.
    fn port(&self) -> u16 {
        self.pods.first().map_or(0, |(endpoint, _)| endpoint.port())
    }

    /// All endpoints as the annotation lists them.
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

/// Binds each address with the same port. 0: the port that the system chooses for the first one.
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

/// What a backend knows of itself.
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
    // Indented, and with a line end: it is read in a terminal.
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
