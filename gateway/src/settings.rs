//! What can be set, as the program uses it. Defaults are DESIGN's; each says its unit by its type.
//!
//! Not here: how a setting is written and where it may come from (`config`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use api::{Attempts, LoadBalancingType, Method, RetryOn};
use http1::HeadLimits;
use ipnet::IpNet;
use routing::object::Name;

use crate::observe::access_log;

/// Settings of the process and its data plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: Listen,
    /// Where the names of ExternalName Services are asked for.
    pub dns: Dns,
    /// Which classes are served, and where this gateway runs.
    pub routing: routing::Config,
    /// The namespaces that are watched in a cluster; none named: all of them.
    pub namespaces: Vec<String>,
    /// How many workers, one thread each; as many as there are processors if not given.
    pub workers: Option<u16>,
    /// How many client connections may be open, over all workers; as many as the file descriptors allow if not
    /// given.
    pub connections: Option<NonZeroU32>,
    /// Bounds of heads, both sides.
    pub limits: HeadLimits,
    /// How long a request head may take, from its first byte to its last; a TLS handshake too.
    pub header: Duration,
    /// How long a connection may stay idle between requests.
    pub keep_alive: Duration,
    /// Bounds of connecting to endpoints.
    pub connect: ConnectLimits,
    /// When a request is sent again.
    pub retries: Retries,
    /// How endpoints are chosen.
    pub load_balancing: LoadBalancingType,
    /// How much of one Service may be taken up.
    pub per_service: PerService,
    /// How long an endpoint may take from the request's last byte to the response head.
    pub first_byte: Duration,
    /// How long a body may stand still, in either direction.
    pub stall: Duration,
    /// How long a WebSocket or another tunnel may be silent in both directions.
    pub tunnel_idle: Duration,
    /// How long a whole request may take, to the last byte of its answer; no bound if not given.
    pub request: Option<Duration>,
    /// How slowly an HTTP/1.1 request body with a Content-Length may arrive; no bound if not given.
    pub body_rate: BodyRate,
    /// What happens between SIGTERM and the end.
    pub drain: Drain,
    /// Whether the gateway's own answers carry their reason in the header `gateway-reason`.
    pub reason_header: ReasonHeader,
    /// What becomes of request fields whose names contain an underscore.
    pub underscore_names: UnderscoreNames,
    /// Networks of proxies in front of the gateway: what these say of the hops before them is believed.
    pub trusted: Vec<IpNet>,
    /// Whether answers of endpoints carry `X-Request-ID`. The gateway's own always do.
    pub request_id_echo: RequestIdEcho,
    /// What is logged of requests, where and how.
    pub access_log: access_log::Settings,
    /// The Service by which the outside reaches the gateway. It is only told of, never written.
    pub status_service: Option<Name>,
}

/// Where to listen; port 0 picks a free one.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// Plaintext for clients.
    pub http: SocketAddr,
    /// TLS for clients.
    pub https: SocketAddr,
    /// The admin pages.
    pub admin: SocketAddr,
    /// The pages for probes and scrapers alone, which may be reached from outside the pod.
    pub probe: Option<SocketAddr>,
}

/// Bounds of connecting.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimits {
    /// For one try.
    pub once: Duration,
    /// For all tries of one request.
    pub total: Duration,
}

/// How slowly a body may arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyRate {
    /// Bytes a second, on average since the body began; no bound if not given.
    pub least: Option<NonZeroU32>,
    /// How long the body may take before it is judged.
    pub grace: Duration,
}

/// What happens between SIGTERM and the end.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long connections are accepted while the gateway already says that it is not ready: load balancers need
    /// that time to stop sending.
    pub delay: Duration,
    /// When whatever is still open is cut off, counted from the signal.
    pub limit: Duration,
}

/// When a request is sent again, where its route's policy does not say it.
#[derive(Clone, Debug)]
pub struct Retries {
    /// How many times at most.
    pub attempts: Attempts,
    /// After which failures.
    pub on: Vec<RetryOn>,
    /// The methods of requests that may be sent a second time.
    pub methods: Vec<Method>,
}

/// How external host names are resolved.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// Name servers to query. Empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Whether host names may resolve to loopback addresses.
    pub loopback: Loopback,
}

/// Whether host names may resolve to loopback addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    /// They may not. Otherwise a tenant could reach services that listen on loopback in order to be unreachable.
    #[default]
    Refused,
    /// They may.
    Allowed,
}

/// How much of one Service port may be taken up, where a route's policy does not say it.
#[derive(Clone, Copy, Debug)]
pub struct PerService {
    /// Connections that may be open, over all workers.
    pub connections: NonZeroU32,
    /// Requests that may wait for one, over all workers.
    pub pending: u32,
}

/// Whether the gateway's own answers say why in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonHeader {
    /// They do.
    Shown,
    /// They do not: the reason is nobody's business but the operator's.
    Hidden,
}

/// What becomes of request fields whose names contain an underscore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderscoreNames {
    /// Not passed on: CGI and its heirs read `X_Forwarded_For` as `X-Forwarded-For`.
    Dropped,
    /// Passed on.
    Kept,
}

/// An address on this machine only.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Whether the client gets to know what its request is called in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIdEcho {
    /// In every answer, in place of what an endpoint says.
    Every,
    /// In the gateway's own answers only.
    OwnAnswers,
}

impl Settings {
    /// What a gateway in a pod begins with: it is reached from outside, and its namespace is `own_namespace`.
    pub fn in_cluster(own_namespace: &str) -> Self {
        let everywhere = |port| (Ipv6Addr::UNSPECIFIED, port).into();
        let (http, https, probe) = (everywhere(8080), everywhere(8443), Some(everywhere(9081)));
        let mut settings = Self::default();
        settings.listen = Listen { http, https, probe, ..settings.listen };
        settings.routing.namespace = own_namespace.to_owned();
        settings
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen {
                http: loopback(8080),
                https: loopback(8443),
                admin: loopback(9080),
                probe: None,
            },
            dns: Dns::default(),
            routing: routing::Config::default(),
            namespaces: Vec::new(),
            workers: None,
            connections: None,
            limits: HeadLimits::default(),
            header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connect: ConnectLimits { once: Duration::from_millis(800), total: Duration::from_millis(2500) },
            retries: Retries::default(),
            load_balancing: LoadBalancingType::RoundRobin,
            per_service: PerService::default(),
            first_byte: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(60 * 60),
            request: None,
            // Apache's mod_reqtimeout asks for the same rate. A phone on the worst of networks sends ten times as
            // much; 1000 bytes sent a byte a second would hold an exchange and its endpoint for a quarter of an
            // hour, and are cut off after the grace.
            body_rate: BodyRate { least: NonZeroU32::new(500), grace: Duration::from_secs(20) },
            drain: Drain { delay: Duration::from_secs(5), limit: Duration::from_secs(25) },
            reason_header: ReasonHeader::Shown,
            underscore_names: UnderscoreNames::Dropped,
            trusted: Vec::new(),
            request_id_echo: RequestIdEcho::OwnAnswers,
            access_log: access_log::Settings::default(),
            status_service: None,
        }
    }
}

impl Settings {
    /// How many workers there are to be: as told, or as many as fit this machine or the part of it that a
    /// container may use.
    pub fn workers(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.map_or_else(available, usize::from)
    }
}

impl Default for Retries {
    /// Three tries in all. What is sent twice is harmless to send twice (RFC 9110 §9.2.2), and only if the endpoint
    /// has most likely not seen it.
    fn default() -> Self {
        use Method::{Delete, Get, Head, Options, Put, Trace};
        Self {
            attempts: Attempts::TWO,
            on: vec![RetryOn::ConnectFailure, RetryOn::StaleConnection],
            methods: vec![Get, Head, Options, Put, Delete, Trace],
        }
    }
}

impl Default for PerService {
    fn default() -> Self {
        Self { connections: NonZeroU32::MIN.saturating_add(1023), pending: 1024 }
    }
}
