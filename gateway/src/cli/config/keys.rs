//! The table of all settings: one entry each, with its place in the file, its form and its bounds.
//!
//! A new setting is a field of [`Settings`] and an entry here; file, environment, `--set` and `gateway config`
//! follow from that. Not here: where a value comes from (`super`).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use api::LoadBalancingType;

use super::value::{BYTES, COUNT, Form, LOG_FORMAT, NAMES, NETWORKS, TIME, list, plain};
use crate::cli::explain::request::service_name;
use crate::settings::{Loopback, ReasonHeader, RequestIdEcho, Settings, UnderscoreNames};

/// No deadline is shorter: the clock that they hang on ticks every 50 ms.
const SHORTEST: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a setting that may be left out is written when it is.
const NONE: &str = "none";
/// The same, where something else then decides.
const AUTO: &str = "auto";

/// One setting.
pub(super) struct Key {
    /// Its place in the file: `section.name`, in the order in which `gateway config` prints them.
    pub(super) path: &'static str,
    /// What it is, in a sentence.
    pub(super) about: &'static str,
    read: Read,
    write: Write,
}

type Read = Box<dyn Fn(&mut Settings, &str) -> Result<(), String>>;
type Write = Box<dyn Fn(&mut Settings) -> String>;

impl Key {
    /// Sets it from a text.
    ///
    /// # Errors
    /// What is expected instead.
    pub(super) fn read(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.read)(settings, text)
    }

    /// The text that sets it to what it is.
    pub(super) fn write(&self, settings: &Settings) -> String {
        (self.write)(&mut settings.clone())
    }

    /// The environment variable that sets it: `GATEWAY_SECTION_NAME`.
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

/// All settings.
pub(super) fn all() -> Vec<Key> {
    let mut keys = process();
    keys.extend(limits());
    keys.extend(deadlines());
    keys.extend(body_rate());
    keys.extend(upstream());
    keys.extend(names());
    keys.extend(drain());
    keys.extend(answers());
    keys.extend(access_log());
    keys
}

fn process() -> Vec<Key> {
    let address = |path, about, field| key(path, about, field, plain::<SocketAddr>());
    vec![
        address("listeners.http", "Where to listen for plaintext.", |all| &mut all.listen.http),
        address("listeners.https", "Where to listen for TLS.", |all| &mut all.listen.https),
        address("listeners.admin", "Where to serve the admin pages.", |all| &mut all.listen.admin),
        optional(
            ("listeners.probe", NONE),
            "Where to serve /livez, /readyz and /metrics alone, for the kubelet and for scrapers.",
            |all| &mut all.listen.probe,
            (plain::<SocketAddr>(), ..),
        ),
        optional(
            ("workers", AUTO),
            "How many workers, one thread each; auto: one for each processor that this process may use.",
            |all| &mut all.workers,
            (plain::<u16>(), 1..=1024),
        ),
        key(
            "classes",
            "IngressClasses that are served whatever their controller is, or even if only Ingresses name them.",
            |all| &mut all.routing.classes,
            NAMES,
        ),
        key(
            "namespaces",
            "The namespaces that are watched in a cluster; empty: all of them.",
            |all| &mut all.namespaces,
            NAMES,
        ),
        optional(
            ("zone", NONE),
            "The zone that this gateway runs in: endpoints with hints for it are preferred.",
            |all| &mut all.routing.zone,
            (plain::<String>(), ..),
        ),
    ]
}

fn limits() -> Vec<Key> {
    vec![
        optional(
            ("limits.connections", AUTO),
            "How many client connections may be open; auto: as many as the file descriptors allow.",
            |all| &mut all.connections,
            (plain::<NonZeroU32>(), NonZeroU32::MIN..=NonZeroU32::MAX),
        ),
        bounded(
            "limits.headBytes",
            "The largest head of a message, both sides.",
            |all| &mut all.limits.head_bytes,
            (BYTES, 1 << 10..=1 << 20),
        ),
        bounded(
            "limits.fields",
            "The most fields of a head, both sides.",
            |all| &mut all.limits.fields,
            (COUNT, 10..=http1::HeadLimits::MAX_FIELDS),
        ),
        bounded(
            "limits.targetBytes",
            "The longest target (path and query) of a request.",
            |all| &mut all.limits.target_bytes,
            (BYTES, 256..=1 << 20),
        ),
    ]
}

fn deadlines() -> Vec<Key> {
    let time = |path, about, field, within| bounded(path, about, field, (TIME, within));
    vec![
        time(
            "deadlines.header",
            "How long a request head may take, from its first byte to its last; a TLS handshake too.",
            |all| &mut all.header,
            SHORTEST..=HOUR,
        ),
        time(
            "deadlines.keepAlive",
            "How long a client's connection may stay idle between requests.",
            |all| &mut all.keep_alive,
            SHORTEST..=DAY,
        ),
        time(
            "deadlines.connect",
            "How long one try to connect to an endpoint may take.",
            |all| &mut all.connect.once,
            SHORTEST..=HOUR,
        ),
        time(
            "deadlines.connectTotal",
            "How long all tries of one request to connect may take.",
            |all| &mut all.connect.total,
            SHORTEST..=HOUR,
        ),
        time(
            "deadlines.firstByte",
            "How long an endpoint may take from the request's last byte to its answer's head.",
            |all| &mut all.first_byte,
            SHORTEST..=DAY,
        ),
        time(
            "deadlines.stall",
            "How long a body may stand still, in either direction.",
            |all| &mut all.stall,
            SHORTEST..=DAY,
        ),
        time(
            "deadlines.tunnelIdle",
            "How long a WebSocket or another tunnel may be silent in both directions.",
            |all| &mut all.tunnel_idle,
            SHORTEST..=30 * DAY,
        ),
        optional(
            ("deadlines.request", NONE),
            "How long a whole request may take, to the last byte of its answer.",
            |all| &mut all.request,
            (TIME, SHORTEST..=30 * DAY),
        ),
    ]
}

fn body_rate() -> Vec<Key> {
    vec![
        optional(
            ("deadlines.bodyBytesPerSecond", NONE),
            "How slowly an HTTP/1.1 request body with a Content-Length may arrive, on average.",
            |all| &mut all.body_rate.least,
            (plain::<NonZeroU32>(), NonZeroU32::MIN..=NonZeroU32::MAX),
        ),
        bounded(
            "deadlines.bodyGrace",
            "How long such a body may take before its rate is judged.",
            |all| &mut all.body_rate.grace,
            (TIME, SHORTEST..=HOUR),
        ),
    ]
}

fn upstream() -> Vec<Key> {
    let one = ("RoundRobin", LoadBalancingType::RoundRobin);
    vec![
        choice(
            "upstream.loadBalancing",
            "How endpoints are chosen: RoundRobin or LeastRequest.",
            |all| &mut all.load_balancing,
            [one, ("LeastRequest", LoadBalancingType::LeastRequest)],
        ),
        key(
            "upstream.connections",
            "How many connections one Service port may have, over all workers; further requests wait.",
            |all| &mut all.per_service.connections,
            plain(),
        ),
        key(
            "upstream.pending",
            "How many requests may wait for a connection to one Service port; further ones are answered 503.",
            |all| &mut all.per_service.pending,
            plain(),
        ),
        key(
            "upstream.retries",
            "How many times a request is tried again at most; 0: never.",
            |all| &mut all.retries.attempts,
            plain(),
        ),
        key(
            "upstream.retryOn",
            "After which failures: ConnectFailure, StaleConnection, Reset.",
            |all| &mut all.retries.on,
            list(),
        ),
        key(
            "upstream.retryMethods",
            "The methods of requests that may be sent a second time.",
            |all| &mut all.retries.methods,
            list(),
        ),
    ]
}

fn names() -> Vec<Key> {
    vec![
        key(
            "names.servers",
            "The name servers that ExternalName Services are asked of; empty: those of the system.",
            |all| &mut all.dns.servers,
            list::<SocketAddr>(),
        ),
        choice(
            "names.loopback",
            "Whether names may lead to this machine itself: refuse or allow.",
            |all| &mut all.dns.loopback,
            [("refuse", Loopback::Refused), ("allow", Loopback::Allowed)],
        ),
    ]
}

fn drain() -> Vec<Key> {
    vec![
        bounded(
            "drain.delay",
            "How long connections are accepted after SIGTERM, while /readyz says not ready.",
            |all| &mut all.drain.delay,
            (TIME, Duration::ZERO..=HOUR),
        ),
        bounded(
            "drain.limit",
            "When whatever is still open is cut off, from SIGTERM on.",
            |all| &mut all.drain.limit,
            (TIME, Duration::ZERO..=DAY),
        ),
    ]
}

fn answers() -> Vec<Key> {
    let shown = [("shown", ReasonHeader::Shown), ("hidden", ReasonHeader::Hidden)];
    let dropped = [("drop", UnderscoreNames::Dropped), ("keep", UnderscoreNames::Kept)];
    vec![
        choice(
            "requests.underscoreNames",
            "What becomes of request fields whose names contain an underscore: drop or keep.",
            |all| &mut all.underscore_names,
            dropped,
        ),
        key(
            "requests.trustedProxies",
            "Networks of proxies in front of the gateway: their X-Forwarded-* and X-Request-ID are believed.",
            |all| &mut all.trusted,
            NETWORKS,
        ),
        choice(
            "answers.reasonHeader",
            "Whether the gateway's own answers say why in the header gateway-reason: shown or hidden.",
            |all| &mut all.reason_header,
            shown,
        ),
        choice(
            "answers.requestId",
            "Which answers carry X-Request-ID: own (the gateway's own ones) or every.",
            |all| &mut all.request_id_echo,
            [("own", RequestIdEcho::OwnAnswers), ("every", RequestIdEcho::Every)],
        ),
        optional(
            ("status.service", NONE),
            "The Service (NAMESPACE/NAME) by which the outside reaches this gateway; explain tells of it.",
            |all| &mut all.status_service,
            (Form { read: service_name, write: ToString::to_string }, ..),
        ),
    ]
}

fn access_log() -> Vec<Key> {
    vec![
        key(
            "accessLog.to",
            "Where requests are logged: stdout, off, or a file, which is opened anew when it was moved away.",
            |all| &mut all.access_log.to,
            plain(),
        ),
        key(
            "accessLog.format",
            "How: json, or a text with placeholders such as {client}, {method}, {host}, {path}, {status}.",
            |all| &mut all.access_log.format,
            LOG_FORMAT,
        ),
        key(
            "accessLog.sample",
            "Which share of them, 0.0 to 1.0; statuses from 500 on and aborted requests always are.",
            |all| &mut all.access_log.sample,
            plain(),
        ),
    ]
}

/// Where a setting is kept.
type Field<T> = fn(&mut Settings) -> &mut T;

/// What a value must be within; texts need no more than their form.
trait Within<T> {
    /// # Errors
    /// What the bounds are.
    fn check(&self, value: &T, form: &Form<T>) -> Result<(), String>;
}

impl<T> Within<T> for std::ops::RangeFull {
    fn check(&self, _value: &T, _form: &Form<T>) -> Result<(), String> {
        Ok(())
    }
}

impl<T: PartialOrd> Within<T> for RangeInclusive<T> {
    fn check(&self, value: &T, form: &Form<T>) -> Result<(), String> {
        if self.contains(value) {
            return Ok(());
        }
        let [value, least, most] = [value, self.start(), self.end()].map(form.write);
        Err(format!("{value} is not between {least} and {most}"))
    }
}

fn key<T: 'static>(path: &'static str, about: &'static str, field: Field<T>, form: Form<T>) -> Key {
    bounded(path, about, field, (form, ..))
}

fn bounded<T: 'static>(
    path: &'static str,
    about: &'static str,
    field: Field<T>,
    (form, within): (Form<T>, impl Within<T> + 'static),
) -> Key {
    let Form { read, write } = form;
    Key {
        path,
        about,
        read: Box::new(move |settings, text| {
            let value = read(text)?;
            within.check(&value, &Form { read, write })?;
            *field(settings) = value;
            Ok(())
        }),
        write: Box::new(move |settings| write(field(settings))),
    }
}

/// A setting that may be left out; `absent` is how that is written.
fn optional<T: 'static>(
    (path, absent): (&'static str, &'static str),
    about: &'static str,
    field: Field<Option<T>>,
    (form, within): (Form<T>, impl Within<T> + 'static),
) -> Key {
    let Form { read, write } = form;
    Key {
        path,
        about,
        read: Box::new(move |settings, text| {
            let value = if text == absent { None } else { Some(read(text)?) };
            if let Some(value) = &value {
                within.check(value, &Form { read, write })?;
            }
            *field(settings) = value;
            Ok(())
        }),
        write: Box::new(move |settings| field(settings).as_ref().map_or_else(|| absent.to_owned(), write)),
    }
}

/// A setting that is one of two words.
fn choice<T: Copy + PartialEq + 'static>(
    path: &'static str,
    about: &'static str,
    field: Field<T>,
    words: [(&'static str, T); 2],
) -> Key {
    let names = words.map(|(name, _)| name).join(" or ");
    Key {
        path,
        about,
        read: Box::new(move |settings, text| {
            let word = words.into_iter().find(|(name, _)| *name == text);
            let (_, value) = word.ok_or_else(|| format!("{names} is expected, not {text:?}"))?;
            *field(settings) = value;
            Ok(())
        }),
        write: Box::new(move |settings| {
            let value = *field(settings);
            words.into_iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name).to_owned()
        }),
    }
}
