//! The table of all settings: one entry each, with its key in the file, its description and its form.
//!
//! A new setting is a field of [`Settings`] and an entry here. File, environment, `--set` and `gateway config` follow
//! from the entry. Not here: the source of a value (`super`).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use api::LoadBalancingType;

use super::error::ValueError;
use super::value::{
    Form, PortAlone, addresses, bytes, count, folder, lease_name, list, listen, log_format, names, networks,
    path, plain, service_name, switch, time, words,
};
use crate::observe::counters::RequestLabels;
use crate::settings::{Loopback, ReasonHeader, RequestIdEcho, Settings, TraceRequests, UnderscoreNames};

/// Minimum of most timeouts. The clock that measures them ticks every 50 ms.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The text for no value.
const NONE: &str = "none";
/// The text for no value, if the gateway then chooses one.
const AUTO: &str = "auto";

/// One setting.
pub(super) struct Key {
    /// The key in the file, `section.name`. `gateway config` prints the keys in the order of the table.
    pub(super) path: &'static str,
    /// What the setting does, in one or two sentences.
    pub(super) about: &'static str,
    read: Read,
    write: Write,
}

type Read = Box<dyn Fn(&mut Settings, &str) -> Result<(), ValueError>>;
type Write = Box<dyn Fn(&mut Settings) -> String>;

impl Key {
    fn new<T: 'static>(path: &'static str, about: &'static str, field: Field<T>, form: Form<T>) -> Self {
        let form = Rc::new(form);
        let parser = Rc::clone(&form);
        Self {
            path,
            about,
            read: Box::new(move |settings, text| {
                *field(settings) = parser.read(text)?;
                Ok(())
            }),
            write: Box::new(move |settings| form.write(field(settings))),
        }
    }

    /// Sets the value from a text.
    ///
    /// # Errors
    /// Returns a [`ValueError`] that says what is expected.
    pub(super) fn read(&self, settings: &mut Settings, text: &str) -> Result<(), ValueError> {
        (self.read)(settings, text)
    }

    /// Returns the text that sets the present value.
    pub(super) fn write(&self, settings: &Settings) -> String {
        (self.write)(&mut settings.clone())
    }

    /// Returns the environment variable of the setting: `GATEWAY_SECTION_NAME`.
    pub(super) fn variable(&self) -> String {
        let mut name = "GATEWAY_".to_owned();
        for c in self.path.chars() {
            match c {
                '.' => name.push('_'),
                c if c.is_ascii_uppercase() => name.extend(['_', c]),
                c => name.push(c.to_ascii_uppercase()),
            }
        }
        name
    }
}

/// Accesses the field of a setting.
type Field<T> = fn(&mut Settings) -> &mut T;

/// Returns all settings, in the order in which `gateway config` prints them.
pub(super) fn all() -> Vec<Key> {
    let mut keys = listeners();
    keys.extend(process());
    keys.extend(limits());
    keys.extend(upstream_limits());
    keys.extend(timeouts());
    keys.extend(upstream());
    keys.extend(dns());
    keys.extend(drain());
    keys.extend(requests_and_responses());
    keys.extend(status());
    keys.extend(access_log());
    keys.extend(metrics());
    keys.extend(plugins());
    keys
}

fn listeners() -> Vec<Key> {
    vec![
        Key::new(
            "listeners.http",
            "Address for plaintext requests. A port alone, and `:PORT`: all interfaces.",
            |all| &mut all.listeners.http,
            listen(PortAlone::AllInterfaces),
        ),
        Key::new(
            "listeners.https",
            "Address for TLS requests.",
            |all| &mut all.listeners.https,
            listen(PortAlone::AllInterfaces),
        ),
        Key::new(
            "listeners.admin",
            "Address of the admin pages. A port alone: the loopback interface only.",
            |all| &mut all.listeners.admin,
            listen(PortAlone::Loopback),
        ),
        Key::new(
            "listeners.probe",
            "Address of /livez, /readyz and /metrics alone, for the kubelet and for scrapers.",
            |all| &mut all.listeners.probe,
            listen(PortAlone::AllInterfaces).or(NONE),
        ),
    ]
}

fn process() -> Vec<Key> {
    vec![
        Key::new(
            "workers",
            "Number of worker threads. auto: one for each processor that this process may use.",
            |all| &mut all.workers,
            plain::<u16>().within(1..=1024).or(AUTO),
        ),
        Key::new(
            "classes",
            "IngressClasses to serve whatever their controller is, or even if only Ingresses name them.",
            |all| &mut all.routing.classes,
            names(),
        ),
        Key::new(
            "controller",
            "Controller whose IngressClasses are served. Gateways side by side in a cluster need one each.",
            |all| &mut all.routing.controller,
            plain::<String>(),
        ),
        Key::new(
            "namespaces",
            "Namespaces to watch in a cluster. Empty: all of them.",
            |all| &mut all.namespaces,
            names(),
        ),
        Key::new(
            "pluginDir",
            "Folder of modules that WasmPlugins of a cluster name by file://. A folder of YAML needs none.",
            |all| &mut all.routing.plugin_folder,
            plain::<String>().or(NONE),
        ),
        Key::new(
            "zone",
            "Zone of this gateway. Endpoints with hints for this zone are preferred.",
            |all| &mut all.routing.zone,
            plain::<String>().or(NONE),
        ),
    ]
}

fn limits() -> Vec<Key> {
    vec![
        Key::new(
            "limits.clientConnections",
            "Maximum open client connections. auto: as many as the file descriptors allow.",
            |all| &mut all.limits.client_connections,
            plain::<NonZeroU32>().or(AUTO),
        ),
        Key::new(
            "limits.memory",
            "Memory budget. Idle connections close at 85 %, new requests get 503 at 95 %. auto: that of the container.",
            |all| &mut all.limits.memory,
            bytes().within(1 << 20..=1 << 50).or(AUTO),
        ),
        Key::new(
            "limits.headBytes",
            "Maximum size of a request or response head.",
            |all| &mut all.limits.head.head_bytes,
            bytes().within(1 << 10..=1 << 20),
        ),
        Key::new(
            "limits.fields",
            "Maximum number of fields in a request or response head. Raise it for applications that send more.",
            |all| &mut all.limits.head.fields,
            count().within(10..=http1::HeadLimits::MAX_FIELDS),
        ),
        Key::new(
            "limits.targetBytes",
            "Maximum size of a request target (path and query).",
            |all| &mut all.limits.head.target_bytes,
            bytes().within(256..=1 << 20),
        ),
    ]
}

fn upstream_limits() -> Vec<Key> {
    vec![
        Key::new(
            "limits.upstreamConnections",
            "Maximum connections to one Service port, over all workers. Further requests queue.",
            |all| &mut all.limits.upstream_connections,
            plain(),
        ),
        Key::new(
            "limits.pendingRequests",
            "Maximum requests that queue for a connection to one Service port. Further requests get 503.",
            |all| &mut all.limits.pending_requests,
            plain(),
        ),
        Key::new(
            "limits.tunnels",
            "Maximum tunnels (WebSockets, for example) to one Service port, over all workers. Further ones get 503.",
            |all| &mut all.limits.tunnels,
            plain(),
        ),
        Key::new(
            "limits.minBodyBytesPerSecond",
            "Minimum average rate of a request body with a Content-Length.",
            |all| &mut all.limits.min_body_rate.bytes_per_second,
            plain::<NonZeroU32>().or(NONE),
        ),
        Key::new(
            "limits.minBodyRateGrace",
            "Time that a body may take before its rate is checked.",
            |all| &mut all.limits.min_body_rate.grace,
            time().within(MIN_TIMEOUT..=HOUR),
        ),
    ]
}

fn timeouts() -> Vec<Key> {
    vec![
        Key::new(
            "timeouts.requestHeader",
            "From the first to the last byte of a request head. Also limits a TLS handshake.",
            |all| &mut all.timeouts.request_header,
            time().within(MIN_TIMEOUT..=HOUR),
        ),
        Key::new(
            "timeouts.keepAlive",
            "Idle time of a client connection between requests.",
            |all| &mut all.timeouts.keep_alive,
            time().within(MIN_TIMEOUT..=DAY),
        ),
        Key::new(
            "timeouts.connect",
            "One attempt to connect to an endpoint.",
            |all| &mut all.timeouts.connect,
            time().within(MIN_TIMEOUT..=HOUR),
        ),
        Key::new(
            "timeouts.connectTotal",
            "All attempts of one request to connect.",
            |all| &mut all.timeouts.connect_total,
            time().within(MIN_TIMEOUT..=HOUR),
        ),
        Key::new(
            "timeouts.firstByte",
            "From the last byte of the request to the response head.",
            |all| &mut all.timeouts.first_byte,
            time().within(MIN_TIMEOUT..=DAY),
        ),
        Key::new(
            "timeouts.stall",
            "Pause in a request or response body.",
            |all| &mut all.timeouts.stall,
            time().within(MIN_TIMEOUT..=DAY),
        ),
        Key::new(
            "timeouts.tunnelIdle",
            "Silence of a WebSocket or another tunnel in both directions.",
            |all| &mut all.timeouts.tunnel_idle,
            time().within(MIN_TIMEOUT..=30 * DAY),
        ),
        Key::new(
            "timeouts.request",
            "A whole request, up to the last byte of the response.",
            |all| &mut all.timeouts.request,
            time().within(MIN_TIMEOUT..=30 * DAY).or(NONE),
        ),
    ]
}

fn upstream() -> Vec<Key> {
    use LoadBalancingType::{LeastRequest, RoundRobin};
    vec![
        Key::new(
            "retries.attempts",
            "Maximum attempts after the first one. 0: a request is never sent again.",
            |all| &mut all.retries.attempts,
            plain(),
        ),
        Key::new(
            "retries.on",
            "Failures that are retried: ConnectFailure, StaleConnection, Reset.",
            |all| &mut all.retries.on,
            list(),
        ),
        Key::new(
            "retries.methods",
            "Request methods that may be sent a second time.",
            |all| &mut all.retries.methods,
            list(),
        ),
        Key::new(
            "loadBalancing.type",
            "How an endpoint is chosen: RoundRobin or LeastRequest.",
            |all| &mut all.load_balancing.kind,
            words([("RoundRobin", RoundRobin), ("LeastRequest", LeastRequest)]),
        ),
        Key::new(
            "loadBalancing.maxEjectedPercent",
            "Maximum share of a Service's endpoints that failed requests may eject. If more fail, all get requests.",
            |all| &mut all.load_balancing.max_ejected_percent,
            plain::<u8>().within(0..=100),
        ),
    ]
}

fn dns() -> Vec<Key> {
    vec![
        Key::new(
            "dns.servers",
            "Name servers for the host names of ExternalName Services. Empty: those of the system.",
            |all| &mut all.dns.servers,
            list::<SocketAddr>(),
        ),
        Key::new(
            "dns.loopback",
            "Whether host names may resolve to loopback addresses: refuse or allow.",
            |all| &mut all.dns.loopback,
            words([("refuse", Loopback::Refused), ("allow", Loopback::Allowed)]),
        ),
    ]
}

fn drain() -> Vec<Key> {
    vec![
        Key::new(
            "drain.delay",
            "Time from SIGTERM during which connections are accepted, while /readyz fails.",
            |all| &mut all.drain.delay,
            time().within(Duration::ZERO..=HOUR),
        ),
        Key::new(
            "drain.limit",
            "Time from SIGTERM after which all open connections are closed.",
            |all| &mut all.drain.limit,
            time().within(Duration::ZERO..=DAY),
        ),
    ]
}

fn requests_and_responses() -> Vec<Key> {
    vec![
        Key::new(
            "requests.underscoreNames",
            "Whether request fields with an underscore in their name are forwarded: drop or keep.",
            |all| &mut all.requests.underscore_names,
            words([("drop", UnderscoreNames::Dropped), ("keep", UnderscoreNames::Kept)]),
        ),
        Key::new(
            "requests.trustedProxies",
            "Networks of proxies in front of the gateway. Their X-Forwarded-* and X-Request-ID are trusted.",
            |all| &mut all.requests.trusted_proxies,
            networks(),
        ),
        Key::new(
            "requests.healthPath",
            "Path that load balancers check: of any host, 200 while the gateway is ready, else 503. No route gets it.",
            |all| &mut all.requests.health_path,
            path().or(NONE),
        ),
        Key::new(
            "requests.trace",
            "Whether TRACE requests reach endpoints: refuse (405) or allow.",
            |all| &mut all.requests.trace,
            words([("refuse", TraceRequests::Refused), ("allow", TraceRequests::Forwarded)]),
        ),
        Key::new(
            "responses.reasonHeader",
            "Whether local replies carry their reason in the field gateway-reason: shown or hidden.",
            |all| &mut all.responses.reason_header,
            words([("shown", ReasonHeader::Shown), ("hidden", ReasonHeader::Hidden)]),
        ),
        Key::new(
            "responses.requestId",
            "Responses that carry X-Request-ID: own (local replies only) or every.",
            |all| &mut all.responses.request_id,
            words([("own", RequestIdEcho::LocalReplies), ("every", RequestIdEcho::Every)]),
        ),
    ]
}

fn status() -> Vec<Key> {
    vec![
        Key::new(
            "status.addresses",
            "Addresses to write to the status of Ingresses. Empty: those of status.service.",
            |all| &mut all.status.addresses,
            addresses(),
        ),
        Key::new(
            "status.service",
            "Service (NAMESPACE/NAME) that exposes this gateway. Its addresses become the status of Ingresses.",
            |all| &mut all.status.service,
            service_name().or(NONE),
        ),
        Key::new(
            "status.lease",
            "Lease in the gateway's namespace. Of all replicas with this name, one writes statuses and Events.",
            |all| &mut all.status.lease,
            lease_name(),
        ),
        Key::new(
            "status.takenClasses",
            "Whether statuses are written for classes of other controllers (--class): on or off.",
            |all| &mut all.routing.taken_class_status,
            switch(),
        ),
    ]
}

fn access_log() -> Vec<Key> {
    vec![
        Key::new(
            "accessLog.to",
            "Where requests are logged: stdout, off, or a file. A file that was renamed is reopened.",
            |all| &mut all.access_log.destination,
            plain(),
        ),
        Key::new(
            "accessLog.format",
            "json, or a text with placeholders such as {client}, {method}, {host}, {path}, {status}.",
            |all| &mut all.access_log.format,
            log_format(),
        ),
        Key::new(
            "accessLog.sample",
            "Share of requests to log, 0.0 to 1.0. Statuses from 500 on and aborted requests are always logged.",
            |all| &mut all.access_log.sample_rate,
            plain(),
        ),
    ]
}

fn metrics() -> Vec<Key> {
    vec![Key::new(
        "metrics.labels",
        "Labels of request metrics: ingress (Ingress and Service, 1000 at most), or none, for fewer time series.",
        |all| &mut all.request_labels,
        words([("ingress", RequestLabels::Ingress), ("none", RequestLabels::None)]),
    )]
}

fn plugins() -> Vec<Key> {
    vec![Key::new(
        "plugins.cache",
        "Absolute path of a folder for compiled plugins, which only the gateway's user may write to, or none.",
        |all| &mut all.plugins.cache,
        folder().or(NONE),
    )]
}
