//! Explains the routing of one request, from the listener to the endpoint, as plain values.
//!
//! Uses the code of the data plane: its request parser, its canonical forms of host and path, and the routing table, which
//! reports the candidates that lost. Not here: a second matcher, and the health of endpoints beyond their objects.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http1::{BodyLength, Head, KnownName};
use routing::object::{Ingress, Kind, Name, ObjectRef};
use routing::table::MatchReport;
use routing::{CertificateChoice, Compiler, HostName, RoutingTable, host, path};

use crate::cli::outcome::Outcome;
use crate::control::plugin::{PluginBoard, PluginStatus};
use crate::control::reload::{ProblemView, Problems};
use crate::data::exchange;
use crate::data::exchange::HeadParts;
use crate::data::exchange::destination::Destination;
use crate::data::exchange::reply_reason::ReplyReason;
use crate::data::upstream::ejection::EjectedEndpoint;
use crate::filter::{self, FilterContext, Progress};
use crate::live::Live;
use crate::message::{LocalReply, Scheme};
use crate::settings::TraceRequests;

pub mod command;
pub mod request;
mod services;
mod text;
pub mod view;

use request::RequestSpec;
use view::{Explanation, IngressView, ListenerView, ReadingView, RequestView};

/// The input of an explanation: objects, table and Problems of one moment.
#[derive(Clone, Copy)]
pub struct ExplainContext<'a> {
    /// The compiler, which holds the objects.
    pub compiler: &'a Compiler,
    /// The live table and certificates.
    pub live: &'a Live,
    /// The Problems of the objects.
    pub problems: &'a Problems,
    /// The states of plugins. `None`: no plugin is loaded, and all let the request pass.
    pub plugins: Option<&'a PluginBoard>,
    /// The endpoints that are ejected for their failures. Empty without a running gateway.
    pub ejected: &'a [EjectedEndpoint],
    /// The Service that exposes the gateway.
    pub status_service: Option<&'a Name>,
}

/// Explains a request.
pub fn explain(request: &RequestSpec, context: ExplainContext<'_>) -> Explanation {
    let head = request.head();
    let (match_report, outcome) = match admit(request, context) {
        Ok((match_report, outcome)) => (Some(match_report), outcome),
        Err(refusal) => (None, Outcome::local_reply(refusal)),
    };
    let ingresses = match_report
        .as_ref()
        .map(|match_report| matching_ingresses(match_report, context.compiler))
        .unwrap_or_default();
    let chosen = match_report.as_ref().and_then(|match_report| match_report.chosen.as_ref());
    let backends = chosen.map(|route| route.backends.as_slice()).unwrap_or_default();
    let mut explanation = Explanation {
        request: RequestView {
            method: request.method().to_owned(),
            url: request.url().to_owned(),
            host: head.ok().and_then(host_field).map(|host| String::from_utf8_lossy(host).into_owned()),
            target: request.target().to_owned(),
        },
        listener: listener_view(request, context.live),
        services: services::service_views(backends, context.compiler, context.ejected),
        exposure: services::exposure_view(context.status_service, context.compiler),
        plugins: plugin_statuses(match_report.as_ref(), context.plugins),
        shorter_wildcards: match_report
            .as_ref()
            .map(|report| shorter_wildcards(&report.host, &context.live.table))
            .unwrap_or_default(),
        readings: match_report.as_ref().map(|report| readings(report, &outcome, context)).unwrap_or_default(),
        problems: Vec::new(),
        ingresses: ingresses.iter().map(|ingress| ingress_view(ingress, context.compiler)).collect(),
        match_report,
        outcome,
    };
    explanation.problems = related_problems(&explanation, &ingresses, context.problems);
    explanation
}

/// Returns the states of the plugins of the chosen rule, in the order of requests.
fn plugin_statuses(match_report: Option<&MatchReport>, board: Option<&PluginBoard>) -> Vec<PluginStatus> {
    let Some(board) = board else { return Vec::new() };
    let chosen = match_report.and_then(|match_report| match_report.chosen.as_ref());
    let plugins = chosen.into_iter().flat_map(|route| &route.plugins);
    plugins.filter_map(|view| board.status(&parse_name(&view.plugin))).collect()
}

/// Returns the name that a view prints as `namespace/name`, or as `name` if it has no namespace.
fn parse_name(text: &str) -> Name {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    Name::new(namespace, name)
}

/// Returns the wildcard hosts of the table that end like a host, without the one that covers it.
fn shorter_wildcards(host: &str, table: &RoutingTable) -> Vec<String> {
    let parents = std::iter::successors(host.split_once('.'), |(_, parent)| parent.split_once('.'));
    let wildcards = parents.skip(1).filter_map(|(_, parent)| HostName::parse(&format!("*.{parent}")).ok());
    wildcards.filter(|wildcard| table.host(wildcard).is_some()).map(|wildcard| wildcard.to_string()).collect()
}

/// Returns what each reading of a path with an encoded slash reaches. Empty if the request is not rejected for it.
fn readings(report: &MatchReport, outcome: &Outcome, context: ExplainContext<'_>) -> Vec<ReadingView> {
    if outcome.reason != Some(ReplyReason::EncodedSlash.as_str()) {
        return Vec::new();
    }
    let table = &context.live.table;
    let reading = |path: String| {
        let route = table.find(&report.host, &path);
        ReadingView { outcome: Outcome::for_route(route.map(|route| &**route)), path }
    };
    let mut paths = vec![report.path.clone()];
    paths.extend(path::alternative_readings(&report.path));
    paths.dedup();
    paths.into_iter().map(reading).collect()
}

fn host_field(head: &Head) -> Option<&[u8]> {
    head.get(KnownName::Host)
}

/// Takes the steps of `exchange::serve` up to the table, in the same order.
fn admit(request: &RequestSpec, context: ExplainContext<'_>) -> Result<(MatchReport, Outcome), ReplyReason> {
    let head = request.head()?;
    let length = BodyLength::from_request(head).map_err(|_| ReplyReason::MalformedFraming)?;
    let Destination { host, path, .. } = exchange::parse_destination(head)?;
    // The setting of the gateway is not known here.
    exchange::check_method(head, TraceRequests::default())?;
    let table = &context.live.table;
    let outcome = Outcome::for_destination(table, &host, &path, &HeadParts(head));
    let serving = table.serving_host(&host).map(|host| host.name());
    let claims: Vec<_> =
        serving.into_iter().flat_map(|host| context.compiler.candidate_routes(host)).collect();
    let cx = FilterContext {
        scheme: request.scheme(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host: &host,
        path: &path,
        request: head,
        is_request_end: length.has_no_body(),
        exchange: None,
        facts: None,
    };
    let outcome = match filter_reply(context.live, &cx) {
        Some(reply) => outcome.with_reply(&reply),
        None => outcome.with_body(length),
    };
    Ok((table.match_report(&host, &path, &HeadParts(head), &claims), outcome))
}

/// Returns the reply of a filter to a request of the command, as the data plane's own filters give it.
fn filter_reply(live: &Live, cx: &FilterContext<'_>) -> Option<Box<LocalReply>> {
    let route = exchange::find_route(&live.table, cx.host, cx.path, &HeadParts(cx.request)).ok()?;
    if route.is_closed {
        return None;
    }
    let chain = live.plans.get(route.policy.id).chain.as_ref()?;
    match Progress::new(Arc::clone(chain), BodyLength::Empty).request(cx) {
        filter::Outcome::Reply(reply) => Some(reply),
        // What a filter waits for is not known here.
        filter::Outcome::Pass | filter::Outcome::Wait(_) | filter::Outcome::Hold => None,
    }
}

/// Returns the listener. A TLS client sends the URL's host as SNI, whatever the field Host contains.
fn listener_view(request: &RequestSpec, live: &Live) -> ListenerView {
    let host = host::normalise(request.authority().as_bytes());
    let host = host.as_deref().filter(|_| request.scheme() == Scheme::Https);
    let secret_of = |choice| match choice {
        CertificateChoice::Named(secret) => Some(secret),
        CertificateChoice::Default(_) => None,
    };
    let named = host.into_iter().flat_map(|host| live.table.certificates(Some(host)).filter_map(secret_of));
    let certificate = host.and_then(|host| live.certificates.choose(&live.table, Some(host)).0);
    ListenerView {
        scheme: request.scheme().as_str(),
        certificate: certificate.map(ToString::to_string),
        secrets: named.map(ToString::to_string).collect(),
    }
}

/// Returns the Ingresses that name a candidate host, and the chosen one, sorted by name.
fn matching_ingresses<'a>(match_report: &MatchReport, compiler: &'a Compiler) -> Vec<&'a Ingress> {
    let chosen = match_report.chosen.as_ref().map(|route| route.ingress.as_str());
    let is_same_host =
        |rule: &str, host: &str| rule.strip_suffix('.').unwrap_or(rule).eq_ignore_ascii_case(host);
    let any = HostName::Any.to_string();
    let has_traced_host = |host: Option<&str>| {
        let host = host.filter(|host| !host.is_empty()).unwrap_or(&any);
        match_report.hosts.iter().any(|candidate| is_same_host(host, &candidate.host))
    };
    let is_match = |ingress: &&Ingress| {
        ingress.rules.iter().any(|rule| has_traced_host(rule.host.as_deref()))
            || chosen.is_some_and(|chosen| chosen == ingress.name.to_string())
    };
    compiler.ingresses().filter(is_match).collect()
}

fn ingress_view(ingress: &Ingress, compiler: &Compiler) -> IngressView {
    let (class, class_source) = match (&ingress.class, &ingress.class_annotation) {
        (Some(class), _) => (Some(class), "spec.ingressClassName"),
        (None, Some(class)) => (Some(class), "the annotation kubernetes.io/ingress.class"),
        (None, None) => (None, "nothing"),
    };
    let rejection = compiler.unserved_reason(ingress);
    IngressView {
        ingress: ingress.name.to_string(),
        class: class.map(ToString::to_string),
        class_source,
        served: rejection.is_none(),
        rejection,
    }
}

/// Returns the Problems of all objects that the explanation names, and of files that cannot be read: those may contain
/// any object.
fn related_problems(
    explanation: &Explanation,
    ingresses: &[&Ingress],
    problems: &Problems,
) -> Vec<ProblemView> {
    let object = |kind, name: &str| ObjectRef { kind, name: parse_name(name) };
    let mut objects: BTreeSet<ObjectRef> = BTreeSet::new();
    for ingress in ingresses {
        objects.insert(ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() });
    }
    let chosen = explanation.match_report.iter().filter_map(|match_report| match_report.chosen.as_ref());
    for route in chosen {
        objects.extend(route.policy.iter().map(|field| object(Kind::RoutePolicy, &field.policy)));
        let plugins = route.plugins.iter().map(|plugin| &plugin.plugin).chain(&route.missing_plugin);
        objects.extend(plugins.map(|plugin| object(Kind::WasmPlugin, plugin)));
        let configs =
            route.plugins.iter().filter_map(|plugin| plugin.config_object.strip_prefix("RoutePolicy "));
        objects.extend(configs.map(|policy| object(Kind::RoutePolicy, policy)));
    }
    let services = explanation.services.iter().map(|view| object(Kind::Service, &view.service));
    let secret = explanation.listener.secrets.iter().map(|secret| object(Kind::Secret, secret));
    let classes = explanation.ingresses.iter().filter_map(|view| view.class.as_deref());
    let classes = classes.map(|class| object(Kind::IngressClass, class));
    objects.extend(services.chain(secret).chain(classes));
    problems.views_where(|problem| problem.object.kind == Kind::File || objects.contains(&problem.object))
}
