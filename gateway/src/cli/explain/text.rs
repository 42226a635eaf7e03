//! An explanation as text for people: one step of the way a paragraph.
//!
//! Not here: anything that the values do not say.

use std::fmt::{self, Display, Formatter};

use routing::table::{
    DefaultVerdict, HostCandidate, HostKind, HostVerdict, MatchReport, RouteCandidate, RouteVerdict,
};

use super::view::{
    EndpointView, Explanation, ExposureView, IngressView, ListenerView, PortView, ServiceView,
};

/// How many rules that do not match are listed; a host may have thousands, and JSON has them all.
const MAX_LISTED_MISMATCHES: usize = 20;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.request.method, self.request.url)?;
        writeln!(f, "answer    {}", self.outcome)?;
        write_listener(&self.listener, f)?;
        if self.ingresses.is_empty() && self.trace.is_some() {
            writeln!(f, "class     no Ingress names this host")?;
        }
        self.ingresses.iter().try_for_each(|view| write_class(view, f))?;
        match &self.trace {
            Some(trace) => write_trace(trace, f)?,
            None => writeln!(f, "host      not asked: such a request is refused before any rule")?,
        }
        self.services.iter().try_for_each(|service| write_service(service, f))?;
        write_exposure(&self.exposure, f)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "problem   {problem}"))
    }
}

fn write_listener(view: &ListenerView, f: &mut Formatter<'_>) -> fmt::Result {
    let certificate = match (view.scheme, &view.secret, &view.certificate) {
        ("https", None, Some(shown)) => format!(", certificate of Secret {shown}, the default of the class"),
        ("https", Some(secret), Some(shown)) if shown == secret => {
            format!(", certificate of Secret {secret}")
        }
        ("https", Some(secret), shown) => {
            let of = shown.as_ref().map(|shown| format!(" of Secret {shown}")).unwrap_or_default();
            format!(
                ", the default certificate{of}: that of Secret {secret} cannot be used or is for other hosts"
            )
        }
        ("https", None, None) => ", the default certificate: no spec.tls names this host".to_owned(),
        _ => String::new(),
    };
    writeln!(f, "listener  {}{certificate}", view.scheme)
}

fn write_class(view: &IngressView, f: &mut Formatter<'_>) -> fmt::Result {
    let served = match &view.rejection {
        Some(rejection) => format!("not served here: {rejection}"),
        None => "served".to_owned(),
    };
    match &view.class {
        Some(class) => {
            writeln!(f, "class     {class} by {} of Ingress {}: {served}", view.class_source, view.ingress)
        }
        None => writeln!(f, "class     none in Ingress {}: {served}", view.ingress),
    }
}

// ===== the table =====

fn write_trace(trace: &MatchReport, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(owner) = &trace.owner {
        let namespaces = owner.namespaces.join(", ");
        writeln!(
            f,
            "owner     {}: namespaces [{namespaces}], says IngressClassConfig {}",
            owner.host, owner.config
        )?;
    }
    for candidate in &trace.hosts {
        writeln!(f, "host      {}: {}", candidate.host, host_verdict(candidate))?;
    }
    writeln!(f, "path      {}", trace.path)?;
    write_routes(&trace.routes, f)?;
    for candidate in &trace.defaults {
        let verdict = match candidate.verdict {
            DefaultVerdict::Chosen => "chosen",
            DefaultVerdict::HostNotOwned => "not asked: this host belongs to other namespaces",
            DefaultVerdict::LostToEarlier => "lost: an earlier one serves",
            DefaultVerdict::NotNeeded => "not needed: a rule serves",
        };
        let (route, because) = (&candidate.route, candidate.because);
        writeln!(f, "default   {} {} ({because}): {verdict}", route.ingress, route.field)?;
    }
    if trace.chosen.is_none() && trace.defaults.is_empty() {
        writeln!(f, "default   none: no Ingress and no class has a default backend")?;
    }
    for field in trace.chosen.iter().flat_map(|route| &route.policy) {
        writeln!(
            f,
            "policy    {}: {}, by RoutePolicy {} {}, whose {} names this",
            field.field, field.value, field.policy, field.source, field.target
        )?;
    }
    Ok(())
}

fn host_verdict(candidate: &HostCandidate) -> &'static str {
    match (candidate.verdict, candidate.kind) {
        (HostVerdict::Chosen, _) => "chosen",
        (HostVerdict::Hidden, HostKind::HostLess) => {
            "not asked: rules without a host never serve a host that is named"
        }
        (HostVerdict::Hidden, _) => "not asked: the chosen host answers for all of its paths",
        (HostVerdict::HostNotOwned, _) => "not asked: this host belongs to other namespaces than these rules",
        (HostVerdict::NotNamed, HostKind::HostLess) => "there is no rule without a host",
        (HostVerdict::NotNamed, _) => "no rule names it",
    }
}

fn write_routes(candidates: &[RouteCandidate], f: &mut Formatter<'_>) -> fmt::Result {
    let mut misses: usize = 0;
    // Who holds a path stands before those who lost it.
    let mut holder = None;
    for candidate in candidates {
        let RouteCandidate { route, verdict } = candidate;
        let verdict = match (verdict, holder) {
            (RouteVerdict::Chosen, _) => "chosen".to_owned(),
            (RouteVerdict::LostToExact, _) => "lost: matches, but an Exact path goes first".to_owned(),
            (RouteVerdict::LostToLonger, _) => "lost: matches, but the longest path goes first".to_owned(),
            (RouteVerdict::LostToOlder, Some(holder)) => {
                format!("lost: {holder} has the same path and goes first")
            }
            (RouteVerdict::LostToOlder, None) => {
                "lost: another one has the same path and goes first".to_owned()
            }
            (RouteVerdict::HostNotOwned, _) => "not asked: this host belongs to other namespaces".to_owned(),
            (RouteVerdict::NoMatch, _) => "does not match".to_owned(),
        };
        if candidate.verdict == RouteVerdict::NoMatch {
            misses += 1;
            if misses > MAX_LISTED_MISMATCHES {
                continue;
            }
        }
        writeln!(f, "  {} {} of {} {}: {verdict}", route.kind, route.path, route.ingress, route.field)?;
        if candidate.verdict != RouteVerdict::LostToOlder {
            holder = Some(&route.ingress);
        }
    }
    match misses.saturating_sub(MAX_LISTED_MISMATCHES) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more that do not match; --output json lists them"),
    }
}

// ===== Services =====

fn write_service(view: &ServiceView, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "service   {}:{}", view.service, view.port)?;
    match &view.kind {
        Some(kind) => writeln!(f, ", type {kind}, ports {}", ports(&view.ports))?,
        None => writeln!(f, ": there is no such Service")?,
    }
    if let Some(name) = &view.external_name {
        let unknown = "; its addresses are not known here: only a running gateway asks for them (--admin)";
        writeln!(f, "  stands for {name}{}", if view.ready_endpoints.is_empty() { unknown } else { "" })?;
    } else if let Some(fixed) = &view.fixed_endpoints {
        writeln!(f, "  endpoints by annotation: {}", fixed.join(", "))?;
    } else if view.slices.is_empty() {
        writeln!(f, "  no EndpointSlice")?;
    }
    for slice in &view.slices {
        writeln!(f, "  EndpointSlice {}, ports {}", slice.slice, ports(&slice.ports))?;
        for endpoint in &slice.endpoints {
            writeln!(f, "    {}", endpoint_line(endpoint))?;
        }
    }
    let ready_endpoints =
        if view.ready_endpoints.is_empty() { "nobody".to_owned() } else { view.ready_endpoints.join(", ") };
    writeln!(f, "  dialled: {ready_endpoints}")
}

fn endpoint_line(endpoint: &EndpointView) -> String {
    let conditions =
        [(endpoint.ready, "ready"), (endpoint.serving, "serving"), (endpoint.terminating, "terminating")];
    let conditions_met: Vec<_> =
        conditions.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect();
    let conditions =
        if conditions_met.is_empty() { "not ready".to_owned() } else { conditions_met.join(" ") };
    let pod = endpoint.pod.as_ref().map(|pod| format!(", Pod {pod}")).unwrap_or_default();
    let zones = if endpoint.zones.is_empty() {
        String::new()
    } else {
        format!(", for zones {}", endpoint.zones.join(" "))
    };
    let used = if endpoint.used { "" } else { ", not used" };
    format!("{}: {conditions}{pod}{zones}{used}", endpoint.address.as_deref().unwrap_or("no address"))
}

fn ports(ports: &[PortView]) -> String {
    numbers(ports, |port| port.port.map_or_else(|| "any".to_owned(), |number| number.to_string()))
}

/// Names and numbers of ports: `http 80, https 443`.
fn numbers(ports: &[PortView], number: impl Fn(&PortView) -> String) -> String {
    let port = |port: &PortView| {
        let space = if port.name.is_empty() { "" } else { " " };
        format!("{}{space}{}", port.name, number(port))
    };
    match ports {
        [] => "none".to_owned(),
        ports => ports.iter().map(port).collect::<Vec<_>>().join(", "),
    }
}

// ===== the exposure =====

fn write_exposure(view: &ExposureView, f: &mut Formatter<'_>) -> fmt::Result {
    let Some(service) = &view.service else {
        return writeln!(f, "outside   not known: no Service is named by --status-service NAMESPACE/NAME");
    };
    let Some(kind) = view.kind.as_deref() else {
        return writeln!(f, "outside   not known: there is no Service {service}");
    };
    writeln!(f, "outside   Service {service}, type {kind}, ports {}", ports(&view.ports))?;
    if kind == "LoadBalancer" || !view.load_balancer.is_empty() {
        match view.load_balancer.as_slice() {
            [] => writeln!(f, "  load balancer: no address yet, status.loadBalancer.ingress is empty")?,
            some => writeln!(f, "  load balancer: {}", some.join(", "))?,
        }
    }
    if !view.external_ips.is_empty() {
        writeln!(f, "  external IPs: {}", view.external_ips.join(", "))?;
    }
    let node_ports: Vec<_> = view.ports.iter().filter(|port| port.node_port.is_some()).cloned().collect();
    if !node_ports.is_empty() {
        let number = |port: &PortView| port.node_port.map(|number| number.to_string()).unwrap_or_default();
        writeln!(f, "  every node: ports {}", numbers(&node_ports, number))?;
    }
    let only = if kind == "ClusterIP" && view.external_ips.is_empty() { " only" } else { "" };
    match view.cluster_ips.as_slice() {
        [] => writeln!(f, "  inside the cluster{only}: no cluster IP"),
        some => writeln!(f, "  inside the cluster{only}: {}", some.join(", ")),
    }
}
