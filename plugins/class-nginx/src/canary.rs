//! Canaries: Ingresses that take a part of the requests of another one.
//!
//! A canary adds its backend to the paths of the other Ingresses of the host that are equal to its own.

use plugin_sdk::class::ClassOutput;
use plugin_sdk::class::ClassPath;
use plugin_sdk::class::api::HttpBackendRef;
use plugin_sdk::class::api::HttpRouteMatch;
use plugin_sdk::class::api::HttpRouteRule;
use plugin_sdk::class::api::HttpValueMatch;
use plugin_sdk::class::api::ValueMatchType;

use crate::annotations::Annotations;
use crate::annotations::quote;
use crate::host::Host;
use crate::host::Ingress;
use crate::host::path_text;
use crate::host::path_type;
use crate::pattern;
use crate::ruling::Ruling;

/// Sum of both weights by default.
const DEFAULT_TOTAL: u32 = 100;

/// Keys that a canary has itself. Everything else it takes from the other Ingress.
const OWN_KEYS: [&str; 7] = [
    "canary",
    "canary-by-cookie",
    "canary-by-header",
    "canary-by-header-pattern",
    "canary-by-header-value",
    "canary-weight",
    "canary-weight-total",
];

/// Returns the rules of a path with these conditions: those for requests of the canary alone, then the weighted one.
pub(crate) fn rules(host: &Host<'_>, path: &ClassPath<'_>, matches: &[HttpRouteMatch]) -> Vec<HttpRouteRule> {
    let rule = |matches: Vec<HttpRouteMatch>, backend_refs: Vec<HttpBackendRef>| HttpRouteRule {
        name: Some(path.name.clone()),
        matches,
        backend_refs,
        ..HttpRouteRule::default()
    };
    let main: Vec<_> = path.backend().into_iter().collect();
    let Some(canary) = canary_of(host, path) else { return vec![rule(matches.to_vec(), main)] };
    let Some(backend) = canary.backend else { return vec![rule(matches.to_vec(), main)] };
    let mut rules = Vec::new();
    for (condition, is_canary) in conditions(canary.annotations) {
        let with_condition = matches.iter().cloned().map(|mut matched| {
            matched.headers.push(condition.clone());
            matched
        });
        let backend_refs = if is_canary { vec![backend.clone()] } else { main.clone() };
        rules.push(rule(with_condition.collect(), backend_refs));
    }
    let (weight, total) = weights(canary.annotations);
    let weighted = main.into_iter().map(|main| HttpBackendRef { weight: total - weight, ..main });
    let weighted = weighted.chain([HttpBackendRef { weight, ..backend }]);
    rules.push(rule(matches.to_vec(), weighted.collect()));
    rules
}

/// The canary of a path.
struct Canary<'a> {
    annotations: &'a Annotations<'a>,
    backend: Option<HttpBackendRef>,
}

/// Returns the canary of a path: the oldest with an equal path. One of another namespace has no effect.
fn canary_of<'a>(host: &'a Host<'a>, path: &ClassPath<'_>) -> Option<Canary<'a>> {
    host.canaries.iter().find_map(|canary| {
        let mut paths = canary.object.paths();
        let own = paths.find(|own| is_equal(own, path))?;
        is_usable(host, canary, &own)
            .then(|| Canary { annotations: &canary.annotations, backend: own.backend() })
    })
}

fn is_equal(one: &ClassPath<'_>, other: &ClassPath<'_>) -> bool {
    path_text(one.path) == path_text(other.path) && path_type(one.path) == path_type(other.path)
}

/// Returns true if the oldest other Ingress with the path of a canary is in its namespace.
fn is_usable(host: &Host<'_>, canary: &Ingress<'_>, own: &ClassPath<'_>) -> bool {
    let main = host.mains.iter().find(|main| main.object.paths().any(|path| is_equal(&path, own)));
    main.is_some_and(|main| main.object.metadata.namespace == canary.object.metadata.namespace)
}

/// Returns the weight of the canary and the sum of both.
fn weights(annotations: &Annotations<'_>) -> (u32, u32) {
    let number = |name| annotations.get(name).and_then(|value| value.parse::<u32>().ok());
    let total = number("canary-weight-total").filter(|total| *total > 0).unwrap_or(DEFAULT_TOTAL);
    (number("canary-weight").unwrap_or(0).min(total), total)
}

/// Returns the conditions that decide before the weight, and whether the canary serves such requests.
fn conditions(annotations: &Annotations<'_>) -> Vec<(HttpValueMatch, bool)> {
    let field =
        |kind, name: &str, value: &str| HttpValueMatch { kind, name: name.into(), value: value.into() };
    if let Some(name) = annotations.get("canary-by-header").filter(|name| is_field(name)) {
        if let Some(value) = annotations.get("canary-by-header-value").filter(|value| !value.is_empty()) {
            return vec![(field(ValueMatchType::Exact, name, value), true)];
        }
        if let Some(text) = annotations.get("canary-by-header-pattern").filter(|text| !text.is_empty()) {
            let pattern = pattern::translate(text).ok();
            let pattern = pattern.map(|text| (field(ValueMatchType::RegularExpression, name, &text), true));
            return pattern.into_iter().collect();
        }
        return vec![
            (field(ValueMatchType::Exact, name, "always"), true),
            (field(ValueMatchType::Exact, name, "never"), false),
        ];
    }
    if let Some(name) = annotations.get("canary-by-cookie").filter(|name| is_field(name)) {
        let cookie = |value: &str| {
            let text = format!("(^|; ?){}={value}(;|$)", pattern::literal(name));
            field(ValueMatchType::RegularExpression, "Cookie", &text)
        };
        return vec![(cookie("always"), true), (cookie("never"), false)];
    }
    Vec::new()
}

/// Returns true if the text is a name of a field or a cookie.
fn is_field(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

// ===== verdicts =====

/// Judges the annotations of the canaries, and names their paths as served by other routes.
pub(crate) fn judge(host: &Host<'_>, output: &mut ClassOutput) {
    for (index, canary) in host.canaries.iter().enumerate() {
        let effect = effect(host, index);
        for path in canary.object.paths() {
            output.absorbed(canary.object, &path.name);
        }
        for (name, value) in canary.annotations.all() {
            let ruling = match OWN_KEYS.contains(&name) {
                true => judge_key(&canary.annotations, name, value, effect),
                false if name == "load-balance" || name.starts_with("upstream-hash-by") => {
                    Ruling::ignored("endpoints of a canary are balanced as those of the other Ingress")
                }
                false => Ruling::ignored(
                    "a canary takes this setting from the other Ingress, in ingress-nginx, too",
                ),
            };
            ruling.emit(canary.object, name, output);
        }
    }
}

/// Returns why a canary has no effect on any path.
fn effect(host: &Host<'_>, index: usize) -> Option<&'static str> {
    let canary = host.canaries.get(index)?;
    let mut reason = "no other Ingress of the host has a path of this one, with the same type";
    for own in canary.object.paths() {
        let mut mains = host.mains.iter().flat_map(|main| main.object.paths());
        if !mains.any(|main| is_equal(&main, &own)) {
            continue;
        }
        let older = host.canaries.iter().take(index);
        let mut older = older.filter(|older| {
            older.object.paths().any(|path| is_equal(&path, &own) && is_usable(host, older, &path))
        });
        if older.next().is_some() {
            reason = "an older canary has its path, and only one applies in ingress-nginx, too";
        } else if !is_usable(host, canary, &own) {
            reason = "the other Ingress is in another namespace, whose Services it would add";
        } else {
            return None;
        }
    }
    Some(reason)
}

fn judge_key(
    annotations: &Annotations<'_>,
    name: &str,
    value: &str,
    without_effect: Option<&'static str>,
) -> Ruling {
    if let Some(reason) = without_effect {
        return Ruling::ignored(reason);
    }
    let is_number = value.parse::<u32>().is_ok();
    match name {
        "canary-weight" | "canary-weight-total" if !is_number => {
            Ruling::refused(format!("{} is no number", quote(value)))
        }
        "canary-by-header" | "canary-by-cookie" if !is_field(value) => {
            Ruling::refused(format!("{} is no name", quote(value)))
        }
        "canary-by-cookie" if annotations.get("canary-by-header").is_some() => {
            Ruling::refused("only the header decides; write another canary rule")
        }
        "canary-by-header-value" | "canary-by-header-pattern"
            if annotations.get("canary-by-header").is_none() =>
        {
            Ruling::ignored("it has no effect without canary-by-header")
        }
        "canary-by-header-pattern" if annotations.get("canary-by-header-value").is_some() => {
            Ruling::ignored("canary-by-header-value precedes in ingress-nginx, too")
        }
        "canary-by-header-pattern" => match pattern::translate(value) {
            Ok(_) => Ruling::exact(),
            Err(refusal) => Ruling::refused(format!(
                "{} {}; no request goes to the canary by it",
                quote(value),
                refusal.reason
            )),
        },
        _ => Ruling::exact(),
    }
}
