//! The format of an entry: its fields, JSON, and text templates.
//!
//! A client cannot end a quoted value or a line: control bytes, quotes, backslashes and invalid UTF-8 are escaped.
//! Not here: the outcome of a request (`exchange::record`).

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use routing::object::{Name, PortRef};
use routing::table;

mod escape;

use super::stamp::three_digits;
use escape::Escape;

/// The values of one entry. Unknown values are omitted in JSON and `-` in text.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The request ID.
    pub id: &'a [u8],
    /// The address of the client.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The TLS version: `1.2` or `1.3`.
    pub tls: Option<&'static str>,
    /// The failed handshake.
    pub tls_failure: Option<TlsFailure<'a>>,
    /// The fields of the request head. `None` if it could not be parsed.
    pub request: Option<RequestFields<'a>>,
    /// The status code of the response. 0: no response.
    pub status: u16,
    /// The reason of a local reply.
    pub reason: Option<&'static str>,
    /// Why there is no complete response.
    pub abort: Option<&'static str>,
    /// Whether a local reply could not be sent.
    pub is_unsent: bool,
    /// Bytes of the request body, or from the client through a tunnel.
    pub received: u64,
    /// Bytes of the response body, or to the client through a tunnel.
    pub sent: u64,
    /// Time from the last byte of the request head to the end of the exchange.
    pub duration: Option<Duration>,
    /// Time from the last byte of the request head to the response head of the endpoint.
    pub first_byte: Option<Duration>,
    /// The endpoint of the last attempt.
    pub upstream: Option<SocketAddr>,
    /// Number of attempts, including failed connects.
    pub attempts: u32,
    /// Whether the connection of the last attempt had carried a request before.
    pub is_reused: bool,
    /// The route of the request.
    pub route: Option<RouteFields<'a>>,
}

/// The logged fields of a TLS handshake that failed.
#[derive(Clone, Copy, Debug)]
pub struct TlsFailure<'a> {
    /// The host that the client named by SNI.
    pub server_name: Option<&'a str>,
    /// The error. `None`: the time was over.
    pub error: Option<&'a str>,
}

/// The logged fields of a request head.
#[derive(Clone, Copy, Debug)]
pub struct RequestFields<'a> {
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// The method.
    pub method: &'a [u8],
    /// The host without its port. The received bytes if it is malformed.
    pub host: &'a [u8],
    /// The canonical path. The received bytes if it is malformed.
    pub path: &'a [u8],
    /// Whether there was a query. The query itself is not logged, since it may contain secrets.
    pub has_query: bool,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
}

/// The logged fields of a route.
#[derive(Clone, Copy, Debug)]
pub struct RouteFields<'a> {
    /// The Ingress, or the IngressClass of a default backend.
    pub ingress: &'a Name,
    /// The field of the rule.
    pub rule: table::FieldPath,
    /// The Service that was chosen.
    pub service: Option<(&'a Name, &'a PortRef)>,
}

impl Entry<'_> {
    /// Returns true if the entry is logged whatever the sample rate: for a status from 500 on and for an aborted request.
    /// A connection without a request is sampled, so that port scans do not fill the log.
    pub fn is_always_logged(&self) -> bool {
        self.status >= 500 || (self.abort.is_some() && self.request.is_some()) || self.is_unsent
    }
}

/// Defines each field together with its name.
macro_rules! fields {
    ($($(#[$about:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// A field of an entry. Its name is a key in JSON and a placeholder in templates.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $($(#[$about])* $variant),+
        }

        impl Field {
            /// All fields in the order of JSON.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// Calls `act` with each field in order. Unrolled: a loop over [`Self::ALL`] would branch on each field.
            #[inline(always)]
            fn for_each(mut act: impl FnMut(Self)) {
                $(act(Self::$variant));+
            }

            /// Returns the name as a key of JSON.
            #[inline(always)]
            fn key(self) -> &'static [u8] {
                match self {
                    $(Self::$variant => concat!("\"", $name, "\":").as_bytes()),+
                }
            }
        }
    };
}

fields! {
    /// The time at which the exchange ended.
    Time = "time",
    /// [`Entry::id`]
    Id = "requestId",
    /// [`Entry::client`]
    Client = "client",
    /// [`Entry::scheme`]
    Scheme = "scheme",
    /// [`RequestFields::protocol`]
    Protocol = "protocol",
    /// [`Entry::tls`]
    Tls = "tls",
    /// [`RequestFields::method`]
    Method = "method",
    /// [`RequestFields::host`]
    Host = "host",
    /// [`RequestFields::path`]
    Path = "path",
    /// [`RequestFields::has_query`]
    Query = "query",
    /// [`Entry::status`]
    Status = "status",
    /// [`Entry::reason`]
    Reason = "reason",
    /// [`Entry::abort`]
    Abort = "abort",
    /// [`TlsFailure::server_name`]
    ServerName = "sni",
    /// [`TlsFailure::error`]
    TlsError = "tlsError",
    /// [`Entry::is_unsent`]
    Unsent = "unsent",
    /// [`Entry::received`]
    BytesIn = "bytesIn",
    /// [`Entry::sent`]
    BytesOut = "bytesOut",
    /// [`Entry::duration`], in milliseconds
    Duration = "durationMs",
    /// [`Entry::first_byte`], in milliseconds
    FirstByte = "firstByteMs",
    /// [`Entry::upstream`]
    Upstream = "upstream",
    /// [`Entry::attempts`]
    Attempts = "attempts",
    /// [`Entry::is_reused`]
    Reused = "reused",
    /// [`RouteFields::ingress`], as namespace/name
    Ingress = "ingress",
    /// [`RouteFields::rule`], as a field path
    Rule = "rule",
    /// [`RouteFields::service`], as namespace/name:port
    Service = "service",
    /// [`RequestFields::user_agent`]
    UserAgent = "userAgent",
}

/// The value of a field.
enum Value<'a> {
    Flag(bool),
    Number(u64),
    Millis(Duration),
    /// Untrusted text.
    Text(&'a [u8]),
    Address(IpAddr),
    Endpoint(SocketAddr),
    Name(&'a Name),
    Rule(table::FieldPath),
    Service(&'a Name, &'a PortRef),
}

impl Field {
    /// Returns the value in an entry that is written at `time`, or `None` if it is unknown.
    #[inline(always)]
    fn value<'a>(self, entry: &Entry<'a>, time: &'a str) -> Option<Value<'a>> {
        let word = |word: &'static str| Value::Text(word.as_bytes());
        let of_request = |value: fn(&RequestFields<'a>) -> Value<'a>| entry.request.as_ref().map(value);
        let was_attempted = entry.attempts > 0;
        match self {
            Self::Time => Some(Value::Text(time.as_bytes())),
            Self::Id => Some(Value::Text(entry.id)),
            Self::Client => Some(Value::Address(entry.client)),
            Self::Scheme => Some(word(entry.scheme)),
            Self::Tls => entry.tls.map(word),
            Self::Protocol => of_request(|request| Value::Text(request.protocol.as_bytes())),
            Self::Method => of_request(|request| Value::Text(request.method)),
            Self::Host => of_request(|request| Value::Text(request.host)),
            Self::Path => of_request(|request| Value::Text(request.path)),
            Self::Query => of_request(|request| Value::Flag(request.has_query)),
            Self::UserAgent => entry.request.and_then(|request| request.user_agent).map(Value::Text),
            Self::Status => (entry.status != 0).then_some(Value::Number(entry.status.into())),
            Self::Reason => entry.reason.map(word),
            Self::Abort => entry.abort.map(word),
            Self::ServerName => {
                let name = entry.tls_failure.and_then(|failure| failure.server_name);
                name.map(|name| Value::Text(name.as_bytes()))
            }
            Self::TlsError => {
                let error = entry.tls_failure.and_then(|failure| failure.error);
                error.map(|error| Value::Text(error.as_bytes()))
            }
            Self::Unsent => entry.is_unsent.then_some(Value::Flag(true)),
            Self::BytesIn => Some(Value::Number(entry.received)),
            Self::BytesOut => Some(Value::Number(entry.sent)),
            Self::Duration => entry.duration.map(Value::Millis),
            Self::FirstByte => entry.first_byte.map(Value::Millis),
            Self::Upstream => entry.upstream.map(Value::Endpoint),
            Self::Attempts => was_attempted.then_some(Value::Number(entry.attempts.into())),
            Self::Reused => was_attempted.then_some(Value::Flag(entry.is_reused)),
            Self::Ingress => entry.route.map(|taken| Value::Name(taken.ingress)),
            Self::Rule => entry.route.map(|taken| Value::Rule(taken.rule)),
            Self::Service => entry
                .route
                .and_then(|taken| taken.service)
                .map(|(service, port)| Value::Service(service, port)),
        }
    }
}

/// The format of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with the known fields in the order of [`Field::ALL`].
    #[default]
    Json,
    /// Text with placeholders: `{client} {status}`. `{{` and `}}` are literal braces.
    Template(Template),
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Field(Field),
}

/// Why a template is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No field has this name.
    #[error("{{{0}}} is no field")]
    Unknown(String),
    /// A `{` or `}` without the other.
    #[error("unbalanced brace; a literal brace is written twice")]
    Brace,
    /// The template has no placeholder.
    #[error("json, or a text with a placeholder such as {{status}}, is expected")]
    Constant,
    /// The template contains a control character other than a tab.
    #[error("control characters are not allowed")]
    Control,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "json" {
            return Ok(Self::Json);
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(FormatError::Control);
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            let brace = [("{{", '{'), ("}}", '}')].into_iter();
            let brace = brace.filter_map(|(twice, once)| Some((once, from.strip_prefix(twice)?))).next();
            if let Some((once, after)) = brace {
                literal.push(once);
                rest = after;
                continue;
            }
            let (name, after) =
                from.strip_prefix('{').and_then(|from| from.split_once('}')).ok_or(FormatError::Brace)?;
            let field = Field::ALL.iter().find(|field| field.name() == name);
            let field = field.ok_or_else(|| FormatError::Unknown(name.to_owned()))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Field(*field));
            rest = after;
        }
        literal.push_str(rest);
        if parts.is_empty() {
            return Err(FormatError::Constant);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self::Template(Template { source: text.into(), parts: parts.into() }))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Template(template) => &template.source,
        })
    }
}

impl Format {
    /// Writes one entry and a line end.
    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &Entry<'_>, time: &str) {
        match self {
            Self::Json => write_json(out, entry, time),
            Self::Template(template) => {
                for part in &template.parts {
                    match part {
                        Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                        Part::Field(field) => match field.value(entry, time) {
                            Some(value) => value.write(out, Escape::Text),
                            None => out.push(b'-'),
                        },
                    }
                }
            }
        }
        out.push(b'\n');
    }
}

fn write_json(out: &mut Vec<u8>, entry: &Entry<'_>, time: &str) {
    let mut before = b'{';
    Field::for_each(|field| {
        let Some(value) = field.value(entry, time) else { return };
        out.push(before);
        out.extend_from_slice(field.key());
        if value.is_unquoted() {
            value.write(out, Escape::Json);
        } else {
            out.push(b'"');
            value.write(out, Escape::Json);
            out.push(b'"');
        }
        before = b',';
    });
    out.push(b'}');
}

impl Value<'_> {
    /// Returns true if JSON has the value without quotes.
    #[inline(always)]
    fn is_unquoted(&self) -> bool {
        matches!(self, Self::Flag(_) | Self::Number(_) | Self::Millis(_))
    }

    /// Writes the value. Frequent values avoid `fmt`, which is slower.
    #[inline(always)]
    fn write(&self, out: &mut Vec<u8>, escape: Escape) {
        match self {
            Self::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::Number(number) => self::number(out, *number),
            Self::Millis(time) => {
                number(out, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                out.push(b'.');
                out.extend_from_slice(&three_digits(time.subsec_micros()));
            }
            Self::Address(address) => self::address(out, *address),
            Self::Endpoint(SocketAddr::V4(endpoint)) => {
                address(out, (*endpoint.ip()).into());
                out.push(b':');
                number(out, endpoint.port().into());
            }
            // Writing to memory cannot fail.
            Self::Endpoint(endpoint) => drop(write!(out, "{endpoint}")),
            Self::Rule(field) => drop(write!(out, "{field}")),
            Self::Text(text) => escape.write(out, text),
            Self::Name(name) => self::name(out, escape, name),
            Self::Service(service, port) => {
                name(out, escape, service);
                out.push(b':');
                match port {
                    PortRef::Name(name) => escape.write(out, name.as_bytes()),
                    PortRef::Number(port) => number(out, port.get().into()),
                }
            }
        }
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Writing to memory cannot fail.
        return drop(write!(out, "{address}"));
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        number(out, octet.into());
    }
}

/// Writes `namespace/name`.
fn name(out: &mut Vec<u8>, escape: Escape, name: &Name) {
    if !name.namespace.is_empty() {
        escape.write(out, name.namespace.as_bytes());
        out.push(b'/');
    }
    escape.write(out, name.name.as_bytes());
}

#[cfg(test)]
mod tests;
