//! What an exchange came to: gathered on its way, told once at its end.
//!
//! Not here: how it is counted and written (`telemetry`).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use http1::{Head, Version};
use routing::object::{Name, PortRef};
use routing::table::{FieldPath, Route};
use rustls::ProtocolVersion;

use super::abort::Abort;
use super::client::{Client, Codec, RequestSource, Scheme};
use super::reply_reason::ReplyReason;
use super::{Request, Worker};
use crate::data::upstream::{PooledConnection, RetryState};
use crate::observe::access_log::{Entry, RequestFields, RouteFields};

/// What an exchange came to.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The status that the client got, or was about to get; 0 if none.
    pub status: u16,
    /// Why it is not an endpoint's whole answer.
    pub completion: Completion,
    /// The endpoint that was asked last.
    pub upstream: Option<SocketAddr>,
    /// How often an endpoint was asked, failed connects included.
    pub attempts: u32,
    /// Whether the last connection had carried a request before.
    pub is_reused: bool,
    /// The number of the Backend that was chosen among the route's.
    pub backend_id: Option<u64>,
    /// When the request's head had arrived; nothing if nobody wants to know.
    pub started_at: Option<Instant>,
    /// How long after that the endpoint's head came.
    pub first_byte: Option<Duration>,
    /// Bytes of the request's body.
    pub received_bytes: u64,
    /// Bytes of the answer's body.
    pub sent_bytes: u64,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It did not: whoever waits for it has given up, or has been cut off.
    Unfinished,
    /// With an endpoint's whole answer.
    Forwarded,
    /// With an answer of the gateway.
    LocalReply(ReplyReason),
    /// With an answer of the gateway that the client did not get.
    ReplyUnsent(ReplyReason),
    /// Without a whole answer.
    Aborted(Abort),
    /// With a tunnel, which is logged when that has ended.
    Upgraded,
}

impl Record {
    /// Begins with nothing known. The time is taken only if it will be told.
    pub fn new(worker: &Worker) -> Self {
        Self {
            status: 0,
            completion: Completion::Unfinished,
            upstream: None,
            attempts: 0,
            is_reused: false,
            backend_id: None,
            started_at: worker.access_log.is_some().then(Instant::now),
            first_byte: None,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// A connection to an endpoint was had, or none in the end.
    pub(super) fn on_attempt(&mut self, retry: &RetryState, opened: Option<&PooledConnection>) {
        self.attempts = retry.failed_count() + u32::from(opened.is_some());
        self.is_reused = opened.is_some_and(|opened| opened.is_reused);
        self.upstream = opened.map(PooledConnection::address).or(retry.last_failed());
    }

    /// An endpoint answered.
    pub(super) fn on_response_head(&mut self, status: u16) {
        self.status = status;
        self.first_byte = self.started_at.map(|started_at| started_at.elapsed());
    }

    /// The gateway is going to answer itself.
    pub(super) fn on_local_reply(&mut self, reason: ReplyReason) {
        self.status = reason.status();
        self.completion = Completion::ReplyUnsent(reason);
    }

    /// The client has that answer, with a body of so many bytes.
    pub(super) fn on_local_reply_sent(&mut self, reason: ReplyReason, body: u64) {
        self.sent_bytes = body;
        self.completion = Completion::LocalReply(reason);
    }
}

/// Whose request an exchange was about, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    /// Who sent it.
    pub source: RequestSource<'a>,
    /// What was understood of its head.
    pub asked: Option<RequestFields<'a>>,
    /// Which rule took it.
    pub route: Option<&'a Route>,
}

/// Tells of its info when it is dropped, however that comes about.
pub(super) struct ReportOnDrop<'a> {
    pub(super) worker: &'a Worker,
    pub(super) info: RequestInfo<'a>,
    pub(super) record: Record,
}

impl Drop for ReportOnDrop<'_> {
    fn drop(&mut self) {
        self.worker.report(&self.info, &self.record);
    }
}

/// What is told of a head; host and path as routes see them, if they could.
pub fn request_fields<'a>(
    request: &Request<'a>,
    destination: Option<(&'a str, &'a str)>,
) -> RequestFields<'a> {
    let head = request.head;
    let (host, path) = match destination {
        Some((host, path)) => (host.as_bytes(), path.as_bytes()),
        None => (head.get(http1::KnownName::Host).unwrap_or_default(), head.path()),
    };
    RequestFields {
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

impl<'a> RequestInfo<'a> {
    fn entry(&'a self, record: &Record) -> Entry<'a> {
        let client = self.source.client;
        Entry {
            asked: self.asked,
            route: self.route.map(|route| route_fields(route, record.backend_id)),
            ..entry((self.source.id.as_bytes(), self.source.address, client.scheme, client.tls), record)
        }
    }
}

fn route_fields(route: &Route, backend: Option<u64>) -> RouteFields<'_> {
    let chosen = route.backends.iter().find(|weighted| Some(weighted.backend.id) == backend);
    RouteFields {
        ingress: &route.origin.ingress.name,
        rule: route.origin.field,
        service: chosen.map(|weighted| (&weighted.backend.service, &weighted.backend.port)),
    }
}

fn entry<'a>(
    (id, client, scheme, version): (&'a [u8], IpAddr, Scheme, Option<ProtocolVersion>),
    record: &Record,
) -> Entry<'a> {
    let (reason, abort, is_unsent) = match record.completion {
        Completion::Unfinished | Completion::Forwarded | Completion::Upgraded => (None, None, false),
        Completion::LocalReply(reason) => (Some(reason.as_str()), None, false),
        Completion::ReplyUnsent(reason) => (Some(reason.as_str()), None, true),
        Completion::Aborted(abort) => (None, Some(abort.as_str()), false),
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
        received: record.received_bytes,
        sent: record.sent_bytes,
        duration: record.started_at.map(|started_at| started_at.elapsed()),
        first_byte: record.first_byte,
        upstream: record.upstream,
        attempts: record.attempts,
        is_reused: record.is_reused,
        route: None,
    }
}

impl Worker {
    /// Counts and logs what an exchange came to.
    pub fn report(&self, info: &RequestInfo<'_>, record: &Record) {
        self.counters.count_response(info.route.map(|route| &route.origin.ingress), record.status);
        match record.completion {
            Completion::Unfinished | Completion::Forwarded => {}
            Completion::LocalReply(reason) | Completion::ReplyUnsent(reason) => {
                self.counters.count_local_reply(reason.as_str())
            }
            Completion::Aborted(abort) => self.counters.count_abort(abort.as_str()),
            Completion::Upgraded => return,
        }
        if let Some(log) = &self.access_log {
            log.log(&info.entry(record));
        }
    }

    /// Counts and logs that a client said something which came to no request.
    pub fn report_connection(
        &self,
        (address, scheme, tls): (IpAddr, Scheme, Option<ProtocolVersion>),
        abort: Abort,
    ) {
        self.counters.count_abort(abort.as_str());
        if let Some(log) = &self.access_log {
            // There is no time to tell: no request started_at.
            let record =
                Record { completion: Completion::Aborted(abort), started_at: None, ..Record::new(self) };
            log.log(&entry((self.request_ids.make().as_bytes(), address, scheme, tls), &record));
        }
    }

    /// Counts and logs a request of which nothing is known but that it got this answer, without a body.
    pub fn report_local_reply(&self, client: &Client, reason: ReplyReason) {
        let source = RequestSource { client, address: client.peer, id: self.request_ids.make() };
        let mut record = Record { status: reason.status(), started_at: None, ..Record::new(self) };
        record.on_local_reply_sent(reason, 0);
        self.report(&RequestInfo { source, asked: None, route: None }, &record);
    }

    /// Counts and logs how a tunnel ended, whose request was counted when it started_at.
    pub(super) fn report_tunnel(&self, completion: Completion, told: Option<(&OwnedRequestInfo, Record)>) {
        if let Completion::Aborted(abort) = completion {
            self.counters.count_abort(abort.as_str());
        }
        if let (Some(log), Some((owned, record))) = (&self.access_log, told) {
            log.log(&owned.entry(&record));
        }
    }
}

/// What of a info has to live as long as a tunnel: texts and names, nothing of the table.
#[derive(Debug)]
pub(super) struct OwnedRequestInfo {
    id: Box<[u8]>,
    client: (IpAddr, Scheme, Option<ProtocolVersion>),
    protocol: &'static str,
    method: Box<[u8]>,
    host: Box<[u8]>,
    path: Box<[u8]>,
    has_query: bool,
    user_agent: Option<Box<[u8]>>,
    ingress: Option<(Name, FieldPath)>,
    service: Option<(Name, PortRef)>,
}

impl OwnedRequestInfo {
    pub(super) fn new(info: &RequestInfo<'_>, record: &Record) -> Option<Self> {
        let asked = info.asked?;
        let RequestSource { client, address, id } = &info.source;
        let taken = info.route.map(|route| route_fields(route, record.backend_id));
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
            asked: Some(RequestFields {
                protocol: self.protocol,
                method: &self.method,
                host: &self.host,
                path: &self.path,
                has_query: self.has_query,
                user_agent: self.user_agent.as_deref(),
            }),
            route: self.ingress.as_ref().map(|(ingress, rule)| RouteFields { ingress, rule: *rule, service }),
            ..entry((&self.id, address, scheme, version), record)
        }
    }
}
