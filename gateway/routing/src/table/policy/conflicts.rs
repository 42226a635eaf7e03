//! Values that exclude each other once several policies are merged for a Route.

use api::policy::{HttpsRedirect, Redirect, RedirectScheme};

use super::merged::Policy;
use crate::host::HostName;
use crate::table::path_match::PathMatch;

/// A field whose value is not honoured on a Route, because of others.
pub(crate) struct FieldConflict {
    pub(crate) field: &'static str,
    pub(crate) message: String,
}

/// Returns the fields of a merged policy that cannot be honoured together.
pub(crate) fn conflicts(policy: &Policy) -> Vec<FieldConflict> {
    let mut found = Vec::new();
    if let Some(redirect) = &policy.spec.redirect {
        redirect_conflicts(redirect, &mut found);
    }
    let cors = policy.spec.cors.as_ref();
    let is_any = |origins: &Vec<String>| origins.iter().any(|origin| origin == "*");
    if cors.is_some_and(|cors| {
        cors.allow_credentials == Some(true) && cors.allow_origins.as_ref().is_some_and(is_any)
    }) {
        let message =
            "credentials are not allowed for all origins, since every site could then act as its visitors: \
                       list the origins in allowOrigins, or remove allowCredentials"
                .to_owned();
        found.push(FieldConflict { field: "spec.cors.allowCredentials", message });
    }
    found
}

fn redirect_conflicts(redirect: &Redirect, found: &mut Vec<FieldConflict>) {
    let upgrades = !matches!(redirect.https, None | Some(HttpsRedirect::Never));
    if upgrades && redirect.scheme == Some(RedirectScheme::Http) {
        let message = format!(
            "the redirect to http contradicts redirect.https: {}, and each leads to the other: remove one of them",
            redirect.https.map(|https| https.to_string()).unwrap_or_default()
        );
        found.push(FieldConflict { field: "spec.redirect.scheme", message });
    }
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
