//! `redirect`: sends the client to another URL, such as the same one over HTTPS.

use std::fmt::Write as _;
use std::sync::Arc;

use api::policy::{AcmeChallenges, HttpsRedirect, RedirectScheme, RedirectStatus};
use http1::{Head, KnownName};
use routing::Policy;

use super::{Filter, FilterContext, Phases, Slot, Stage, Step};
use crate::message::{FieldName, FieldValue, LocalReply, RequestHead, Scheme};

/// Path of the HTTP-01 challenge (RFC 8555 §8.3). The certificate that HTTPS needs is issued by it.
const ACME_PREFIX: &str = "/.well-known/acme-challenge/";

/// Status of a redirect that changes the scheme alone: it keeps method and body, and browsers remember it.
const HTTPS_STATUS: u16 = 308;

/// Status of any other redirect without one in the policy, as in Gateway API.
const DEFAULT_STATUS: u16 = 302;

#[derive(Debug)]
struct Redirect {
    upgrade: Upgrade,
    acme: AcmeChallenges,
    scheme: Option<Scheme>,
    /// In lower case.
    host: Option<String>,
    /// Of the upgrade alone, if there is one.
    port: Option<u16>,
    /// In canonical form.
    path: Option<String>,
    status: Option<u16>,
}

/// Whether plaintext requests go to HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    /// No field asks for it.
    Unset,
    /// A field asks for it, but not on this route.
    Inactive,
    Active,
}

/// Returns the filter if the policy redirects.
pub(super) fn build(policy: &Policy) -> Option<Arc<dyn Filter>> {
    let redirect = policy.spec.redirect.as_ref()?;
    let upgrade = match redirect.https {
        None | Some(HttpsRedirect::Never) => Upgrade::Unset,
        Some(HttpsRedirect::TlsHosts | HttpsRedirect::Always) if policy.redirects_to_https() => {
            Upgrade::Active
        }
        Some(HttpsRedirect::TlsHosts | HttpsRedirect::Always) => Upgrade::Inactive,
    };
    let filter = Redirect {
        upgrade,
        acme: redirect.acme_challenges.unwrap_or_default(),
        scheme: redirect.scheme.map(|scheme| match scheme {
            RedirectScheme::Http => Scheme::Http,
            RedirectScheme::Https => Scheme::Https,
        }),
        host: redirect.host.as_ref().map(|host| host.to_ascii_lowercase()),
        port: redirect.port.map(std::num::NonZeroU16::get),
        path: redirect.path.clone(),
        status: redirect.status.map(RedirectStatus::get),
    };
    let is_needed = filter.upgrade == Upgrade::Active || filter.moves();
    is_needed.then(|| Arc::new(filter) as Arc<dyn Filter>)
}

impl Redirect {
    /// Does it send requests to another URL than HTTPS of the same?
    fn moves(&self) -> bool {
        let has_own_port = self.port.is_some() && self.upgrade == Upgrade::Unset;
        self.scheme.is_some() || self.host.is_some() || self.path.is_some() || has_own_port
    }

    /// Is the request an ACME challenge that must stay on plaintext?
    fn spares(&self, cx: &FilterContext<'_>) -> bool {
        let leads_to_https = self.upgrade != Upgrade::Unset || self.scheme == Some(Scheme::Https);
        leads_to_https
            && cx.scheme == Scheme::Http
            && self.acme == AcmeChallenges::Pass
            && cx.path.starts_with(ACME_PREFIX)
    }

    /// Returns the URL to go to. `None`: the request is already there, or must not be redirected.
    fn location(&self, cx: &FilterContext<'_>) -> Option<String> {
        let upgrades = self.upgrade == Upgrade::Active && cx.scheme == Scheme::Http;
        if !(upgrades || self.moves()) || self.spares(cx) {
            return None;
        }
        let scheme = if upgrades { Scheme::Https } else { self.scheme.unwrap_or(cx.scheme) };
        let host = self.host.as_deref().unwrap_or(cx.host);
        let old_port = port(cx.request).unwrap_or(cx.scheme.default_port());
        // The port of the request stays if neither scheme nor host changes, as in Gateway API.
        let keeps_port = scheme == cx.scheme && self.host.is_none();
        let default_port = if keeps_port { old_port } else { scheme.default_port() };
        let own_port = self.port.filter(|_| upgrades || self.upgrade == Upgrade::Unset);
        let port = own_port.unwrap_or(default_port);
        let is_there = scheme == cx.scheme
            && host == cx.host
            && port == old_port
            && self.path.as_deref().is_none_or(|path| path == cx.path);
        if is_there {
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
        Phases { request: true, ..Phases::default() }
    }

    fn request(&self, _slot: &mut Slot, _head: &mut RequestHead<'_>, cx: &FilterContext<'_>) -> Step {
        let Some(location) = self.location(cx) else { return Step::Continue };
        // A request without Host has no URL to go to. It must not be served in plaintext either.
        let location =
            FieldValue::parse(location).ok().filter(|_| self.host.is_some() || !cx.host.is_empty());
        let Some(location) = location else {
            return Step::Reply(Box::new(LocalReply::new(400, "no_host")));
        };
        let default = if self.moves() { DEFAULT_STATUS } else { HTTPS_STATUS };
        let reply = LocalReply::new(self.status.unwrap_or(default), "redirect");
        Step::Reply(Box::new(reply.with(FieldName::from_static("location"), location)))
    }
}
