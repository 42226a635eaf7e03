//! `redirect`: sends the client to another URL, such as the same one over HTTPS.

use std::fmt::Write as _;
use std::sync::Arc;

use api::policy::{AcmeChallenges, RedirectScheme, RedirectStatus};
use http1::{Head, KnownName};
use routing::Policy;

use super::{Context, Filter, Phases, Slot, Stage, Step};
use crate::message::{FieldName, FieldValue, LocalReply, RequestHead, Scheme};

/// Path of the HTTP-01 challenge (RFC 8555 §8.3). The certificate that HTTPS needs is issued by it.
const ACME_PREFIX: &str = "/.well-known/acme-challenge/";

/// Status of a redirect that changes the scheme alone: it keeps method and body, and browsers remember it.
const HTTPS_STATUS: u16 = 308;

/// Status of any other redirect without one in the policy, as in Gateway API.
const DEFAULT_STATUS: u16 = 302;

#[derive(Debug)]
struct Redirect {
    scheme: Option<Scheme>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<String>,
    status: Option<u16>,
    /// Plaintext requests go to HTTPS.
    https: bool,
    acme: AcmeChallenges,
}

/// Returns the filter if the policy redirects.
pub(super) fn build(policy: &Policy) -> Option<Arc<dyn Filter>> {
    let redirect = policy.spec.redirect.as_ref()?;
    let filter = Redirect {
        scheme: redirect.scheme.map(|scheme| match scheme {
            RedirectScheme::Http => Scheme::Http,
            RedirectScheme::Https => Scheme::Https,
        }),
        host: redirect.host.clone(),
        port: redirect.port.map(std::num::NonZeroU16::get),
        path: redirect.path.clone(),
        status: redirect.status.map(RedirectStatus::get),
        https: policy.redirects_to_https(),
        acme: redirect.acme_challenges.unwrap_or_default(),
    };
    let is_needed = filter.https || filter.moves();
    is_needed.then(|| Arc::new(filter) as Arc<dyn Filter>)
}

impl Redirect {
    /// Does it name another URL than HTTPS of the same?
    fn moves(&self) -> bool {
        self.scheme.is_some() || self.host.is_some() || self.port.is_some() || self.path.is_some()
    }

    /// Returns the URL to go to; `None` if the request is already there.
    fn location(&self, cx: &Context<'_>) -> Option<String> {
        let is_challenge = self.acme == AcmeChallenges::Pass && cx.path.starts_with(ACME_PREFIX);
        let upgrades = self.https && cx.scheme == Scheme::Http && !is_challenge;
        let scheme = if upgrades { Scheme::Https } else { self.scheme.unwrap_or(cx.scheme) };
        let is_upgrade = scheme == Scheme::Https && cx.scheme == Scheme::Http;
        if !(upgrades || self.moves()) || (is_upgrade && is_challenge) {
            return None;
        }
        let host = self.host.as_deref().unwrap_or(cx.host);
        // The port of the request stays if neither scheme nor host changes, as in Gateway API.
        let keeps_port = scheme == cx.scheme && self.host.is_none();
        let old_port = port(cx.request).unwrap_or(cx.scheme.default_port());
        let port = self.port.unwrap_or(if keeps_port { old_port } else { scheme.default_port() });
        let is_there = scheme == cx.scheme
            && host == cx.host
            && port == old_port
            && self.path.as_deref().is_none_or(|path| path == cx.path);
        if is_there || host.is_empty() {
            return None;
        }
        let target = str::from_utf8(cx.request.target()).ok()?;
        let path = str::from_utf8(cx.request.path()).ok()?;
        let query = target.get(path.len()..).unwrap_or_default();
        let mut location = format!("{}://{host}", scheme.as_str());
        if port != scheme.default_port() {
            // Writing to a String cannot fail.
            let _ = write!(location, ":{port}");
        }
        location.push_str(self.path.as_deref().unwrap_or(path));
        location.push_str(query);
        Some(location)
    }
}

/// Returns the port that the Host field names.
fn port(request: &Head) -> Option<u16> {
    let host = str::from_utf8(request.get(KnownName::Host)?).ok()?;
    // The last colon of an IPv6 address without a port is inside the brackets, and what follows is no number.
    host.rsplit_once(':')?.1.parse().ok()
}

impl Filter for Redirect {
    fn stage(&self) -> Stage {
        Stage::Redirect
    }

    fn phases(&self) -> Phases {
        Phases { request: true, response: false }
    }

    fn request(&self, _slot: &mut Slot, _head: &mut RequestHead<'_>, cx: &Context<'_>) -> Step {
        let Some(location) = self.location(cx) else { return Step::Continue };
        let Ok(location) = FieldValue::parse(location) else { return Step::Continue };
        let default = if self.moves() { DEFAULT_STATUS } else { HTTPS_STATUS };
        let reply = LocalReply::new(self.status.unwrap_or(default), "redirect");
        Step::Reply(Box::new(reply.with(FieldName::from_static("location"), location)))
    }
}
