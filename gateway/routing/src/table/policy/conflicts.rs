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

/// Returns the fields of a merged policy that cannot be honoured on the Route of this host and condition.
pub(crate) fn conflicts(policy: &Policy, at: Option<(&HostName, &PathMatch)>) -> Vec<FieldConflict> {
    let mut found = Vec::new();
    if let Some(redirect) = &policy.spec.redirect {
        redirect_conflicts(redirect, at, &mut found);
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

fn redirect_conflicts(
    redirect: &Redirect,
    at: Option<(&HostName, &PathMatch)>,
    found: &mut Vec<FieldConflict>,
) {
    let upgrades = !matches!(redirect.https, None | Some(HttpsRedirect::Off));
    if upgrades && redirect.scheme == Some(RedirectScheme::Http) {
        let message = format!(
            "the redirect to http contradicts redirect.https: {}, and clients would go in circles: remove one of them",
            redirect.https.map(|https| https.to_string()).unwrap_or_default()
        );
        found.push(FieldConflict { field: "spec.redirect.scheme", message });
    }
    let is_same_host = |host: &String| at.is_some_and(|(own, _)| own.to_string().eq_ignore_ascii_case(host));
    let is_same_path = |path: &String| {
        at.is_some_and(|(_, condition)| matches!(condition, PathMatch::Exact(exact) if **exact == **path))
    };
    let moves = redirect.scheme.is_some()
        || redirect.port.is_some()
        || redirect.host.as_ref().is_some_and(|host| !is_same_host(host))
        || redirect.path.as_ref().is_some_and(|path| !is_same_path(path));
    if moves || upgrades {
        return;
    }
    let field = match redirect {
        Redirect { host: Some(_), .. } => "spec.redirect.host",
        Redirect { path: Some(_), .. } => "spec.redirect.path",
        Redirect { status: Some(_), .. } => "spec.redirect.status",
        _ => return,
    };
    let message = "the redirect leads to the same URL: write another host, path, port or scheme".to_owned();
    found.push(FieldConflict { field, message });
}
