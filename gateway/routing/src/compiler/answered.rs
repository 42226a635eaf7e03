//! Translates an Ingress by the answers of its class handler: routes, closed paths, and a Problem for each verdict.
//!
//! A path without a rule of the handler gets a 503, so that no other rule receives its requests. Not here: what a handler
//! may refer to (`handler::split`), and merging of its policies (`policy_merge`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::HttpPathMatch;
use api::HttpRouteMatch;
use api::HttpRouteRule;
use api::PathMatchType;
use api::class_handler;
use api::class_handler::AnnotationResult;
use api::class_handler::AnnotationVerdict;

use super::answered_policy;
use super::handler_index::Answered;
use super::handler_index::HostAnswer;
use super::handler_index::HostAnswers;
use super::handler_input;
use super::handler_source::HandlerSettings;
use super::plugin_index::PluginIndex;
use super::rule_filters;
use super::tls;
use super::translate;
use super::translation::Closure;
use super::translation::TranslatedRoute;
use super::translation::TranslatedRule;
use super::translation::Translation;
use crate::host::HostName;
use crate::object::Ingress;
use crate::object::Kind;
use crate::object::ObjectRef;
use crate::path;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::Ownership;
use crate::table::PathMatch;
use crate::table::Pattern;

/// What the translation of one Ingress reads beside it.
#[derive(Clone, Copy)]
pub(super) struct AnswerContext<'a> {
    pub(super) handler: &'a HandlerSettings,
    pub(super) answers: &'a HostAnswers,
    pub(super) plugins: &'a PluginIndex,
    pub(super) ownership: &'a Arc<Ownership>,
}

/// The paths of an Ingress on one host, by the name of the HTTPRoute rule for each.
struct HostPaths {
    host: HostName,
    paths: BTreeMap<String, FieldPath>,
}

/// Which paths of a host an answer closes.
#[derive(Default)]
struct Closed<'a> {
    all: bool,
    rules: BTreeSet<&'a str>,
}

pub(super) fn translate(ingress: &Ingress, context: AnswerContext<'_>) -> Translation {
    let mut translation = Translation::new(ingress.name.clone(), Arc::clone(context.ownership));
    if let Some(backend) = &ingress.default_backend {
        let mut rule = translate::default_backend(&mut translation, backend);
        rule.closure = default_closure(context.answers);
        translation.default_backend = Some(rule);
    }
    let mut reported = BTreeSet::new();
    for from in host_paths(&mut translation, ingress) {
        let default = HostAnswer::default();
        let answer = context.answers.get(&from.host).unwrap_or(&default);
        translate_host(&mut translation, ingress, &from, answer);
    }
    for (host, answer) in context.answers {
        report_failure(&mut translation, host, answer);
        if let Some(answered) = &answer.translated {
            report_verdicts(&mut reported, ingress, answered, context.handler);
            report_policies(&mut reported, ingress, answered, context.plugins);
        }
    }
    translation.problems.extend(reported);
    tls::translate(&mut translation, ingress);
    translate::report_empty(&mut translation, ingress);
    translation
}

/// Returns how the answers close the default backend. It serves all hosts of the Ingress, so the answer about any of them
/// may.
fn default_closure(answers: &HostAnswers) -> Closure {
    let is_answered = answers.get(&HostName::Any).is_some_and(|answer| answer.translated.is_some());
    let mut results = answers.values().filter_map(|answer| answer.translated.as_ref());
    if results.any(|answered| Closed::new(&answered.results).all) {
        return Closure::NotHonoured;
    }
    if is_answered { Closure::Open } else { Closure::NoBackends }
}

/// Returns the paths of the Ingress by host. Reports hosts that it may not have.
fn host_paths(translation: &mut Translation, ingress: &Ingress) -> Vec<HostPaths> {
    let mut hosts: Vec<HostPaths> = Vec::new();
    let mut rules: BTreeMap<HostName, usize> = BTreeMap::new();
    for (rule, from) in (0..).zip(&*ingress.rules) {
        let Some(host) = handler_input::rule_host(from.host.as_ref()) else {
            if let Some(text) = &from.host {
                translation.parse_host(format_args!("spec.rules[{rule}].host"), text);
            }
            continue;
        };
        let on_host = rules.entry(host.clone()).or_default();
        let paths = (0..from.paths.len()).zip(0..);
        let paths = paths
            .map(|(index, path)| (class_handler::rule_name(*on_host, index), FieldPath::Path { rule, path }));
        let paths: Vec<_> = paths.collect();
        *on_host += 1;
        let is_allowed = from.host.as_ref().is_none_or(|text| {
            translation.parse_host(format_args!("spec.rules[{rule}].host"), text).is_some()
        });
        if !is_allowed {
            continue;
        }
        match hosts.iter_mut().find(|known| known.host == host) {
            Some(known) => known.paths.extend(paths),
            None => hosts.push(HostPaths { host, paths: paths.into_iter().collect() }),
        }
    }
    hosts
}

fn translate_host(translation: &mut Translation, ingress: &Ingress, from: &HostPaths, answer: &HostAnswer) {
    let Some(answered) = &answer.translated else {
        let rules = from
            .paths
            .values()
            .filter_map(|field| closed_path(translation, ingress, *field, Closure::NoBackends));
        let rules = rules.collect();
        let route = TranslatedRoute { rules, ..TranslatedRoute::new(from.host.clone()) };
        translation.routes.push(TranslatedRoute { answer: Some(from.host.clone()), ..route });
        return;
    };
    let closed = Closed::new(&answered.results);
    let mut own =
        TranslatedRoute { answer: Some(from.host.clone()), ..TranslatedRoute::new(from.host.clone()) };
    let absorbed = answered.results.iter().filter(|result| result.annotation.is_none());
    let mut covered: BTreeSet<&str> = absorbed.filter_map(|result| result.rule.as_deref()).collect();
    for route in &answered.routes {
        let keys = answered_policy::keys(&route.metadata);
        let aliases = aliases(&route.spec.hostnames, &from.host);
        for rule in &route.spec.rules {
            let name = rule.name.as_deref().unwrap_or_default();
            let first = from.paths.values().next().copied().unwrap_or(FieldPath::DefaultBackend);
            let field = from.paths.get(name).copied().unwrap_or(first);
            let Some(rule) = canonical_rule(translation, field, rule) else { continue };
            covered.insert(name);
            let (filters, faults) = rule_filters::parse(&rule, keys.as_ref());
            let closure = match closed.covers(name) {
                true => Closure::NotHonoured,
                false if rule.backend_refs.is_empty() || !faults.is_empty() => Closure::NoBackends,
                false => Closure::Open,
            };
            for fault in faults {
                let message = format!("the class handler returned a filter that cannot be honoured: {fault}");
                translation.report(field.to_string(), Reason::InvalidValue, message);
            }
            let (source, annotations) = (source(ingress, field), keys.clone());
            let rule = TranslatedRule { rule, field, source, filters, closure, annotations };
            for alias in &aliases {
                add_alias(translation, alias, &from.host, rule.clone());
            }
            if is_for(&route.spec.hostnames, &from.host) {
                own.rules.push(rule);
            }
        }
    }
    for (name, field) in &from.paths {
        if covered.contains(name.as_str()) {
            continue;
        }
        let closure = if closed.covers(name) { Closure::NotHonoured } else { Closure::NoBackends };
        if closure == Closure::NoBackends {
            let message = "the class handler returned no rule for this path, so its requests get a 503";
            translation.report(field.to_string(), Reason::HandlerFailed, message);
        }
        own.rules.extend(closed_path(translation, ingress, *field, closure));
    }
    translation.routes.push(own);
}

/// Is a route with these host names for the host of the call?
fn is_for(hostnames: &[String], host: &HostName) -> bool {
    hostnames.is_empty() || hostnames.iter().any(|text| HostName::parse(text).as_ref() == Ok(host))
}

/// Returns the other hosts of a route.
fn aliases(hostnames: &[String], host: &HostName) -> Vec<HostName> {
    let parsed = hostnames.iter().filter_map(|text| HostName::parse(text).ok());
    parsed.filter(|alias| alias != host).collect()
}

/// Adds a rule for a host that the call is not about. It serves only if no rule of an Ingress names the host.
fn add_alias(translation: &mut Translation, alias: &HostName, host: &HostName, rule: TranslatedRule) {
    let field = format_args!("the host {alias} of the class handler");
    if translation.parse_host(field, &alias.to_string().as_str().into()).is_none() {
        return;
    }
    let routes = &mut translation.routes;
    let known = routes.iter_mut().find(|route| route.is_alias && route.host == *alias);
    match known {
        Some(known) => known.rules.push(rule),
        None => routes.push(TranslatedRoute {
            rules: vec![rule],
            is_alias: true,
            answer: Some(host.clone()),
            ..TranslatedRoute::new(alias.clone())
        }),
    }
}

/// Translates a path as if the Ingress had no handler, and closes it.
fn closed_path(
    translation: &mut Translation,
    ingress: &Ingress,
    field: FieldPath,
    closure: Closure,
) -> Option<TranslatedRule> {
    let FieldPath::Path { rule, path } = field else { return None };
    let rule = ingress.rules.get(usize::try_from(rule).ok()?)?;
    let from = rule.paths.get(usize::try_from(path).ok()?)?;
    let rule = match closed_expression(&from.path) {
        Some(condition) => HttpRouteRule { matches: vec![condition], ..HttpRouteRule::default() },
        None => translate::translate_path(translation, field, from)?,
    };
    Some(TranslatedRule { closure, ..TranslatedRule::new(rule, field) })
}

/// Returns the condition of a path that is a regular expression in some dialects: all paths that begin with its literal
/// characters, whatever the case. Returns `None` for other paths.
fn closed_expression(path: &Arc<str>) -> Option<HttpRouteMatch> {
    if !path.contains(['(', '[', '*', '+', '?', '^', '$', '|', '\\', '{']) {
        return None;
    }
    let anchored = format!("^{path}").into();
    let value = format!("(?i)^{}", Pattern::closed(&anchored).literal_prefix()).into();
    Some(HttpRouteMatch::path(HttpPathMatch { kind: PathMatchType::RegularExpression, value }))
}

/// Returns the condition of the path that a field names, by which policies select it.
fn source(ingress: &Ingress, field: FieldPath) -> Option<PathMatch> {
    let FieldPath::Path { rule, path } = field else { return None };
    let rule = ingress.rules.get(usize::try_from(rule).ok()?)?;
    let from = rule.paths.get(usize::try_from(path).ok()?)?;
    let text = if from.path.is_empty() { "/" } else { &*from.path };
    Some(match (path::rule_path(text), from.path_type.as_deref()) {
        (Ok(path), Some("Exact")) => PathMatch::exact(&path),
        (Ok(path), _) => PathMatch::prefix(&path),
        (Err(_), _) => PathMatch::exact(text),
    })
}

/// Brings the paths of a rule to canonical form. Returns `None`, and reports why, if one has none.
fn canonical_rule(
    translation: &mut Translation,
    field: FieldPath,
    from: &HttpRouteRule,
) -> Option<HttpRouteRule> {
    let mut rule = from.clone();
    let is_path = |condition: &&mut HttpRouteMatch| condition.path.kind != PathMatchType::RegularExpression;
    for condition in rule.matches.iter_mut().filter(is_path) {
        let text = &condition.path.value;
        match path::rule_path(text) {
            Ok(path) if *path == **text => {}
            Ok(path) => condition.path.value = path.as_ref().into(),
            Err(error) => {
                let message = format!(
                    "the class handler returned the path \"{}\", which cannot be matched: {error}",
                    text.escape_debug()
                );
                translation.report(format!("{field}.path"), Reason::InvalidPath, message);
                return None;
            }
        }
    }
    Some(rule)
}

fn report_failure(translation: &mut Translation, host: &HostName, answer: &HostAnswer) {
    let Some(reason) = &answer.failure else { return };
    let effect = match answer.translated {
        Some(_) => "its last answer stays in use",
        None => "the paths get a 503",
    };
    let message = format!("the class handler failed for {host}: {reason}; {effect}");
    translation.report(String::new(), Reason::HandlerFailed, message);
}

/// Reports each verdict that is not exact, and the annotations of the dialect without one.
fn report_verdicts(
    reported: &mut BTreeSet<Problem>,
    ingress: &Ingress,
    answered: &Answered,
    handler: &HandlerSettings,
) {
    for result in &answered.results {
        let Some(key) = &result.annotation else { continue };
        let Some((reason, message)) = verdict_problem(result) else { continue };
        reported.insert(annotation_problem(ingress, key, reason, message));
    }
    for annotation in &ingress.annotations {
        let is_of_dialect = handler.definition.speaks_for(&annotation.key);
        let is_judged =
            || answered.results.iter().any(|result| result.annotation.as_deref() == Some(&*annotation.key));
        if is_of_dialect && !is_judged() {
            let message = "the class handler has no verdict on this annotation, so it may have no effect";
            reported.insert(annotation_problem(
                ingress,
                &annotation.key,
                Reason::AnnotationUnjudged,
                message.to_owned(),
            ));
        }
    }
}

fn verdict_problem(result: &AnnotationResult) -> Option<(Reason, String)> {
    let message = &result.message;
    if result.closes {
        let scope = if result.rule.is_some() { "its path gets" } else { "the paths on its host get" };
        return Some((Reason::AnnotationNotHonoured, format!("{message}; {scope} a 503")));
    }
    match result.verdict {
        AnnotationVerdict::Exact => None,
        AnnotationVerdict::Differs => Some((Reason::AnnotationDiffers, message.clone())),
        AnnotationVerdict::Ignored => {
            Some((Reason::AnnotationIgnored, format!("it has no effect here: {message}")))
        }
        AnnotationVerdict::Refused => {
            Some((Reason::AnnotationRefused, format!("it has no effect here: {message}")))
        }
    }
}

/// Reports the policies that the handler emitted and that cannot be honoured as they are.
fn report_policies(
    reported: &mut BTreeSet<Problem>,
    ingress: &Ingress,
    answered: &Answered,
    plugins: &PluginIndex,
) {
    for policy in &answered.policies {
        let key = policy.keys.as_deref().unwrap_or_default();
        for fault in &policy.entry.problems {
            let message = format!("{} that the class handler set: {}", fault.field, fault.message);
            reported.insert(annotation_problem(ingress, key, fault.reason, message));
        }
        for named in policy.entry.plugins.iter().filter(|named| plugins.get(&named.plugin).is_none()) {
            let message =
                format!("WasmPlugin {} does not exist; requests of these routes get a 503", named.plugin);
            reported.insert(annotation_problem(ingress, key, Reason::PluginNotFound, message));
        }
    }
}

/// Creates a Problem about an annotation. Of several keys, the first counts. Without one, it is about the whole Ingress.
fn annotation_problem(ingress: &Ingress, keys: &str, reason: Reason, message: String) -> Problem {
    let key = keys.split(", ").next().unwrap_or_default();
    let field =
        if key.is_empty() { String::new() } else { format!("metadata.annotations[{}]", key.escape_debug()) };
    Problem { object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() }, field, reason, message }
}

// ===== impl Closed =====

impl<'a> Closed<'a> {
    fn new(results: &'a [AnnotationResult]) -> Self {
        let mut closed = Self::default();
        for result in results.iter().filter(|result| result.closes) {
            match &result.rule {
                Some(rule) => drop(closed.rules.insert(rule)),
                None => closed.all = true,
            }
        }
        closed
    }

    fn covers(&self, rule: &str) -> bool {
        self.all || self.rules.contains(rule)
    }
}
