//! All settings, as the program uses them. The structs have the sections and names of the configuration file.
//!
//! Not here: how a value is written and which source sets it (`cli::config`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use api::{Attempts, LoadBalancingType, Method, RetryOn};
use ipnet::IpNet;
use routing::object::Name;

use crate::observe::access_log;
use crate::observe::counters::RequestLabels;

/// Settings of the process, its control plane and its data plane.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses to listen on.
    pub listeners: ListenerSettings,
    /// Number of worker threads. `None`: one for each available processor.
    pub workers: Option<u16>,
    /// The classes that are served, and the namespace, zone and folder of plugins of this gateway.
    pub routing: routing::Config,
    /// Namespaces to watch in a cluster. Empty: all of them.
    pub namespaces: Vec<String>,
    /// Limits of connections, heads and bodies.
    pub limits: LimitSettings,
    /// Timeouts of connections and requests.
    pub timeouts: TimeoutSettings,
    /// When a failed request is sent again.
    pub retries: RetrySettings,
    /// How an endpoint is chosen, and how many may be left out.
    pub load_balancing: LoadBalancingSettings,
    /// How external host names are resolved.
    pub dns: DnsSettings,
    /// The shutdown sequence.
    pub drain: DrainSettings,
    /// How request fields are treated.
    pub requests: RequestSettings,
    /// The fields that the gateway adds to responses.
    pub responses: ResponseSettings,
    /// Destination, format and sampling of the access log.
    pub access_log: access_log::LogSettings,
    /// How plugins are loaded.
    pub plugins: PluginSettings,
    /// Whether requests are counted by Ingress and Service.
    pub request_labels: RequestLabels,
    /// The reports to the API.
    pub status: StatusSettings,
}

/// The reports to the API: the status of Ingresses, Events, and conditions.
#[derive(Clone, Debug)]
pub struct StatusSettings {
    /// Addresses that are written to the status of Ingresses. They take precedence over those of `service`.
    pub addresses: Vec<String>,
    /// The Service that exposes the gateway. `explain` shows it.
    pub service: Option<Name>,
    /// Name of the Lease by which the replicas of this gateway elect the one that writes.
    pub lease: String,
}

/// How plugins are loaded.
#[derive(Clone, Debug, Default)]
pub struct PluginSettings {
    /// Folder for compiled code. `None`: modules are compiled again after each start.
    pub cache: Option<PathBuf>,
}

/// Addresses to listen on. Port 0 picks a free port.
#[derive(Clone, Copy, Debug)]
pub struct ListenerSettings {
    /// Plaintext requests of clients.
    pub http: SocketAddr,
    /// TLS requests of clients.
    pub https: SocketAddr,
    /// The admin pages.
    pub admin: SocketAddr,
    /// `/livez`, `/readyz` and `/metrics` only. May be reachable from outside the pod.
    pub probe: Option<SocketAddr>,
}

/// Limits of connections, heads and bodies.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Maximum open client connections, over all workers. Further connections are reset. `None`: as many as the file
    /// descriptors allow.
    pub client_connections: Option<NonZeroU32>,
    /// Memory budget of the process. Idle connections close at 85 % of it, and new requests get 503 at 95 %. `None`: the
    /// limit of the control group, if it has one.
    pub memory: Option<usize>,
    /// Maximum sizes of request and response heads.
    pub head: http1::HeadLimits,
    /// Maximum connections to one Service port, over all workers. Further requests queue. A RoutePolicy overrides it.
    pub upstream_connections: NonZeroU32,
    /// Maximum requests that queue for a connection to one Service port. Further requests get 503. A RoutePolicy
    /// overrides it.
    pub pending_requests: u32,
    /// Maximum tunnels (WebSockets, for example) to one Service port, over all workers. Further upgrades get 503.
    pub tunnels: u32,
    /// Minimum rate at which a client must send a request body.
    pub min_body_rate: MinBodyRate,
}

/// Minimum rate of a request body with a Content-Length.
#[derive(Clone, Copy, Debug)]
pub struct MinBodyRate {
    /// Average bytes per second since the body began. `None`: no minimum.
    pub bytes_per_second: Option<NonZeroU32>,
    /// Time that a body may take before its rate is checked.
    pub grace: Duration,
}

/// Timeouts of connections and requests.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutSettings {
    /// From the first to the last byte of a request head. Also limits a TLS handshake.
    pub request_header: Duration,
    /// Idle time of a client connection between requests.
    pub keep_alive: Duration,
    /// One attempt to connect to an endpoint.
    pub connect: Duration,
    /// All attempts of one request to connect.
    pub connect_total: Duration,
    /// From the last byte of the request to the response head.
    pub first_byte: Duration,
    /// Pause in a request or response body.
    pub stall: Duration,
    /// Silence of a tunnel (a WebSocket, for example) in both directions.
    pub tunnel_idle: Duration,
    /// The whole request, up to the last byte of the response. `None`: no timeout.
    pub request: Option<Duration>,
}

/// When a failed request is sent again. A RoutePolicy overrides each field.
#[derive(Clone, Debug)]
pub struct RetrySettings {
    /// Maximum attempts after the first one.
    pub attempts: Attempts,
    /// The failures that are retried.
    pub on: Vec<RetryOn>,
    /// The request methods that may be sent a second time.
    pub methods: Vec<Method>,
}

/// How an endpoint is chosen, and how many may be left out.
#[derive(Clone, Copy, Debug)]
pub struct LoadBalancingSettings {
    /// Balancing algorithm. A RoutePolicy overrides it.
    pub kind: LoadBalancingType,
    /// Maximum share of a Service's endpoints that failed requests may eject, in percent. If more fail, requests go to
    /// all of them: most likely the cause is common to all.
    pub max_ejected_percent: u8,
}

/// How external host names are resolved.
#[derive(Clone, Debug, Default)]
pub struct DnsSettings {
    /// Name servers to query. Empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Whether host names may resolve to loopback addresses.
    pub loopback: Loopback,
}

/// Whether host names may resolve to loopback addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    /// They may not. A tenant could otherwise reach services that listen on loopback in order to be unreachable.
    #[default]
    Refused,
    /// They may.
    Allowed,
}

/// The shutdown sequence.
#[derive(Clone, Copy, Debug)]
pub struct DrainSettings {
    /// Time from SIGTERM during which connections are still accepted and `/readyz` fails. Load balancers need it to
    /// stop sending.
    pub delay: Duration,
    /// Time from SIGTERM after which all open connections are closed.
    pub limit: Duration,
}

/// How request fields are treated.
#[derive(Clone, Debug)]
pub struct RequestSettings {
    /// Whether request fields with an underscore in their name are forwarded.
    pub underscore_names: UnderscoreNames,
    /// Networks of proxies in front of the gateway. Their X-Forwarded-* and X-Request-ID fields are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Path for which the gateway itself responds to GET and HEAD, whatever the host: 200 while it is ready, else 503.
    pub health_path: Option<String>,
}

/// Whether request fields with an underscore in their name are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderscoreNames {
    /// They are removed, because CGI and its successors read `X_Forwarded_For` as `X-Forwarded-For`.
    Dropped,
    /// They are forwarded.
    Kept,
}

/// The fields that the gateway adds to responses.
#[derive(Clone, Copy, Debug)]
pub struct ResponseSettings {
    /// Whether local replies carry their reason in the field `gateway-reason`.
    pub reason_header: ReasonHeader,
    /// The responses that carry `X-Request-ID`.
    pub request_id: RequestIdEcho,
}

/// Whether local replies carry their reason in the field `gateway-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonHeader {
    /// They do.
    Shown,
    /// They do not: clients do not learn the reason.
    Hidden,
}

/// The responses that carry `X-Request-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIdEcho {
    /// Local replies only. Responses of endpoints keep the field that the endpoint wrote.
    LocalReplies,
    /// All responses. The field that an endpoint wrote is replaced.
    Every,
}

impl Settings {
    /// Returns the defaults in a pod: all listeners except admin are reachable from outside, and the namespace of the
    /// gateway is `own_namespace`.
    pub fn in_cluster(own_namespace: &str) -> Self {
        let any_address = |port| (Ipv6Addr::UNSPECIFIED, port).into();
        let mut settings = Self::default();
        settings.listeners.http = any_address(8080);
        settings.listeners.https = any_address(8443);
        settings.listeners.probe = Some(any_address(9081));
        settings.routing.namespace = own_namespace.to_owned();
        settings
    }

    /// Returns the number of worker threads. The default counts the processors that this process (or its container)
    /// may use.
    pub fn workers(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.map_or_else(available, usize::from)
    }
}

impl Default for ListenerSettings {
    fn default() -> Self {
        let loopback = |port| (Ipv4Addr::LOCALHOST, port).into();
        Self { http: loopback(8080), https: loopback(8443), admin: loopback(9080), probe: None }
    }
}

impl Default for LimitSettings {
    /// 4096 queued requests absorb a burst that a Service answers within the timeout for connecting (2.5 s), and hold at
    /// most 200 MiB. 10,000 idle tunnels hold less than 50 MiB.
    fn default() -> Self {
        Self {
            client_connections: None,
            memory: None,
            head: http1::HeadLimits::default(),
            upstream_connections: NonZeroU32::MIN.saturating_add(1023),
            pending_requests: 4096,
            tunnels: 10_000,
            min_body_rate: MinBodyRate::default(),
        }
    }
}

impl Default for StatusSettings {
    fn default() -> Self {
        Self { addresses: Vec::new(), service: None, lease: "gateway".to_owned() }
    }
}

impl Default for MinBodyRate {
    /// 500 bytes per second after 20 s. Apache's mod_reqtimeout has the same rate, and a slow mobile network is ten
    /// times as fast. A client that sends one byte per second would otherwise occupy a connection to the endpoint for
    /// as many seconds as its body has bytes.
    fn default() -> Self {
        Self { bytes_per_second: NonZeroU32::new(500), grace: Duration::from_secs(20) }
    }
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self {
            request_header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connect: Duration::from_millis(800),
            connect_total: Duration::from_millis(2500),
            first_byte: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(60 * 60),
            request: None,
        }
    }
}

impl Default for RetrySettings {
    /// Three attempts in total. Only idempotent methods (RFC 9110 §9.2.2) are sent twice, and only after failures for
    /// which the endpoint most likely did not receive the request.
    fn default() -> Self {
        use Method::{Delete, Get, Head, Options, Put, Trace};
        Self {
            attempts: Attempts::DEFAULT,
            on: vec![RetryOn::ConnectFailure, RetryOn::StaleConnection],
            methods: vec![Get, Head, Options, Put, Delete, Trace],
        }
    }
}

impl Default for LoadBalancingSettings {
    fn default() -> Self {
        Self { kind: LoadBalancingType::default(), max_ejected_percent: 50 }
    }
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), limit: Duration::from_secs(25) }
    }
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self { underscore_names: UnderscoreNames::Dropped, trusted_proxies: Vec::new(), health_path: None }
    }
}

impl Default for ResponseSettings {
    fn default() -> Self {
        Self { reason_header: ReasonHeader::Shown, request_id: RequestIdEcho::LocalReplies }
    }
}
