//! The servers of a case: the endpoint and the Services of callouts. They answer as the case says, and record what they
//! receive.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::plugin_case::{CalloutFailure, CaseCallout, CaseResponse, PluginCase, RecordedMessage};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::listener;
use super::wire::{BodyRule, Connection, Outgoing};

/// The answer to a callout that the case does not expect.
const UNEXPECTED: u16 = 500;

/// What the servers of a case answer, and what they received.
#[derive(Debug)]
pub(super) struct Script {
    upstream: CaseResponse,
    callouts: Vec<CaseCallout>,
    state: Mutex<ScriptState>,
}

#[derive(Debug, Default)]
struct ScriptState {
    request: Option<RecordedMessage>,
    received: Vec<(String, RecordedMessage)>,
    /// Whether each callout of the case was answered.
    is_answered: Vec<bool>,
}

/// What the servers received.
pub(super) struct Received {
    pub(super) request: Option<RecordedMessage>,
    pub(super) callouts: Vec<(String, RecordedMessage)>,
}

/// What a server does about a request.
enum Answer {
    Respond(CaseResponse),
    Fail(CalloutFailure),
}

impl Script {
    pub(super) fn new(case: &PluginCase) -> Arc<Self> {
        Arc::new(Self {
            upstream: case.upstream.clone(),
            callouts: case.callouts.clone(),
            state: Mutex::default(),
        })
    }

    /// Starts the endpoint. Returns its address.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn serve_upstream(self: &Arc<Self>, runtime: &Handle) -> anyhow::Result<SocketAddr> {
        self.serve(runtime, None)
    }

    /// Starts the Service of an upstream of callouts. Returns its address.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn serve_callouts(self: &Arc<Self>, runtime: &Handle, to: &str) -> anyhow::Result<SocketAddr> {
        self.serve(runtime, Some(to.into()))
    }

    /// Returns what the servers have received.
    pub(super) fn received(&self) -> Received {
        let mut state = self.lock();
        Received { request: state.request.take(), callouts: std::mem::take(&mut state.received) }
    }

    fn serve(self: &Arc<Self>, runtime: &Handle, to: Option<Arc<str>>) -> anyhow::Result<SocketAddr> {
        let (listener, address) = listener::bind(runtime)?;
        let script = Arc::clone(self);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, to) = (Arc::clone(&script), to.clone());
                tokio::spawn(async move {
                    if let Err(error) = script.converse(stream, to.as_deref()).await {
                        tracing::debug!(%error, "connection of a case");
                    }
                });
            }
        });
        Ok(address)
    }

    async fn converse(&self, stream: TcpStream, to: Option<&str>) -> anyhow::Result<()> {
        let mut connection = Connection::new(stream);
        while let Some(request) = connection.request().await? {
            let is_head = request.headers.iter().any(|(name, value)| name == ":method" && value == b"HEAD");
            let response = match self.on_request(request, to) {
                Answer::Respond(response) => response,
                Answer::Fail(CalloutFailure::Reset) => {
                    connection.reset();
                    return Ok(());
                }
                // The gateway closes the connection when the callout's time is over.
                Answer::Fail(CalloutFailure::Timeout) => {
                    connection.request().await?;
                    return Ok(());
                }
            };
            let has_none = is_head || matches!(response.status, 204 | 304);
            let message = Outgoing {
                start: &format!("HTTP/1.1 {} -\r\n", response.status),
                fields: &response.headers,
                pieces: &response.pieces(),
                trailers: &response.trailers,
                body: if has_none { BodyRule::Never } else { BodyRule::Always },
            };
            connection.send(&message).await?;
        }
        Ok(())
    }

    /// Records a request, and returns the answer.
    fn on_request(&self, request: RecordedMessage, to: Option<&str>) -> Answer {
        let mut state = self.lock();
        let Some(to) = to else {
            state.request = Some(request);
            return Answer::Respond(self.upstream.clone());
        };
        state.received.push((to.to_owned(), request));
        state.is_answered.resize(self.callouts.len(), false);
        let next = self.callouts.iter().zip(&mut state.is_answered);
        let next = next.into_iter().find(|(callout, is_answered)| callout.to == to && !**is_answered);
        let Some((callout, is_answered)) = next else {
            return Answer::Respond(CaseResponse { status: UNEXPECTED, ..CaseResponse::default() });
        };
        *is_answered = true;
        match callout.failure {
            Some(failure) => Answer::Fail(failure),
            None => Answer::Respond(callout.response.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ScriptState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
