//! A REQUEST'S WAY: from a request head to the end of its answer, one short function a step.
//!
//! [`serve`] is the whole way; HTTP/1.1 and HTTP/2 clients enter it through the same [`Downstream`].
//! Not here: reading request heads and keeping connections (`listener`), choosing and keeping
//! connections to endpoints (`upstream`).

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http1::{BodyLength, Head, Known};
use routing::host;
use routing::path;
use routing::table::Route;

use crate::live::LiveCell;
use crate::settings::{ReasonHeader, Settings};
use crate::telemetry::counters::{Counters, Gauge};
use crate::upstream::{Connection, OpenError, Opened, Reuse, Upstreams};
use crate::wire::buffers::Buffers;
use crate::wire::clock::{Clock, Timer};
use crate::wire::{Pump, PumpError, Reader, StreamError, Writer};

pub mod headers;
mod metered;
pub mod refusal;

use headers::Response;
use metered::Metered;
use refusal::Refusal;

/// What one worker's exchanges share.
pub struct Worker {
    /// What is being served.
    pub live: LiveCell,
    /// Deadlines and bounds.
    pub settings: Arc<Settings>,
    /// The time, for deadlines.
    pub clock: Clock,
    /// Buffers to lend.
    pub buffers: Buffers,
    /// What is counted.
    pub counters: Rc<Counters>,
    /// The way to the endpoints.
    pub upstreams: Upstreams,
}

/// Who sent a request, and to where: the same for all requests of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's IP address as text.
    pub address: String,
    /// The port that it connected to, as text.
    pub port: String,
    /// How it connected.
    pub scheme: Scheme,
}

/// How a client connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as URLs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The client's side of one exchange.
pub trait Downstream: Reader + Writer {
    /// Takes the response head; it is sent with the body's first piece, or by [`Writer::poll_flush`].
    ///
    /// # Errors
    /// The client is gone.
    fn respond(&mut self, response: &Response<'_>) -> Result<(), StreamError>;

    /// Becomes ready when the client gives up this request alone: the endpoint need not go on with it either.
    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // HTTP/1.1 knows no such thing: a client that closes its sending side may still wait for the answer.
        let _ = cx;
        Poll::Pending
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The answer was sent whole.
    Answered,
    /// The answer was sent, and nothing more can be understood from the client on an HTTP/1.1 connection.
    AnsweredLast,
    /// The client did not get a whole answer and must see that: nothing may follow.
    Aborted,
}

/// A request whose head has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The head, with a Host field whatever the protocol.
    pub head: &'a Head,
    /// How the body is framed.
    pub length: BodyLength,
    /// Who sent it.
    pub client: &'a Client,
}

/// Serves one request.
pub async fn serve<D: Downstream>(
    worker: &Worker,
    request: Request<'_>,
    down: &mut D,
    timer: &Timer,
) -> Served {
    let _in_flight = Gauge::raise(&worker.counters, |counters| &counters.in_flight);
    let body_left = u64::MAX;
    let mut exchange = Exchange { worker, request, down, timer, route: None, status: 0, body_left };
    let served = match exchange.forward().await {
        Ok(()) => Served::Answered,
        Err(Failure::Refused(refusal)) => exchange.refuse(refusal).await,
        Err(Failure::Aborted(error)) => {
            tracing::debug!(error = %error, "exchange aborted");
            Served::Aborted
        }
    };
    timer.clear();
    worker.counters.answered(exchange.route.as_ref().map(|route| &route.origin.ingress), exchange.status);
    served
}

/// The host and the canonical path that a request is matched by; the host is empty if it names none.
///
/// # Errors
/// What no route could make good: a malformed host or path, or too many nominated fields.
pub fn destination(head: &Head) -> Result<(Cow<'_, str>, Cow<'_, str>), Refusal> {
    let host = match head.get(Known::Host) {
        Some(host) => host::normalise(host).ok_or(Refusal::Host)?,
        // HTTP/1.0 without Host: only rules without a host can be meant.
        None => Cow::Borrowed(""),
    };
    if headers::nominates_too_many(head) {
        return Err(Refusal::Nominations);
    }
    let path = path::canonical(head.path()).map_err(|_| Refusal::Path)?;
    Ok((host, path))
}

/// Finds the route of a request, and the canonical path that it was matched by.
fn admit<'a>(worker: &Worker, head: &'a Head) -> Result<(Arc<Route>, Cow<'a, str>), Refusal> {
    let (host, path) = destination(head)?;
    let live = worker.live.load();
    let route = live.table.find(&host, &path).ok_or(Refusal::NoRule)?;
    Ok((Arc::clone(route), path))
}

/// Why an exchange did not end as it should.
enum Failure {
    /// Nothing of an answer was sent yet, so the gateway answers.
    Refused(Refusal),
    /// The client has part of an answer, or is gone.
    Aborted(StreamError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why an endpoint did not begin an answer.
enum Unanswered {
    /// The client's side failed.
    Downstream(StreamError),
    /// The endpoint's side failed.
    Upstream(StreamError),
    /// The client's body stood still for too long.
    BodyTimeout,
    /// The endpoint did not answer in time.
    FirstByteTimeout,
}

struct Exchange<'a, D> {
    worker: &'a Worker,
    request: Request<'a>,
    down: &'a mut D,
    timer: &'a Timer,
    route: Option<Arc<Route>>,
    /// The status that the client got, or would have got.
    status: u16,
    /// Bytes of the request's body that the route's limit still allows.
    body_left: u64,
}

impl<D: Downstream> Exchange<'_, D> {
    async fn forward(&mut self) -> Result<(), Failure> {
        let (route, path) = admit(self.worker, self.request.head)?;
        let route = self.route.insert(route);
        if let Some(limit) = &route.policy.body_size {
            self.body_left = limit.value;
        }
        if matches!(self.request.length, BodyLength::Exact(length) if length > self.body_left) {
            return Err(Refusal::BodyTooLarge.into());
        }
        let chosen = self.worker.upstreams.choose(&route.backends).map(Arc::clone);
        let backend = chosen.ok_or(Refusal::Open(OpenError::ServiceMissing))?;
        let mut reuse = self.request.reuse();
        loop {
            let mut opened = self.worker.upstreams.open(&backend, reuse).await.map_err(Refusal::Open)?;
            let up = &mut opened.connection;
            up.lend(&self.worker.buffers);
            headers::write_request(
                up.output(),
                (self.request.head, &path),
                self.request.client,
                self.request.length,
            );
            up.send_body(self.request.length);
            let mut sending = Pump::default();
            let failure = match self.await_answer(up, &mut sending).await {
                Ok(answer) => return self.relay(opened, sending, answer).await,
                Err(failure) => failure,
            };
            // Lost on a connection that may have been closed before it was used, and not a byte came back.
            let is_lost = matches!(failure, Unanswered::Upstream(StreamError::Lost(_)));
            if is_lost && opened.is_reused && !up.has_received() && reuse == Reuse::Any {
                reuse = Reuse::Never;
                continue;
            }
            return Err(self.unanswered(failure));
        }
    }

    fn unanswered(&self, failure: Unanswered) -> Failure {
        match failure {
            Unanswered::BodyTimeout => Refusal::BodyTimeout.into(),
            Unanswered::FirstByteTimeout => Refusal::FirstByteTimeout.into(),
            Unanswered::Downstream(StreamError::Body(_)) => Refusal::Body.into(),
            Unanswered::Downstream(StreamError::TooLarge) => Refusal::BodyTooLarge.into(),
            Unanswered::Downstream(error) => Failure::Aborted(error),
            Unanswered::Upstream(error) => {
                tracing::debug!(error = %error, "endpoint failed before it answered");
                match error {
                    StreamError::Lost(_) => Refusal::UpstreamClosed.into(),
                    _ => Refusal::UpstreamMalformed.into(),
                }
            }
        }
    }

    /// Sends the request and waits for the head of the answer, which may come before all is sent.
    async fn await_answer(
        &mut self,
        up: &mut Connection,
        sending: &mut Pump,
    ) -> Result<(Head, BodyLength), Unanswered> {
        let limit = self.worker.settings.first_byte;
        self.timer.set(limit);
        let (down, timer, left) = (&mut *self.down, self.timer, &mut self.body_left);
        let answer = timer.limit(std::future::poll_fn(|cx| {
            let mut body = Metered { side: &mut *down, left: &mut *left };
            match sending.poll((&mut body, up), || timer.set(limit), cx) {
                Poll::Ready(Err(PumpError::Read(error))) => {
                    return Poll::Ready(Err(Unanswered::Downstream(error)));
                }
                // An endpoint that stops reading may have answered already: its answer decides.
                Poll::Ready(Ok(()) | Err(PumpError::Write(_))) | Poll::Pending => {}
            }
            if down.poll_given_up(cx).is_ready() {
                return Poll::Ready(Err(Unanswered::Downstream(given_up())));
            }
            poll_final_head(up, cx).map_err(Unanswered::Upstream)
        }));
        let head = match answer.await {
            Ok(head) => head?,
            // With bytes still waiting to be sent it is the endpoint that stands still, not the client.
            Err(_elapsed) if *sending == Pump::Moving && up.is_sent() => return Err(Unanswered::BodyTimeout),
            Err(_elapsed) => return Err(Unanswered::FirstByteTimeout),
        };
        let length = BodyLength::of_response(&head, self.request.head.method())
            .map_err(|error| Unanswered::Upstream(error.into()))?;
        if headers::nominates_too_many(&head) {
            return Err(Unanswered::Upstream(http1::HeadError::Malformed("connection").into()));
        }
        Ok((head, length))
    }

    /// Passes the answer on, and what is left of the request's body in the meantime.
    async fn relay(
        &mut self,
        mut opened: Opened,
        mut sending: Pump,
        (head, length): (Head, BodyLength),
    ) -> Result<(), Failure> {
        let up = &mut opened.connection;
        up.receive_body(length);
        self.status = head.status();
        let response = Response {
            status: head.status(),
            reason: head.reason(),
            head: Some(&head),
            added: &[],
            length,
            answers_head: self.request.head.method() == b"HEAD",
            is_last: false,
        };
        self.down.respond(&response).map_err(Failure::Aborted)?;
        let limit = self.worker.settings.stall;
        self.timer.set(limit);
        let (down, timer, left) = (&mut *self.down, self.timer, &mut self.body_left);
        let mut receiving = Pump::default();
        let mut is_sending = sending != Pump::Done;
        let relayed = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let mut body = Metered { side: &mut *down, left: &mut *left };
                // Whatever becomes of the request's rest: the answer is on its way and decides. But a side that
                // failed is not asked again: nothing behind a malformed chunk can be trusted.
                is_sending = sending.poll((&mut body, up), || timer.set(limit), cx).is_pending();
            }
            if down.poll_given_up(cx).is_ready() {
                return Poll::Ready(Err(PumpError::Write(given_up())));
            }
            receiving.poll((up, down), || timer.set(limit), cx)
        }));
        match relayed.await {
            Ok(Ok(())) => {}
            Ok(Err(PumpError::Read(error) | PumpError::Write(error))) => return Err(Failure::Aborted(error)),
            Err(_elapsed) => {
                return Err(Failure::Aborted(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
            }
        }
        let is_complete = sending == Pump::Done && length != BodyLength::UntilClose;
        let stays_open = headers::keeps_alive(&head) && !contradicts_itself(&head);
        // The head shares the input buffer, which is to go back whole.
        drop(head);
        if is_complete && stays_open && !opened.connection.has_input() {
            opened.connection.reclaim(&self.worker.buffers);
            self.worker.upstreams.keep(opened.address, opened.connection);
        }
        Ok(())
    }

    /// Answers in the gateway's own name.
    async fn refuse(&mut self, refusal: Refusal) -> Served {
        self.status = refusal.status();
        let length = self.worker.settings.header;
        self.timer.set(length);
        let shown = self.worker.settings.reason_header;
        let sent = self.timer.limit(answer(
            &mut *self.down,
            refusal,
            (shown, self.request.head.method() == b"HEAD"),
        ));
        match sent.await {
            Ok(Ok(())) if refusal.ends_connection() => Served::AnsweredLast,
            Ok(Ok(())) => Served::Answered,
            _ => Served::Aborted,
        }
    }
}

fn given_up() -> StreamError {
    std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()
}

/// Sends the gateway's own answer.
///
/// # Errors
/// The client is gone.
pub async fn answer<D: Downstream>(
    down: &mut D,
    refusal: Refusal,
    (shown, answers_head): (ReasonHeader, bool),
) -> Result<(), StreamError> {
    let reason = refusal.reason();
    let body = format!("{} {}\n", refusal.status(), reason);
    let fields = [
        ("content-type", &b"text/plain"[..]),
        ("gateway-reason", reason.as_bytes()),
        ("allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE"),
    ];
    let added = match (shown, refusal.status()) {
        (ReasonHeader::Hidden, _) => fields.get(..1),
        (ReasonHeader::Shown, 405) => fields.get(..3),
        (ReasonHeader::Shown, _) => fields.get(..2),
    };
    let response = Response {
        status: refusal.status(),
        reason: refusal::phrase(refusal.status()).as_bytes(),
        head: None,
        added: added.unwrap_or_default(),
        length: BodyLength::Exact(body.len() as u64),
        answers_head,
        is_last: refusal.ends_connection(),
    };
    down.respond(&response)?;
    if !answers_head {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(crate::wire::Piece::Data(body.into()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(crate::wire::Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await
}

/// Whether a head speaks of a body, where its status says that there is none.
fn declares_body(head: &Head) -> bool {
    head.get(Known::TransferEncoding).is_some()
        || head.get(Known::ContentLength).is_some_and(|length| length != b"0")
}

/// A 204 with a body: who sends one may send the body too, and it would be taken for the next answer.
fn contradicts_itself(head: &Head) -> bool {
    head.status() == 204 && declares_body(head)
}

/// Reads the head of the answer proper. Interim ones (100, 103) are not for the client; 101 answers a question
/// that nobody asked.
fn poll_final_head(up: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<Head, StreamError>> {
    loop {
        let Some(head) = std::task::ready!(up.poll_head(http1::parse::response, cx))? else {
            let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Poll::Ready(Err(error.into()));
        };
        match head.status() {
            101 => return Poll::Ready(Err(StreamError::UnaskedUpgrade)),
            100..=199 if declares_body(&head) => {
                return Poll::Ready(Err(http1::HeadError::Malformed("interim response").into()));
            }
            100..=199 => {}
            _ => return Poll::Ready(Ok(head)),
        }
    }
}

impl Request<'_> {
    /// Which connections may carry this request: one that cannot be sent twice needs one that surely is open.
    fn reuse(&self) -> Reuse {
        let is_idempotent =
            matches!(self.head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE");
        if is_idempotent && self.length == BodyLength::Empty { Reuse::Any } else { Reuse::Recent }
    }
}
