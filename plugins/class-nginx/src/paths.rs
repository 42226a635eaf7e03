//! The conditions of paths, as nginx compares them.
//!
//! ingress-nginx makes locations of paths: `= /a` of Exact, `/a/` and `= /a` of Prefix, and `/a` of `ImplementationSpecific`.
//! nginx compares them by characters. On a host with regular expressions all become `~* "^/a"`.

use std::collections::BTreeSet;

use plugin_sdk::class::ClassPath;
use plugin_sdk::class::api::HttpPathMatch;
use plugin_sdk::class::api::HttpPathModifier;
use plugin_sdk::class::api::HttpRequestRedirect;
use plugin_sdk::class::api::HttpRouteMatch;
use plugin_sdk::class::api::HttpRouteRule;
use plugin_sdk::class::api::PathMatchType;
use plugin_sdk::class::api::policy::RedirectStatus;

use crate::annotations::quote;
use crate::canary;
use crate::host::Host;
use crate::host::Ingress;
use crate::host::PathMode;
use crate::host::PathType;
use crate::host::path_text;
use crate::host::path_type;
use crate::host::redirect_rule;
use crate::pattern;
use crate::pattern::Refusal;
use crate::ruling::Ruling;
use crate::ruling::Settings;

/// Translates the paths of an Ingress. Returns the rules of each route.
pub(crate) fn translate(
    host: &Host<'_>,
    ingress: &Ingress<'_>,
    settings: &mut Settings,
) -> Vec<Vec<HttpRouteRule>> {
    let mut rules = Vec::new();
    let exact = exact_paths(host);
    for path in ingress.object.paths() {
        let matches = match conditions(host, ingress, &path, &exact) {
            Ok(matches) => matches,
            Err(refusal) => {
                refuse(ingress, &path, refusal.reason, settings);
                rules.push(closed_rule(&path, refusal));
                continue;
            }
        };
        rules.extend(canary::rules(host, &path, &matches));
        rules.extend(slash_redirect(host, &path));
    }
    rules.extend(app_root(ingress, settings));
    into_routes(rules)
}

/// Distributes rules over routes. The names of rules are unique within a route, and a path may have several rules.
fn into_routes(rules: Vec<HttpRouteRule>) -> Vec<Vec<HttpRouteRule>> {
    let mut routes: Vec<Vec<HttpRouteRule>> = Vec::new();
    for rule in rules {
        let has_name = |route: &&mut Vec<HttpRouteRule>| route.iter().any(|known| known.name == rule.name);
        match routes.iter_mut().find(|route| !has_name(route)) {
            Some(route) => route.push(rule),
            None => routes.push(vec![rule]),
        }
    }
    routes
}

/// Returns the Exact paths of the host.
fn exact_paths<'a>(host: &Host<'a>) -> BTreeSet<&'a str> {
    let paths = host.mains.iter().flat_map(|ingress| ingress.object.spec.rules.iter());
    let paths = paths.flat_map(|rule| &rule.http.paths);
    paths.filter(|path| path_type(path) == PathType::Exact).map(path_text).collect()
}

/// Returns the conditions of a path, one for each location.
fn conditions(
    host: &Host<'_>,
    ingress: &Ingress<'_>,
    path: &ClassPath<'_>,
    exact: &BTreeSet<&str>,
) -> Result<Vec<HttpRouteMatch>, Refusal> {
    let (text, kind) = (path_text(path.path), path_type(path.path));
    let with_slash = || if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let condition = |kind, value: &str| HttpPathMatch { kind, value: value.into() };
    let conditions = match (host.paths, kind) {
        (PathMode::Elements, PathType::Exact) | (PathMode::Characters, PathType::Exact) => {
            vec![condition(PathMatchType::Exact, text)]
        }
        (PathMode::Elements, PathType::Prefix | PathType::ImplementationSpecific) => {
            vec![condition(PathMatchType::PathPrefix, text)]
        }
        (PathMode::Characters, PathType::ImplementationSpecific) => vec![by_characters(text)],
        (PathMode::Characters, PathType::Prefix) if text == "/" => vec![by_characters(text)],
        (PathMode::Characters, PathType::Prefix) => {
            let own = (!exact.contains(text)).then(|| condition(PathMatchType::Exact, text));
            own.into_iter().chain([by_characters(&with_slash())]).collect()
        }
        (PathMode::Regex, PathType::Exact | PathType::ImplementationSpecific) => vec![by_regex(text)?],
        (PathMode::Regex, PathType::Prefix) if text == "/" || is_expression(ingress, text) => {
            vec![by_regex(text)?]
        }
        (PathMode::Regex, PathType::Prefix) => {
            let own = if exact.contains(text) { None } else { Some(by_regex(text)?) };
            own.into_iter().chain([by_regex(&with_slash())?]).collect()
        }
    };
    Ok(conditions.into_iter().map(HttpRouteMatch::path).collect())
}

/// Returns true if the annotations of the Ingress itself make an expression of a Prefix path. ingress-nginx then makes one
/// location of it, not two.
fn is_expression(ingress: &Ingress<'_>, text: &str) -> bool {
    let target = ingress.annotations.get("rewrite-target").unwrap_or_default();
    ingress.annotations.is_on("use-regex") || (!target.is_empty() && target != text)
}

/// Returns the condition of a location without modifier: the path begins with these characters.
fn by_characters(text: &str) -> HttpPathMatch {
    let value = format!("^{}", pattern::literal(text)).into();
    HttpPathMatch { kind: PathMatchType::RegularExpression, value }
}

/// Returns the condition of a location `~* "^…"`.
fn by_regex(text: &str) -> Result<HttpPathMatch, Refusal> {
    let value = format!("(?i)^{}", pattern::translate(text)?).into();
    Ok(HttpPathMatch { kind: PathMatchType::RegularExpression, value })
}

/// Creates the rule of an expression that cannot be translated. It closes what the expression may mean.
fn closed_rule(path: &ClassPath<'_>, refusal: Refusal) -> HttpRouteRule {
    let value = format!("(?i)^{}", pattern::closing(path_text(path.path), refusal)).into();
    let condition = HttpPathMatch { kind: PathMatchType::RegularExpression, value };
    HttpRouteRule {
        name: Some(path.name.clone()),
        matches: vec![HttpRouteMatch::path(condition)],
        ..HttpRouteRule::default()
    }
}

/// Names an expression that cannot be translated.
fn refuse(ingress: &Ingress<'_>, path: &ClassPath<'_>, reason: &str, settings: &mut Settings) {
    if ingress.annotations.get("use-regex").is_some() {
        let message =
            format!("path {} {reason}; requests that may match it get a 503", quote(path_text(path.path)));
        settings.rule("use-regex", Ruling::refused(message));
    }
}

/// Returns the redirect of a path with a slash at its end from the same path without it.
fn slash_redirect(host: &Host<'_>, path: &ClassPath<'_>) -> Option<HttpRouteRule> {
    let text = path_text(path.path);
    let stem = text.strip_suffix('/').filter(|stem| !stem.is_empty())?;
    let mut locations = host.mains.iter().flat_map(|ingress| ingress.object.paths());
    // A Prefix path has a location of its own without the slash.
    if host.paths == PathMode::Regex || locations.any(|other| path_text(other.path) == stem) {
        return None;
    }
    let redirect = HttpRequestRedirect {
        path: Some(HttpPathModifier::ReplaceFullPath { replace_full_path: text.to_owned() }),
        status_code: RedirectStatus::try_from(301).ok(),
        ..HttpRequestRedirect::default()
    };
    let condition = HttpPathMatch { kind: PathMatchType::Exact, value: stem.into() };
    Some(redirect_rule(Some(&path.name), condition, redirect))
}

/// Returns the redirect of `/` to `app-root`.
fn app_root(ingress: &Ingress<'_>, settings: &mut Settings) -> Option<HttpRouteRule> {
    let value = ingress.annotations.get("app-root")?;
    let is_path = value.starts_with('/')
        && !value.starts_with("//")
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"$;{}".contains(&byte));
    if !is_path {
        let message = format!("{} is not a path without query; `/` is not redirected", quote(value));
        settings.rule("app-root", Ruling::refused(message));
        return None;
    }
    let mut paths = ingress.object.paths();
    let Some(root) = paths.find(|path| path_text(path.path) == "/") else {
        let message = "the Ingress has no path `/`, so there is nothing to redirect in ingress-nginx, too";
        settings.rule("app-root", Ruling::ignored(message));
        return None;
    };
    let redirect = HttpRequestRedirect {
        path: Some(HttpPathModifier::ReplaceFullPath { replace_full_path: value.to_owned() }),
        status_code: RedirectStatus::try_from(302).ok(),
        ..HttpRequestRedirect::default()
    };
    let condition = HttpPathMatch { kind: PathMatchType::Exact, value: "/".into() };
    settings.rule("app-root", Ruling::differs("the query of the request stays"));
    Some(redirect_rule(Some(&root.name), condition, redirect))
}
