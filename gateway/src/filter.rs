//! Filters: steps that inspect and edit requests and responses, in the order of [`Stage`].
//!
//! One file per filter. The exchange runs a [`Chain`] and knows no filter by name. Not here: what a filter may edit
//! (`message`).

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http1::Head;
use routing::Policy;
use routing::table::Route;

use crate::message::{LocalReply, Patch, RequestHead, ResponseHead, Scheme};

mod body;
mod chain;
mod cors;
mod headers;
pub mod plugin;
mod progress;
mod redirect;

pub use body::BodyError;
pub use chain::Chain;
pub use plugin::SharedFacts;
use plugin::{Instances, PluginStream};
pub use progress::{BodyStart, Outcome, Progress};

/// The place of a filter in the chain. The order of the variants is the order in which requests pass; responses pass
/// in reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Redirects, before anything asks for credentials in plaintext.
    Redirect,
    /// CORS, which answers preflight requests: they carry no credentials.
    Cors,
    /// Plugins that authenticate.
    PluginAuthn,
    /// Plugins that authorize.
    PluginAuthz,
    /// Plugins without a phase.
    Plugin,
    /// Plugins that measure.
    PluginStats,
    /// Filters that embed the gateway as a library adds; see [`crate::plan::Planner`].
    Custom,
    /// Edits of header fields, the last before the endpoint.
    Headers,
}

/// What a filter takes part in. A phase that is not listed is never called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// [`Filter::request`] is called.
    pub request: bool,
    /// [`Filter::response`] is called.
    pub response: bool,
    /// [`Filter::body`] is called for the request's body and trailers.
    pub request_body: bool,
    /// [`Filter::body`] is called for the response's body and trailers.
    pub response_body: bool,
}

/// A direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the endpoint.
    Request,
    /// From the endpoint to the client.
    Response,
}

/// What a filter knows about the request besides its head.
#[derive(Clone, Copy, Debug)]
pub struct FilterContext<'a> {
    /// Scheme of the client connection, or the one that a trusted proxy reports.
    pub scheme: Scheme,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// The host in normal form, without port; empty if the request names none.
    pub host: &'a str,
    /// The canonical path that the route was found by.
    pub path: &'a str,
    /// The request head as the client sent it.
    pub request: &'a Head,
    /// Whether neither a body nor trailers follow the request head.
    pub is_request_end: bool,
    /// The exchange; `None` if no request is served, as in `gateway explain`.
    pub exchange: Option<ExchangeContext<'a>>,
    /// What the plugins of this request share; [`Progress`] sets it.
    pub facts: Option<&'a SharedFacts>,
}

/// What a filter knows about the exchange of a request.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeContext<'a> {
    /// The route.
    pub route: Option<&'a Arc<Route>>,
    /// ID of the request.
    pub request_id: &'a [u8],
    /// Whether the client speaks HTTP/2.
    pub is_http2: bool,
    /// TLS version of the client's connection, such as `1.3`.
    pub tls: Option<&'static str>,
    /// The plugin instances of this worker.
    pub plugins: &'a Rc<Instances>,
}

/// State that a filter keeps for one request.
#[derive(Debug, Default)]
pub struct Slot {
    /// A word that is the filter's own. 0 before [`Filter::request`] ran.
    pub word: u32,
    /// The stream of a plugin.
    stream: Option<PluginStream>,
    /// Whether a plugin failed, and the request goes on without it.
    is_bypassed: bool,
}

/// A step of the chain. It is immutable: state of one request is in its [`Slot`].
pub trait Filter: Send + Sync + fmt::Debug {
    /// Returns the filter's place.
    fn stage(&self) -> Stage;

    /// Returns what it takes part in.
    fn phases(&self) -> Phases;

    /// Looks at a request before an endpoint is chosen. Called once, however often the request is sent.
    fn request(&self, _slot: &mut Slot, _head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        Step::Continue
    }

    /// Looks at a response: an endpoint's, or a local reply. Called only if the request reached this filter; not
    /// called for informational responses.
    fn response(&self, _slot: &mut Slot, _head: &mut ResponseHead<'_>, _cx: &FilterContext<'_>) -> Step {
        Step::Continue
    }

    /// Takes bytes of a body, or its end, or the last bytes with an end without trailers. Called after the head of that
    /// direction, until the end.
    fn body(&self, _slot: &mut Slot, _direction: Direction, data: Bytes, end: Option<BodyEnd>) -> BodyStep {
        BodyStep::Pass { data, end }
    }

    /// Polls a filter that holds a body: does it go on? The waker of `task` is woken when it might.
    fn poll_held(&self, _slot: &mut Slot, _direction: Direction, _task: &mut Context<'_>) -> Poll<BodyStep> {
        Poll::Pending
    }

    /// Returns the edits of a head that the filter held by [`Step::Hold`].
    fn take_edits(&self, _slot: &mut Slot, _direction: Direction) -> Patch {
        Patch::default()
    }

    /// Releases what the filter keeps for the request. Called once for each request that reached the filter, however
    /// it ended.
    fn end(&self, _slot: &mut Slot) {}
}

/// Result of a filter for a head.
pub enum Step {
    /// Continues with the next filter.
    Continue,
    /// Replies to the client. A reply to a request passes the response half of this filter and of those before it. A
    /// reply to a response replaces it, and passes those that the response has not passed.
    Reply(Box<LocalReply>),
    /// Waits for the future, with the body of this direction unread. The future is dropped if the client gives up or
    /// the request's total deadline passes.
    Wait(LocalBoxFuture<'static, Resumed>),
    /// Holds the head, while the body goes to [`Filter::body`] of this filter. The head leaves with the first
    /// [`BodyStep::Pass`].
    Hold,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "Continue",
            Self::Reply(_) => "Reply",
            Self::Wait(_) => "Wait",
            Self::Hold => "Hold",
        })
    }
}

/// Result of a wait.
#[derive(Debug)]
pub enum Resumed {
    /// Continues with the next filter, with these edits.
    Continue(Patch),
    /// Calls the same filter again.
    Again,
    /// Continues with the next filter, with these edits. The filter has failed: it sees no more of the request.
    Bypass(Patch),
    /// Replies to the client.
    Reply(Box<LocalReply>),
}

/// A piece of a body.
#[derive(Debug)]
pub enum BodyPiece {
    /// Bytes, at least one.
    Data(Bytes),
    /// The end.
    End(BodyEnd),
}

/// The end of a body. Nothing follows.
#[derive(Debug)]
pub enum BodyEnd {
    /// Without a trailer section.
    Plain,
    /// With a trailer section. Boxed, since it is rare and larger than all else that a step moves.
    Trailers(Box<Head>),
}

/// Result of a filter for a piece of a body.
#[derive(Debug)]
pub enum BodyStep {
    /// These bytes go on, then the end if it has come. Both may be absent.
    Pass {
        /// Bytes, in place of those that the filter took.
        data: Bytes,
        /// The end of the body.
        end: Option<BodyEnd>,
    },
    /// The filter keeps what it has, and takes more. It may go on by [`Filter::poll_held`] too.
    Hold,
    /// The filter keeps what it has, and takes nothing before [`Filter::poll_held`] is ready.
    Stop,
    /// Replies to the client if the response has not begun, and aborts the exchange otherwise.
    Reply(Box<LocalReply>),
}

/// Builds the filters that a merged policy asks for.
pub(crate) fn from_policy(policy: &Policy) -> Vec<Arc<dyn Filter>> {
    let filters = [redirect::build(policy), cors::build(&policy.spec), headers::build(&policy.spec)];
    filters.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
