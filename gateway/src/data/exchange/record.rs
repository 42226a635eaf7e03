//! Per-request outcome, collected while a request is served and reported once to the metrics and the access log.
//!
//! Not here: how it is counted and written (`observe`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http1::{Head, KnownName, Version};
use routing::object::{Name, PortRef};
use routing::table::{Backend, FieldPath, Route};

use super::abort::Abort;
use super::client::{Client, Codec, ConnectionInfo, tls_version};
use super::destination::Destination;
use super::forwarded::RequestSource;
use super::reply_reason::ReplyReason;
use super::worker::Worker;
use crate::data::drain::Phase;
use crate::data::upstream::{PooledConnection, RetryState};
use crate::observe::access_log::{Entry, RequestFields, RouteFields, TlsFailure};
use crate::observe::counters::ResponseSample;

/// Outcome of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Status that the client received, or was about to receive; 0 if there is none.
    pub(super) status: u16,
    /// How the exchange ended.
    pub(super) completion: Completion,
    /// Endpoint of the last attempt.
    pub(super) upstream: Option<SocketAddr>,
    /// Attempts, failed connects included.
    pub(super) attempts: u32,
    /// Whether the last attempt used a connection that had carried a request before.
    pub(super) is_reused: bool,
    /// ID of the Backend that was chosen among the route's.
    pub(super) backend_id: Option<u64>,
    /// When the request's head had arrived; `None` if it never did.
    pub(super) started_at: Option<Instant>,
    /// From `started_at` to the head of the endpoint's response.
    pub(super) first_byte: Option<Duration>,
    /// Bytes of the request's body, or from the client through a tunnel.
    pub(super) received_bytes: u64,
    /// Bytes of the response's body, or to the client through a tunnel.
    pub(super) sent_bytes: u64,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// It has not ended, or its future was dropped.
    Unfinished,
    /// With the endpoint's whole response.
    Forwarded,
    /// With a local reply.
    LocalReply(&'static str),
    /// With a local reply that the client did not receive whole.
    ReplyUnsent {
        /// Reason of the local reply.
        reason: &'static str,
        /// Cause of the failure; `None` while the reply is sent.
        abort: Option<Abort>,
    },
    /// Without a whole response.
    Aborted(Abort),
    /// With a tunnel, which is logged when it ends.
    Upgraded,
}

impl Completion {
    /// Returns how an exchange ended whose future was dropped in this state.
    pub(super) fn dropped(self, phase: Phase) -> Self {
        match self {
            Self::Unfinished => Self::Aborted(Abort::from_drop(phase)),
            Self::ReplyUnsent { reason, abort: None } => {
                Self::ReplyUnsent { reason, abort: Some(Abort::from_drop(phase)) }
            }
            Self::ReplyUnsent { abort: Some(_), .. }
            | Self::Forwarded
            | Self::LocalReply(_)
            | Self::Aborted(_)
            | Self::Upgraded => self,
        }
    }
}

impl Record {
    /// Creates an empty record.
    pub(super) fn new(started_at: Option<Instant>) -> Self {
        Self {
            status: 0,
            completion: Completion::Unfinished,
            upstream: None,
            attempts: 0,
            is_reused: false,
            backend_id: None,
            started_at,
            first_byte: None,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// Records the attempts so far. `opened` is the connection to an endpoint; `None` if no attempt succeeded.
    pub(super) fn on_attempt(&mut self, retry: &RetryState, opened: Option<&PooledConnection>) {
        self.attempts = retry.failed_count() + u32::from(opened.is_some());
        self.is_reused = opened.is_some_and(|opened| opened.is_reused);
        self.upstream = opened.map(PooledConnection::address).or(retry.last_failed());
    }

    /// Records the head of the endpoint's response.
    pub(super) fn on_response_head(&mut self, status: u16) {
        self.status = status;
        self.first_byte = self.started_at.map(|started_at| started_at.elapsed());
    }

    /// Records that a local reply begins.
    pub(super) fn on_local_reply(&mut self, status: u16, reason: &'static str) {
        self.status = status;
        self.completion = Completion::ReplyUnsent { reason, abort: None };
    }

    /// Records that the client has the local reply.
    pub(super) fn on_local_reply_sent(&mut self, reason: &'static str, body_bytes: u64) {
        self.sent_bytes = body_bytes;
        self.completion = Completion::LocalReply(reason);
    }

    /// Records that the client did not receive the local reply whole.
    pub(super) fn on_local_reply_unsent(&mut self, reason: &'static str, abort: Abort) {
        self.completion = Completion::ReplyUnsent { reason, abort: Some(abort) };
    }
}

/// What is known of a request when it is reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestInfo<'a> {
    /// Sender and ID.
    pub(super) source: RequestSource<'a>,
    /// Parts of the head that were understood.
    pub(super) request: Option<RequestFields<'a>>,
    /// Route of the request.
    pub(super) route: Option<&'a Route>,
}

/// Reports a request when it is dropped, so that a cancelled future is reported, too.
pub(super) struct ReportOnDrop<'a> {
    pub(super) worker: &'a Worker,
    pub(super) info: RequestInfo<'a>,
    pub(super) record: Record,
}

impl Drop for ReportOnDrop<'_> {
    fn drop(&mut self) {
        self.record.completion = self.record.completion.dropped(self.worker.drain.phase());
        self.worker.report(&self.info, &self.record);
    }
}

/// Returns the fields of a request that are logged. Host and path are as received if there is no destination.
pub fn request_fields<'a>(
    client: &Client,
    head: &'a Head,
    destination: Option<&'a Destination<'_>>,
) -> RequestFields<'a> {
    let (host, path) = match destination {
        Some(destination) => (destination.host.as_bytes(), destination.path.as_bytes()),
        None => (head.get(KnownName::Host).unwrap_or_default(), head.path()),
    };
    RequestFields {
        protocol: protocol(client, head),
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

impl<'a> RequestInfo<'a> {
    fn sample(&self, record: &Record) -> ResponseSample<'a> {
        let chosen = self.route.and_then(|route| chosen_backend(route, record.backend_id));
        ResponseSample {
            ingress: self.route.map(|route| &route.origin.ingress),
            backend: chosen.map(|backend| (backend.id, &backend.service)),
            status: record.status,
            duration: record.started_at.map(|started_at| started_at.elapsed()),
            first_byte: record.first_byte,
            received_bytes: record.received_bytes,
            sent_bytes: record.sent_bytes,
        }
    }

    fn entry(&'a self, record: &Record) -> Entry<'a> {
        Entry {
            request: self.request,
            route: self.route.map(|route| route_fields(route, record.backend_id)),
            ..entry(self.source.id.as_bytes(), self.source.connection_info(), record)
        }
    }
}

fn route_fields(route: &Route, backend_id: Option<u64>) -> RouteFields<'_> {
    let chosen = chosen_backend(route, backend_id);
    RouteFields {
        ingress: &route.origin.ingress.name,
        rule: route.origin.field,
        service: chosen.map(|backend| (&backend.service, &backend.port)),
    }
}

fn chosen_backend(route: &Route, id: Option<u64>) -> Option<&Backend> {
    let mut backends = route.backends.iter().map(|weighted| &*weighted.backend);
    backends.find(|backend| Some(backend.id) == id)
}

/// Creates an entry of the access log without fields of a request or a route.
fn entry<'a>(id: &'a [u8], connection: ConnectionInfo, record: &Record) -> Entry<'a> {
    let (reason, abort, is_unsent) = match record.completion {
        Completion::Unfinished | Completion::Forwarded | Completion::Upgraded => (None, None, false),
        Completion::LocalReply(reason) => (Some(reason), None, false),
        Completion::ReplyUnsent { reason, abort } => (Some(reason), abort, true),
        Completion::Aborted(abort) => (None, Some(abort), false),
    };
    Entry {
        id,
        client: connection.address,
        scheme: connection.scheme.as_str(),
        tls: tls_version(connection.tls),
        tls_failure: None,
        request: None,
        status: record.status,
        reason,
        abort: abort.map(Abort::as_str),
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
    /// Counts and logs a request. An upgraded one is only counted: its tunnel is logged.
    pub(super) fn report(&self, info: &RequestInfo<'_>, record: &Record) {
        self.counters.count_response(&info.sample(record));
        match record.completion {
            Completion::Unfinished | Completion::Forwarded => {}
            Completion::LocalReply(reason) | Completion::ReplyUnsent { reason, .. } => {
                self.counters.count_local_reply(reason);
            }
            Completion::Aborted(abort) => self.counters.count_abort(abort.as_str()),
            Completion::Upgraded => return,
        }
        if let Some(log) = &self.access_log {
            log.log(&info.entry(record));
        }
    }

    /// Counts and logs a connection that failed before, or between, requests.
    pub fn report_connection(&self, connection: ConnectionInfo, abort: Abort) {
        self.counters.count_abort(abort.as_str());
        if let Some(log) = &self.access_log {
            let record = Record { completion: Completion::Aborted(abort), ..Record::new(None) };
            log.log(&entry(self.request_ids.generate().as_bytes(), connection, &record));
        }
    }

    /// Counts and logs a TLS handshake that failed.
    pub fn report_handshake(&self, connection: ConnectionInfo, abort: Abort, failure: TlsFailure<'_>) {
        let (server_name, error) = (failure.server_name, failure.error);
        tracing::debug!(client = %connection.address, server_name, error, "TLS handshake failed");
        self.counters.count_abort(abort.as_str());
        if let Some(log) = &self.access_log {
            let record = Record { completion: Completion::Aborted(abort), ..Record::new(None) };
            let id = self.request_ids.generate();
            log.log(&Entry { tls_failure: Some(failure), ..entry(id.as_bytes(), connection, &record) });
        }
    }

    /// Counts and logs a request whose head is not known, and that got a local reply without a body.
    pub fn report_local_reply(&self, client: &Client, reason: ReplyReason) {
        let source = RequestSource {
            client,
            address: client.peer,
            scheme: client.scheme,
            id: self.request_ids.generate(),
        };
        let mut record = Record { status: reason.status(), ..Record::new(None) };
        record.on_local_reply_sent(reason.as_str(), 0);
        self.report(&RequestInfo { source, request: None, route: None }, &record);
    }

    /// Counts and logs the end of a tunnel. Its request was counted when the tunnel began.
    pub(super) fn report_tunnel(
        &self,
        completion: Completion,
        log_entry: Option<(&OwnedRequestInfo, Record)>,
    ) {
        if let Completion::Aborted(abort) = completion {
            self.counters.count_abort(abort.as_str());
        }
        if let (Some(log), Some((info, record))) = (&self.access_log, log_entry) {
            log.log(&info.entry(&record));
        }
    }
}

/// Copy of a [`RequestInfo`] that lives as long as a tunnel. It holds texts and names, and no part of the routing
/// table.
#[derive(Debug)]
pub(super) struct OwnedRequestInfo {
    id: Box<[u8]>,
    connection: ConnectionInfo,
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
    /// Copies what is logged. Returns `None` if nothing is logged.
    pub(super) fn new(info: &RequestInfo<'_>, record: &Record) -> Option<Self> {
        let request = info.request?;
        let route = info.route.map(|route| route_fields(route, record.backend_id));
        let service = route.and_then(|route| route.service);
        Some(Self {
            id: info.source.id.as_bytes().into(),
            connection: info.source.connection_info(),
            protocol: request.protocol,
            method: request.method.into(),
            host: request.host.into(),
            path: request.path.into(),
            has_query: request.has_query,
            user_agent: request.user_agent.map(Into::into),
            ingress: route.map(|route| (route.ingress.clone(), route.rule)),
            service: service.map(|(service, port)| (service.clone(), port.clone())),
        })
    }

    fn entry(&self, record: &Record) -> Entry<'_> {
        let service = self.service.as_ref().map(|(service, port)| (service, port));
        Entry {
            request: Some(RequestFields {
                protocol: self.protocol,
                method: &self.method,
                host: &self.host,
                path: &self.path,
                has_query: self.has_query,
                user_agent: self.user_agent.as_deref(),
            }),
            route: self.ingress.as_ref().map(|(ingress, rule)| RouteFields { ingress, rule: *rule, service }),
            ..entry(&self.id, self.connection, record)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::message::Scheme;

    #[test]
    fn unsent_local_reply_is_logged_with_reason_and_cause() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let connection = ConnectionInfo { address, scheme: Scheme::Http, tls: None };
        let mut record = Record::new(None);
        record.on_local_reply(404, "no_rule");
        record.on_local_reply_unsent("no_rule", Abort::ClientStalled);
        let entry = entry(b"id", connection, &record);
        assert_eq!((entry.status, entry.is_unsent), (404, true));
        assert_eq!((entry.reason, entry.abort), (Some("no_rule"), Some("client_stalled")));
    }

    #[test]
    fn dropped_exchange_is_aborted_unless_it_has_ended() {
        let reason = "no_rule";
        let unsent = |abort| Completion::ReplyUnsent { reason, abort };
        for (completion, phase, expected) in [
            (Completion::Unfinished, Phase::Serving, Completion::Aborted(Abort::ClientClosed)),
            (Completion::Unfinished, Phase::Stopped, Completion::Aborted(Abort::GatewayStopped)),
            (unsent(None), Phase::Serving, unsent(Some(Abort::ClientClosed))),
            (unsent(Some(Abort::ClientStalled)), Phase::Stopped, unsent(Some(Abort::ClientStalled))),
            (Completion::LocalReply(reason), Phase::Stopped, Completion::LocalReply(reason)),
            (Completion::Forwarded, Phase::Stopped, Completion::Forwarded),
            (Completion::Upgraded, Phase::Stopped, Completion::Upgraded),
        ] {
            assert_eq!(completion.dropped(phase), expected, "{completion:?} in {phase:?}");
        }
    }
}
