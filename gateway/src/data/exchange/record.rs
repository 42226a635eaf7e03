//! What an exchange came to: gathered on its way, told once at its end.
//!
//! Not here: how it is counted and written (`telemetry`).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use http1::{Head, Version};
use routing::object::{Name, PortRef};
use routing::table::{Field, Route};
use rustls::ProtocolVersion;

use super::abort::Abort;
use super::client::{Caller, Client, Codec, Scheme};
use super::refusal::Refusal;
use super::{Request, Worker};
use crate::data::upstream::{PooledConnection, RetryState};
use crate::observe::access_log::{Asked, Entry, Taken};

/// What an exchange came to.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The status that the client got, or was about to get; 0 if none.
    pub status: u16,
    /// Why it is not an endpoint's whole answer.
    pub ending: Ending,
    /// The endpoint that was asked last.
    pub upstream: Option<SocketAddr>,
    /// How often an endpoint was asked, failed connects included.
    pub tries: u32,
    /// Whether the last connection had carried a request before.
    pub reused: bool,
    /// The number of the Backend that was chosen among the route's.
    pub backend: Option<u64>,
    /// When the request's head had arrived; nothing if nobody wants to know.
    pub began: Option<Instant>,
    /// How long after that the endpoint's head came.
    pub first_byte: Option<Duration>,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did not: whoever waits for it has given up, or has been cut off.
    Unfinished,
    /// With an endpoint's whole answer.
    Forwarded,
    /// With an answer of the gateway.
    Refused(Refusal),
    /// With an answer of the gateway that the client did not get.
    Unsent(Refusal),
    /// Without a whole answer.
    Aborted(Abort),
    /// With a tunnel, which is logged when that has ended.
    Switched,
}

impl Record {
    /// Begins with nothing known. The time is taken only if it will be told.
    pub fn begin(worker: &Worker) -> Self {
        Self {
            status: 0,
            ending: Ending::Unfinished,
            upstream: None,
            tries: 0,
            reused: false,
            backend: None,
            began: worker.access_log.is_some().then(Instant::now),
            first_byte: None,
            received: 0,
            sent: 0,
        }
    }

    /// A connection to an endpoint was had, or none in the end.
    pub(super) fn tried(&mut self, retry: &RetryState, opened: Option<&PooledConnection>) {
        self.tries = retry.failed_count() + u32::from(opened.is_some());
        self.reused = opened.is_some_and(|opened| opened.is_reused);
        self.upstream = opened.map(PooledConnection::address).or(retry.last_failed());
    }

    /// An endpoint answered.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
        self.first_byte = self.began.map(|began| began.elapsed());
    }

    /// The gateway is going to answer itself.
    pub(super) fn refusing(&mut self, refusal: Refusal) {
        self.status = refusal.status();
        self.ending = Ending::Unsent(refusal);
    }

    /// The client has that answer, with a body of so many bytes.
    pub(super) fn refused(&mut self, refusal: Refusal, body: u64) {
        self.sent = body;
        self.ending = Ending::Refused(refusal);
    }
}

/// Whose request an exchange was about, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who sent it.
    pub caller: Caller<'a>,
    /// What was understood of its head.
    pub asked: Option<Asked<'a>>,
    /// Which rule took it.
    pub route: Option<&'a Route>,
}

/// Tells of its subject when it is dropped, however that comes about.
pub(super) struct Telling<'a> {
    pub(super) worker: &'a Worker,
    pub(super) subject: Subject<'a>,
    pub(super) record: Record,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.worker.tell(&self.subject, &self.record);
    }
}

/// What is told of a head; host and path as routes see them, if they could.
pub fn asked<'a>(request: &Request<'a>, destination: Option<(&'a str, &'a str)>) -> Asked<'a> {
    let head = request.head;
    let (host, path) = match destination {
        Some((host, path)) => (host.as_bytes(), path.as_bytes()),
        None => (head.get(http1::KnownName::Host).unwrap_or_default(), head.path()),
    };
    Asked {
        protocol: protocol(request.client, head),
        method: head.method(),
        host,
        path,
        has_query: head.target().len() > head.path().len(),
        user_agent: user_agent(head),
    }
}

fn protocol(client: &Client, head: &Head) -> &'static str {
    match (client.codec, head.version()) {
        (Codec::Http2, _) => "HTTP/2",
        (Codec::Http1, Version::Http11) => "HTTP/1.1",
        (Codec::Http1, Version::Http10) => "HTTP/1.0",
    }
}

fn user_agent(head: &Head) -> Option<&[u8]> {
    let mut named = head.fields().filter(|(_, name, _)| name.eq_ignore_ascii_case(b"user-agent"));
    named.next().map(|(_, _, value)| value)
}

fn tls(version: Option<ProtocolVersion>) -> Option<&'static str> {
    match version? {
        ProtocolVersion::TLSv1_2 => Some("1.2"),
        ProtocolVersion::TLSv1_3 => Some("1.3"),
        _ => None,
    }
}

impl<'a> Subject<'a> {
    fn entry(&'a self, record: &Record) -> Entry<'a> {
        let client = self.caller.client;
        Entry {
            asked: self.asked,
            route: self.route.map(|route| taken(route, record.backend)),
            ..entry((self.caller.id.as_bytes(), self.caller.address, client.scheme, client.tls), record)
        }
    }
}

fn taken(route: &Route, backend: Option<u64>) -> Taken<'_> {
    let chosen = route.backends.iter().find(|weighted| Some(weighted.backend.id) == backend);
    Taken {
        ingress: &route.origin.ingress.name,
        rule: route.origin.field,
        service: chosen.map(|weighted| (&weighted.backend.service, &weighted.backend.port)),
    }
}

fn entry<'a>(
    (id, client, scheme, version): (&'a [u8], IpAddr, Scheme, Option<ProtocolVersion>),
    record: &Record,
) -> Entry<'a> {
    let (reason, abort, is_unsent) = match record.ending {
        Ending::Unfinished | Ending::Forwarded | Ending::Switched => (None, None, false),
        Ending::Refused(refusal) => (Some(refusal.reason()), None, false),
        Ending::Unsent(refusal) => (Some(refusal.reason()), None, true),
        Ending::Aborted(abort) => (None, Some(abort.reason()), false),
    };
    Entry {
        id,
        client,
        scheme: scheme.as_str(),
        tls: tls(version),
        asked: None,
        status: record.status,
        reason,
        abort,
        is_unsent,
        received: record.received,
        sent: record.sent,
        duration: record.began.map(|began| began.elapsed()),
        first_byte: record.first_byte,
        upstream: record.upstream,
        tries: record.tries,
        is_reused: record.reused,
        route: None,
    }
}

impl Worker {
    /// Counts and logs what an exchange came to.
    pub fn tell(&self, subject: &Subject<'_>, record: &Record) {
        self.counters.answered(subject.route.map(|route| &route.origin.ingress), record.status);
        match record.ending {
            Ending::Unfinished | Ending::Forwarded => {}
            Ending::Refused(refusal) | Ending::Unsent(refusal) => self.counters.refused(refusal.reason()),
            Ending::Aborted(abort) => self.counters.aborted(abort.reason()),
            Ending::Switched => return,
        }
        if let Some(log) = &self.access_log {
            log.add(&subject.entry(record));
        }
    }

    /// Counts and logs that a client said something which came to no request.
    pub fn tell_of_none(
        &self,
        (address, scheme, tls): (IpAddr, Scheme, Option<ProtocolVersion>),
        abort: Abort,
    ) {
        self.counters.aborted(abort.reason());
        if let Some(log) = &self.access_log {
            // There is no time to tell: no request began.
            let record = Record { ending: Ending::Aborted(abort), began: None, ..Record::begin(self) };
            log.add(&entry((self.ids.make().as_bytes(), address, scheme, tls), &record));
        }
    }

    /// Counts and logs a request of which nothing is known but that it got this answer, without a body.
    pub fn tell_refused(&self, client: &Client, refusal: Refusal) {
        let caller = Caller { client, address: client.peer, id: self.ids.make() };
        let mut record = Record { status: refusal.status(), began: None, ..Record::begin(self) };
        record.refused(refusal, 0);
        self.tell(&Subject { caller, asked: None, route: None }, &record);
    }

    /// Counts and logs how a tunnel ended, whose request was counted when it began.
    pub(super) fn tell_tunnel(&self, ending: Ending, told: Option<(&Kept, Record)>) {
        if let Ending::Aborted(abort) = ending {
            self.counters.aborted(abort.reason());
        }
        if let (Some(log), Some((kept, record))) = (&self.access_log, told) {
            log.add(&kept.entry(&record));
        }
    }
}

/// What of a subject has to live as long as a tunnel: texts and names, nothing of the table.
#[derive(Debug)]
pub(super) struct Kept {
    id: Box<[u8]>,
    client: (IpAddr, Scheme, Option<ProtocolVersion>),
    protocol: &'static str,
    method: Box<[u8]>,
    host: Box<[u8]>,
    path: Box<[u8]>,
    has_query: bool,
    user_agent: Option<Box<[u8]>>,
    ingress: Option<(Name, Field)>,
    service: Option<(Name, PortRef)>,
}

impl Kept {
    pub(super) fn of(subject: &Subject<'_>, record: &Record) -> Option<Self> {
        let asked = subject.asked?;
        let Caller { client, address, id } = &subject.caller;
        let taken = subject.route.map(|route| taken(route, record.backend));
        let service = taken.and_then(|taken| taken.service);
        Some(Self {
            id: id.as_bytes().into(),
            client: (*address, client.scheme, client.tls),
            protocol: asked.protocol,
            method: asked.method.into(),
            host: asked.host.into(),
            path: asked.path.into(),
            has_query: asked.has_query,
            user_agent: asked.user_agent.map(Into::into),
            ingress: taken.map(|taken| (taken.ingress.clone(), taken.rule)),
            service: service.map(|(service, port)| (service.clone(), port.clone())),
        })
    }

    fn entry(&self, record: &Record) -> Entry<'_> {
        let (address, scheme, version) = self.client;
        let service = self.service.as_ref().map(|(service, port)| (service, port));
        Entry {
            asked: Some(Asked {
                protocol: self.protocol,
                method: &self.method,
                host: &self.host,
                path: &self.path,
                has_query: self.has_query,
                user_agent: self.user_agent.as_deref(),
            }),
            route: self.ingress.as_ref().map(|(ingress, rule)| Taken { ingress, rule: *rule, service }),
            ..entry((&self.id, address, scheme, version), record)
        }
    }
}
