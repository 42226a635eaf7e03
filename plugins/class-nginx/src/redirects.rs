//! Redirects: to HTTPS, and to another URL.

use plugin_sdk::class::api::RoutePolicySpec;
use plugin_sdk::class::api::TargetKind;
use plugin_sdk::class::api::TargetRef;
use plugin_sdk::class::api::policy::AcmeChallenges;
use plugin_sdk::class::api::policy::HttpsRedirect;
use plugin_sdk::class::api::policy::Redirect;
use plugin_sdk::class::api::policy::RedirectScheme;
use plugin_sdk::class::api::policy::RedirectStatus;

use crate::annotations::Annotations;
use crate::annotations::quote;
use crate::host::Host;
use crate::host::Ingress;
use crate::host::REDIRECT_STATUS;
use crate::host::is_host;
use crate::host::path_text;
use crate::ruling::Ruling;
use crate::ruling::Settings;

/// Paths that are served over plaintext, too (setting `no-tls-redirect-locations` of ingress-nginx).
const ACME_PATH: &str = "/.well-known/acme-challenge";

/// Keys of a redirect to another URL, and the key and default of its status. The first that is set applies.
const TARGETS: [(&str, &str, u16); 2] = [
    ("temporal-redirect", "temporal-redirect-code", 302),
    ("permanent-redirect", "permanent-redirect-code", 301),
];

/// Translates the redirects of an Ingress.
pub(crate) fn translate(host: &Host<'_>, ingress: &Ingress<'_>, settings: &mut Settings) {
    let annotations = &ingress.annotations;
    for name in ["ssl-redirect", "force-ssl-redirect"] {
        let Some(value) = annotations.get(name) else { continue };
        settings.rule(
            name,
            match annotations.flag(name) {
                Some(_) => Ruling::exact(),
                None => Ruling::refused(format!(
                    "{} is not a boolean; ingress-nginx ignores it, too",
                    quote(value)
                )),
            },
        );
    }
    let has_target = to_url(annotations, settings);
    let upgrades = annotations.is_on("force-ssl-redirect")
        || (annotations.flag("ssl-redirect").unwrap_or(true) && host.has_certificate);
    // A redirect to another URL precedes, over plaintext too.
    if upgrades && !has_target {
        to_https(ingress, settings);
    }
}

fn to_https(ingress: &Ingress<'_>, settings: &mut Settings) {
    let keys = ["force-ssl-redirect", "ssl-redirect"];
    let keys = || keys.into_iter().filter(|key| ingress.annotations.get(key).is_some());
    let redirect = Redirect {
        https: Some(HttpsRedirect::Always),
        acme_challenges: Some(AcmeChallenges::Redirect),
        status: RedirectStatus::try_from(REDIRECT_STATUS).ok(),
        ..Redirect::default()
    };
    settings.policy(RoutePolicySpec { redirect: Some(redirect), ..RoutePolicySpec::default() }, keys());
    for path in ingress.object.paths().filter(|path| path_text(path.path).starts_with(ACME_PATH)) {
        let redirect = Redirect { https: Some(HttpsRedirect::Never), ..Redirect::default() };
        let target_refs = vec![target(ingress, path_text(path.path))];
        let spec = RoutePolicySpec { target_refs, redirect: Some(redirect), ..RoutePolicySpec::default() };
        settings.policy(spec, keys());
    }
}

fn target(ingress: &Ingress<'_>, path: &str) -> TargetRef {
    TargetRef {
        group: "networking.k8s.io".to_owned(),
        kind: TargetKind::Ingress,
        name: ingress.object.metadata.name.clone(),
        host: None,
        path: Some(path.to_owned()),
    }
}

/// Translates a redirect to another URL. Returns true if there is one.
fn to_url(annotations: &Annotations<'_>, settings: &mut Settings) -> bool {
    let mut applied = None;
    for (name, code_name, default) in TARGETS {
        let Some(value) = annotations.get(name) else {
            if annotations.get(code_name).is_some() {
                settings.rule(code_name, Ruling::ignored(format!("it has no effect without {name}")));
            }
            continue;
        };
        let status = status(annotations, code_name, default, settings);
        if let Some(first) = applied {
            settings.rule(name, Ruling::ignored(format!("{first} precedes in ingress-nginx, too")));
            continue;
        }
        match parse(value) {
            Ok(Target { redirect, ruling }) => {
                let redirect = Redirect { status, ..redirect };
                let spec = RoutePolicySpec { redirect: Some(redirect), ..RoutePolicySpec::default() };
                let keys = [name, code_name].into_iter().filter(|key| annotations.get(key).is_some());
                settings.policy(spec, keys);
                settings.rule(name, ruling);
                applied = Some(name);
            }
            Err(ruling) => settings.rule(name, ruling),
        }
    }
    applied.is_some()
}

/// Judges the annotation of a status. Returns the status.
fn status(
    annotations: &Annotations<'_>,
    name: &'static str,
    default: u16,
    settings: &mut Settings,
) -> Option<RedirectStatus> {
    let by_default = RedirectStatus::try_from(default).ok();
    let Some(value) = annotations.get(name) else { return by_default };
    let code = value.parse::<u16>().ok().filter(|code| (300..=308).contains(code));
    let Some(code) = code else {
        let message = format!(
            "{} is not a status from 300 to 308; {default} is used, as in ingress-nginx",
            quote(value)
        );
        settings.rule(name, Ruling::refused(message));
        return by_default;
    };
    match RedirectStatus::try_from(code) {
        Ok(status) => {
            settings.rule(name, Ruling::exact());
            Some(status)
        }
        Err(_) => {
            settings.rule(name, Ruling::differs(format!("{code} does not redirect; {default} is used")));
            by_default
        }
    }
}

/// The target of a redirect.
struct Target {
    redirect: Redirect,
    ruling: Ruling,
}

/// Parses the URL of a redirect.
fn parse(value: &str) -> Result<Target, Ruling> {
    let (scheme, rest) = match value.split_once("://") {
        Some(("http", rest)) => (Some(RedirectScheme::Http), rest),
        Some(("https", rest)) => (Some(RedirectScheme::Https), rest),
        Some(("$scheme", rest)) => (None, rest),
        _ => {
            let message =
                format!("{} is not an http or https URL; ingress-nginx ignores it, too", quote(value));
            return Err(Ruling::refused(message));
        }
    };
    let unsupported = |what: &str| {
        Ruling::closed(format!("{} {what}; requests get a 503 instead of the redirect", quote(value)))
    };
    let (rest, keeps_request) = match rest.strip_suffix("$request_uri") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if keeps_request && !path.is_empty() {
        return Err(unsupported("has a path before $request_uri"));
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#\\\"$;{}".contains(&byte)) {
        return Err(unsupported(
            "has a query, a fragment, a variable, or a character that a path cannot have",
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => return Err(unsupported("has an invalid port")),
        },
        None => (authority, None),
    };
    let host = match host {
        "$host" | "$http_host" | "$best_http_host" => None,
        host if is_host(host) => Some(host.to_ascii_lowercase()),
        _ => return Err(unsupported("has no DNS name as host")),
    };
    let path = match (keeps_request, path) {
        (true, _) => None,
        (false, "") => Some("/".to_owned()),
        (false, path) => Some(path.to_owned()),
    };
    let ruling = match keeps_request {
        true => Ruling::exact(),
        false => Ruling::differs("the query of the request is added to the URL; nginx drops it"),
    };
    Ok(Target { redirect: Redirect { scheme, host, port, path, ..Redirect::default() }, ruling })
}
