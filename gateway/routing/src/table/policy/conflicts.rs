//! Values that exclude each other once several policies are merged for a Route.

use api::policy::{HttpsRedirect, Redirect, RedirectScheme};

use super::merged::Policy;
use crate::host::HostName;
use crate::table::path_match::PathMatch;

/// A field whose value is not honoured on a Route, because it contradicts another one.
pub(crate) struct FieldConflict {
    pub(crate) field: &'static str,
    pub(crate) other: &'static str,
    /// The reason, and what to do, as the end of a sentence.
    pub(crate) reason: &'static str,
}

/// Returns the fields of a merged policy that cannot be honoured together.
pub(crate) fn conflicts(policy: &Policy) -> Vec<FieldConflict> {
    let mut found = Vec::new();
    let redirect = policy.spec.redirect.as_ref();
    let upgrades = |redirect: &Redirect| !matches!(redirect.https, None | Some(HttpsRedirect::Never));
    if redirect.is_some_and(|redirect| upgrades(redirect) && redirect.scheme == Some(RedirectScheme::Http)) {
        found.push(FieldConflict {
            field: "spec.redirect.scheme",
            other: "spec.redirect.https",
            reason: "each redirect leads to the other; remove one of them",
        });
    }
    let cors = policy.spec.cors.as_ref().filter(|cors| cors.allow_credentials == Some(true));
    let origins = cors.and_then(|cors| cors.allow_origins.as_ref());
    if origins.is_some_and(|origins| origins.iter().any(|origin| origin == "*")) {
        found.push(FieldConflict {
            field: "spec.cors.allowCredentials",
            other: "spec.cors.allowOrigins",
            reason: "with credentials for all origins, every site could act as its visitors; list the origins, or \
                     remove allowCredentials",
        });
    }
    found
}

/// Returns the field to blame if a redirect can change no request of the Route of this host and condition.
pub(crate) fn redirect_to_itself(policy: &Policy, at: Option<(&HostName, &PathMatch)>) -> SelfRedirect {
    let Some(redirect) = &policy.spec.redirect else { return SelfRedirect::None };
    let is_same_host = |host: &String| at.is_some_and(|(own, _)| own.to_string().eq_ignore_ascii_case(host));
    let is_same_path = |path: &String| {
        at.is_some_and(|(_, condition)| matches!(condition, PathMatch::Exact(exact) if **exact == **path))
    };
    let upgrades = !matches!(redirect.https, None | Some(HttpsRedirect::Never));
    let moves = redirect.scheme.is_some()
        || (redirect.port.is_some() && !upgrades)
        || redirect.host.as_ref().is_some_and(|host| !is_same_host(host))
        || redirect.path.as_ref().is_some_and(|path| !is_same_path(path));
    if moves || upgrades {
        return SelfRedirect::None;
    }
    SelfRedirect::Field(match redirect {
        Redirect { host: Some(_), .. } => "spec.redirect.host",
        Redirect { path: Some(_), .. } => "spec.redirect.path",
        Redirect { status: Some(_), .. } => "spec.redirect.status",
        Redirect { acme_challenges: Some(_), .. } => "spec.redirect.acmeChallenges",
        Redirect { port: Some(_), .. } => "spec.redirect.port",
        Redirect { .. } => return SelfRedirect::None,
    })
}

/// Whether a redirect has an effect on a Route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelfRedirect {
    /// It has one, or there is no redirect.
    None,
    /// It has none. This field says where it leads.
    Field(&'static str),
}
