//! An explanation as text for people: one step of the way a paragraph.
//!
//! Not here: anything that the values do not say.

use std::fmt::{self, Display, Formatter};

use routing::table::{DefaultVerdict, HostVerdict, RouteView, Trace, Verdict};

use super::view::{EndpointView, Explanation, OutsideView, PortView, ServiceView};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.request.method, self.request.url)?;
        writeln!(f, "answer    {}", self.answer)?;
        let certificate = match (self.listener.scheme, &self.listener.certificate) {
            ("https", Some(secret)) => format!(", certificate of Secret {secret}"),
            ("https", None) => ", the default certificate".to_owned(),
            _ => String::new(),
        };
        writeln!(f, "listener  {}{certificate}", self.listener.scheme)?;
        self.write_classes(f)?;
        if let Some(trace) = &self.trace {
            write_trace(trace, f)?;
        }
        for service in &self.services {
            write_service(service, f)?;
        }
        write_outside(&self.outside, f)?;
        for problem in &self.problems {
            writeln!(f, "problem   {problem}")?;
        }
        Ok(())
    }
}

impl Explanation {
    fn write_classes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.ingresses.is_empty() && self.trace.is_some() {
            writeln!(f, "class     no Ingress names this host")?;
        }
        for view in &self.ingresses {
            let served = if view.served { "served" } else { "not served by this gateway" };
            match &view.class {
                Some(class) => {
                    writeln!(f, "class     {class} by {} of Ingress {}: {served}", view.by, view.ingress)?;
                }
                None => writeln!(f, "class     none in Ingress {}: {served}", view.ingress)?,
            }
        }
        Ok(())
    }
}

fn write_trace(trace: &Trace, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(owner) = &trace.owner {
        let namespaces = owner.namespaces.join(", ");
        writeln!(
            f,
            "owner     {}: namespaces [{namespaces}], says IngressClassConfig {}",
            owner.host, owner.config
        )?;
    }
    for candidate in &trace.hosts {
        let verdict = match candidate.verdict {
            HostVerdict::Chosen => "chosen",
            HostVerdict::Hidden => "not asked: the chosen host answers for all of its paths",
            HostVerdict::KeptOut => "not asked: this host is owned, so that only rules that name it serve it",
            HostVerdict::NotNamed => "no rule names it",
        };
        writeln!(f, "host      {}: {verdict}", candidate.host)?;
    }
    writeln!(f, "path      {}", trace.path)?;
    for candidate in &trace.routes {
        let verdict = match candidate.verdict {
            Verdict::Chosen => "chosen",
            Verdict::LostToExact => "lost: matches, but an Exact path goes first",
            Verdict::LostToLonger => "lost: matches, but the longest path goes first",
            Verdict::NoMatch => "does not match",
        };
        writeln!(f, "  {}: {verdict}", rule(&candidate.route))?;
    }
    for candidate in &trace.defaults {
        let verdict = match candidate.verdict {
            DefaultVerdict::Chosen => "chosen",
            DefaultVerdict::KeptOut => "not asked: this host belongs to other namespaces",
            DefaultVerdict::LostToEarlier => "lost: an earlier one serves",
            DefaultVerdict::NotNeeded => "not needed: a rule serves",
        };
        let (route, because) = (&candidate.route, candidate.because);
        writeln!(f, "default   {} {} ({because}): {verdict}", route.ingress, route.field)?;
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

fn rule(route: &RouteView) -> String {
    format!("{} {} of {} {}", route.kind, route.path, route.ingress, route.field)
}

fn write_service(view: &ServiceView, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "service   {}:{}", view.service, view.port)?;
    match &view.kind {
        Some(kind) => writeln!(f, ", type {kind}, ports {}", ports(&view.ports))?,
        None => writeln!(f, ": there is no such Service")?,
    }
    if let Some(fixed) = &view.fixed_endpoints {
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
    let dialled = if view.dialled.is_empty() { "nobody".to_owned() } else { view.dialled.join(", ") };
    writeln!(f, "  dialled: {dialled}")
}

fn endpoint_line(endpoint: &EndpointView) -> String {
    let conditions =
        [(endpoint.ready, "ready"), (endpoint.serving, "serving"), (endpoint.terminating, "terminating")];
    let holding: Vec<_> = conditions.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect();
    let conditions = if holding.is_empty() { "not ready".to_owned() } else { holding.join(" ") };
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
    let port = |port: &PortView| {
        let number = port.port.map_or_else(|| "any".to_owned(), |number| number.to_string());
        if port.name.is_empty() { number } else { format!("{} {number}", port.name) }
    };
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

fn write_outside(view: &OutsideView, f: &mut Formatter<'_>) -> fmt::Result {
    let Some(service) = &view.service else {
        return writeln!(f, "outside   not known: no Service is named by --status-service NAMESPACE/NAME");
    };
    let Some(kind) = &view.kind else {
        return writeln!(f, "outside   Service {service}, which does not exist");
    };
    let addresses = match view.addresses.as_slice() {
        [] => "addresses not known".to_owned(),
        addresses => format!("addresses {}", addresses.join(", ")),
    };
    writeln!(f, "outside   Service {service}, type {kind}, {addresses}, ports {}", ports(&view.ports))
}
