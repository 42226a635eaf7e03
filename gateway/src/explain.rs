//! Why a request goes where it goes: one request's way as plain values, from the listener to the endpoint.
//!
//! It asks what the data plane asks: the parser of requests, the normal forms of host and path, and the table,
//! whose own trace tells who else might have served. Not here: a matcher, and health of endpoints beyond what
//! their objects say.

use http1::{BodyLength, Head, Known};
use routing::object::{Ingress, Kind, Name};
use routing::table::Trace;
use routing::{Compiler, HostName, RoutingTable};

use crate::exchange;
use crate::exchange::refusal::Refusal;
use crate::reload::{ProblemView, Problems};

pub mod command;
pub mod outcome;
pub mod request;
mod services;
mod text;
pub mod view;

use outcome::Outcome;
use request::Asked;
use view::{Explanation, IngressView, ListenerView, RequestView};

/// What an explanation is made from: all of one moment.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Who holds the objects.
    pub compiler: &'a Compiler,
    /// What was compiled from them.
    pub table: &'a RoutingTable,
    /// What is wrong with them.
    pub problems: &'a Problems,
    /// The Service by which the outside reaches the gateway.
    pub status_service: Option<&'a Name>,
}

/// Follows a request.
pub fn explain(asked: &Asked, facts: Facts<'_>) -> Explanation {
    let head = asked.head();
    let (trace, answer) = match admit(head, facts.table) {
        Ok((trace, answer)) => (Some(trace), answer),
        Err(refusal) => (None, Outcome::refused(refusal)),
    };
    let ingresses = trace.as_ref().map(|trace| naming(trace, facts)).unwrap_or_default();
    let chosen = trace.as_ref().and_then(|trace| trace.chosen.as_ref());
    let backends = chosen.map(|route| route.backends.as_slice()).unwrap_or_default();
    Explanation {
        request: RequestView {
            method: asked.method().to_owned(),
            url: asked.url().to_owned(),
            host: head.ok().and_then(host_field).map(|host| String::from_utf8_lossy(host).into_owned()),
            target: asked.target().to_owned(),
        },
        listener: ListenerView {
            scheme: asked.scheme().as_str(),
            certificate: trace.as_ref().and_then(|trace| trace.tls_secret.clone()),
        },
        services: services::of_backends(backends, facts.compiler),
        outside: services::outside(facts.status_service, facts.compiler),
        problems: concerning(&ingresses, facts),
        ingresses,
        trace,
        answer,
    }
}

fn host_field(head: &Head) -> Option<&[u8]> {
    head.get(Known::Host)
}

/// Takes the steps of `exchange::serve` up to the table, in their order.
fn admit(head: Result<&Head, Refusal>, table: &RoutingTable) -> Result<(Trace, Outcome), Refusal> {
    let head = head?;
    let length = BodyLength::of_request(head).map_err(|_| Refusal::Framing)?;
    let (host, path) = exchange::destination(head)?;
    let answer = Outcome::of(table.find(&host, &path).map(AsRef::as_ref));
    Ok((table.trace(&host, &path), answer.for_body(length)))
}

/// The Ingresses that name one of the hosts that were asked, and the one that serves, sorted by name.
fn naming(trace: &Trace, facts: Facts<'_>) -> Vec<IngressView> {
    let asked = |ingress: &Ingress| {
        let chosen = trace.chosen.as_ref().is_some_and(|route| route.ingress == ingress.name.to_string());
        chosen
            || ingress.rules.iter().any(|rule| {
                let name = host_of_rule(rule.host.as_deref());
                name.is_some_and(|name| trace.hosts.iter().any(|candidate| candidate.host == name))
            })
    };
    let view = |ingress: &Ingress| {
        let (class, by) = match (&ingress.class, &ingress.class_annotation) {
            (Some(class), _) => (Some(class), "spec.ingressClassName"),
            (None, Some(class)) => (Some(class), "the annotation kubernetes.io/ingress.class"),
            (None, None) => (None, "nothing"),
        };
        IngressView {
            ingress: ingress.name.to_string(),
            class: class.map(ToString::to_string),
            by,
            served: facts.compiler.serves(&ingress.name),
        }
    };
    facts.compiler.ingresses().filter(|ingress| asked(ingress)).map(view).collect()
}

/// The host of a rule as the table prints it; nothing if it is none.
fn host_of_rule(host: Option<&str>) -> Option<String> {
    match host {
        None | Some("") => Some(HostName::Any.to_string()),
        Some(host) => HostName::parse(host).ok().map(|name| name.to_string()),
    }
}

/// The Problems of these Ingresses.
fn concerning(ingresses: &[IngressView], facts: Facts<'_>) -> Vec<ProblemView> {
    facts.problems.views_of(|problem| {
        problem.object.kind == Kind::Ingress
            && ingresses.iter().any(|view| view.ingress == problem.object.name.to_string())
    })
}
