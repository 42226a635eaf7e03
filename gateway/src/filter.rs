//! Filters: steps that inspect and edit requests and responses, in the order of [`Stage`].
//!
//! One file per filter. The exchange runs a [`Chain`] and knows no filter by name. Not here: what a filter may edit
//! (`message`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use http1::Head;
use routing::Policy;

use crate::message::{LocalReply, Patch, RequestHead, ResponseHead, Scheme};

mod chain;
mod cors;
mod headers;
mod redirect;

pub use chain::{Chain, Outcome, Progress};

/// The place of a filter in the chain. The order of the variants is the order in which requests pass; responses pass
/// in reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Redirects, before anything asks for credentials in plaintext.
    Redirect,
    /// CORS, which answers preflight requests: they carry no credentials.
    Cors,
    /// Filters that embed the gateway as a library adds; see [`crate::plan::Planner`].
    Custom,
    /// Edits of header fields, the last before the endpoint.
    Headers,
}

/// The directions that a filter takes part in. A phase that is not listed is never called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// [`Filter::request`] is called.
    pub request: bool,
    /// [`Filter::response`] is called.
    pub response: bool,
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
}

/// A word of state that a filter keeps from a request to its response. 0 before [`Filter::request`] ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u32);

/// A step of the chain. It is immutable: state of one request is in its [`Slot`].
pub trait Filter: Send + Sync + fmt::Debug {
    /// Returns the filter's place.
    fn stage(&self) -> Stage;

    /// Returns the directions that it takes part in.
    fn phases(&self) -> Phases;

    /// Looks at a request before an endpoint is chosen. Called once, however often the request is sent.
    fn request(&self, _slot: &mut Slot, _head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        Step::Continue
    }

    /// Looks at a response: an endpoint's, or a local reply. Called only if the request reached this filter; not
    /// called for informational responses.
    fn response(&self, _slot: &mut Slot, _head: &mut ResponseHead<'_>, _cx: &FilterContext<'_>) {}
}

/// Result of a filter for a request.
pub enum Step {
    /// Continues with the next filter.
    Continue,
    /// Replies to the client. The reply passes the response half of this filter and of those before it.
    Reply(Box<LocalReply>),
    /// Waits for the future, with the body unread. The future is dropped if the client gives up or the
    /// request's total deadline passes.
    Wait(LocalBoxFuture<'static, Resumed>),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "Continue",
            Self::Reply(_) => "Reply",
            Self::Wait(_) => "Wait",
        })
    }
}

/// Result of a wait.
#[derive(Debug)]
pub enum Resumed {
    /// Continues with the next filter, with these edits.
    Continue(Patch),
    /// Replies to the client.
    Reply(Box<LocalReply>),
}

/// Builds the filters that a merged policy asks for.
pub(crate) fn from_policy(policy: &Policy) -> Vec<Arc<dyn Filter>> {
    let filters = [redirect::build(policy), cors::build(&policy.spec), headers::build(&policy.spec)];
    filters.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
