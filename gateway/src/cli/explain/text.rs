//! An explanation as text: the result, the chosen rule, and where it leads; then the candidates that lost.
//!
//! Not here: facts that the values do not hold. Unknown values are left out.

use std::fmt::{self, Display, Formatter};

use routing::table::{
    DefaultVerdict, HostCandidate, HostKind, HostVerdict, MatchReport, PluginView, RouteVerdict, RouteView,
};

use super::view::{
    EjectedView, EndpointView, Explanation, ExposureView, IngressView, ListenerView, PortView, ServiceView,
};
use crate::cli::outcome::{BackendShare, Outcome};
use crate::cli::style::{Palette, paint};
use crate::control::plugin::{PluginState, PluginStatus};

/// Losers listed of each group. A host may have thousands of rules; JSON has them all.
const MAX_LISTED: usize = 20;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.styled(Palette::default()).fmt(f)
    }
}

impl Explanation {
    /// Returns the text for an output with these styles.
    pub fn styled(&self, palette: Palette) -> impl Display + '_ {
        fmt::from_fn(move |f| Text { explanation: self, palette }.write(f))
    }
}

/// An explanation and how it is rendered.
#[derive(Clone, Copy)]
struct Text<'a> {
    explanation: &'a Explanation,
    palette: Palette,
}

impl Text<'_> {
    fn write(self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { explanation, palette } = self;
        writeln!(f, "{} {}", explanation.request.method, explanation.request.url)?;
        let status = explanation.outcome.status.unwrap_or_default();
        self.field(f, "result", paint(palette.for_status(status), result(&explanation.outcome)))?;
        match &explanation.match_report {
            Some(report) => self.write_rule(report, f)?,
            None => self.field(f, "rule", "not looked for: the gateway rejects such a request before")?,
        }
        let chosen = explanation.match_report.iter().filter_map(|report| report.chosen.as_ref());
        for (service, backend) in explanation.services.iter().zip(chosen.flat_map(|route| &route.backends)) {
            let weight = (explanation.services.len() > 1).then_some(backend.weight);
            self.write_service(service, weight, f)?;
        }
        self.field(f, "listener", listener(&explanation.listener))?;
        self.write_exposure(&explanation.exposure, f)?;
        self.write_losers(f)?;
        self.write_problems(f)
    }

    /// Writes a fact with its name in front.
    fn field(self, f: &mut Formatter<'_>, name: &str, text: impl Display) -> fmt::Result {
        writeln!(f, "{} {text}", paint(self.palette.dim, format_args!("{name:<9}")))
    }

    // ===== the chosen rule =====

    fn write_rule(self, report: &MatchReport, f: &mut Formatter<'_>) -> fmt::Result {
        let bold = self.palette.strong;
        match &report.chosen {
            Some(route) => self.field(f, "rule", paint(bold, chosen(route, report)))?,
            None => {
                let text = format!("none: {}{}", missing(report), self.wildcard_note());
                self.field(f, "rule", paint(bold, text))?;
            }
        }
        let is_as_sent = self.explanation.request.target.split('?').next() == Some(&report.path);
        if !is_as_sent {
            self.field(f, "path", format_args!("{} in canonical form", report.path))?;
        }
        for reading in &self.explanation.readings {
            self.field(f, "reading", format_args!("{}: {}", reading.path, reading.outcome))?;
        }
        if let Some(keys) = report.chosen.as_ref().and_then(|route| route.annotations.as_ref()) {
            self.field(f, "made by", format_args!("annotation {keys} and the class handler"))?;
        }
        if let Some(owner) = &report.owner {
            let namespaces = owner.namespaces.join(", ");
            let config = &owner.config;
            let text =
                format!("{} belongs to namespaces [{namespaces}] by IngressClassConfig {config}", owner.host);
            self.field(f, "owner", text)?;
        }
        let ingress = report.chosen.as_ref().map(|route| route.ingress.as_str());
        let of_chosen = |view: &&IngressView| Some(view.ingress.as_str()) == ingress;
        if let Some(IngressView { class: Some(class), class_source, .. }) =
            self.explanation.ingresses.iter().find(of_chosen)
        {
            self.field(f, "class", format_args!("{class}, by {class_source}"))?;
        }
        for policy in report.chosen.iter().flat_map(|route| &route.policy) {
            let (field, value, source) = (policy.field, &policy.value, policy.source);
            let (name, target) = (&policy.policy, &policy.target);
            let text = match policy.annotations.as_deref() {
                None => {
                    format!("{field}: {value}, by RoutePolicy {name} {source}, whose {target} names this")
                }
                Some("") => format!("{field}: {value}, by the class handler"),
                Some(keys) => format!("{field}: {value}, by annotation {keys} and the class handler"),
            };
            self.field(f, "policy", text)?;
        }
        report.chosen.iter().try_for_each(|route| self.write_plugins(route, f))
    }

    /// Returns why wildcards that look alike do not cover the host.
    fn wildcard_note(self) -> String {
        let wildcards = &self.explanation.shorter_wildcards;
        if wildcards.is_empty() {
            return String::new();
        }
        format!("; a wildcard covers one label, so {} does not cover it", wildcards.join(" or "))
    }

    /// Writes the plugins of the chosen rule in the order of requests.
    fn write_plugins(self, route: &RouteView, f: &mut Formatter<'_>) -> fmt::Result {
        for PluginView { plugin, phase, config_object, config_field } in &route.plugins {
            let text = format!("{plugin}, phase {phase}, configuration by {config_object} {config_field}");
            match self.explanation.plugins.iter().find(|status| status.name == *plugin) {
                Some(status) => {
                    self.field(f, "plugin", format_args!("{text}, {}", self.plugin_state(status)))?
                }
                None => self.field(f, "plugin", text)?,
            }
        }
        if let Some(plugin) = &route.missing_plugin {
            let text = format!("{plugin} does not exist, or its spec is malformed: requests get a 503");
            self.field(f, "plugin", paint(self.palette.bad, text))?;
        }
        Ok(())
    }

    /// Returns the version that serves, the state of the newest version, and failures.
    fn plugin_state(self, status: &PluginStatus) -> String {
        let is_open = status.breaker == "open";
        let mut state = match status.version() {
            Some(version) => format!("version {version}, {}", status.state),
            None => format!("no version, {}", status.state),
        };
        if is_open {
            state += ", breaker open: the plugin is not called";
        }
        if status.counts.failed_requests > 0 {
            state += &format!(", {} failed requests", status.counts.failed_requests);
        }
        let style = match &status.state {
            PluginState::Ready if !is_open => self.palette.good,
            PluginState::Ready | PluginState::Refused(_) => self.palette.bad,
            PluginState::Pending | PluginState::Fetched | PluginState::Compiled | PluginState::Configured => {
                self.palette.warning
            }
        };
        paint(style, state).to_string()
    }

    // ===== candidates that lost =====

    fn write_losers(self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut groups = Groups::default();
        if let Some(report) = &self.explanation.match_report {
            groups.add_routes(report);
            groups.add_hosts(&report.hosts);
            groups.add_defaults(report);
        }
        groups.add_ingresses(&self.explanation.ingresses);
        let count = groups.0.iter().map(|group| group.members.len()).sum::<usize>();
        if count == 0 {
            return Ok(());
        }
        writeln!(f, "\n{}", paint(self.palette.heading, format_args!("not chosen ({count})")))?;
        for Group { reason, members } in &groups.0 {
            writeln!(f, "{:>3}  {}", members.len(), paint(self.palette.warning, reason))?;
            for member in members.iter().take(MAX_LISTED) {
                writeln!(f, "       {}", paint(self.palette.dim, member))?;
            }
            if let Some(more) = members.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
                writeln!(f, "       and {more} more; --output json lists them")?;
            }
        }
        Ok(())
    }

    fn write_problems(self, f: &mut Formatter<'_>) -> fmt::Result {
        let problems = &self.explanation.problems;
        if problems.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{}", paint(self.palette.heading, format_args!("problems ({})", problems.len())))?;
        problems.iter().try_for_each(|problem| writeln!(f, "  {}", paint(self.palette.bad, problem)))
    }

    // ===== Services =====

    fn write_service(self, view: &ServiceView, weight: Option<u32>, f: &mut Formatter<'_>) -> fmt::Result {
        let weight = weight.map(|weight| format!(", weight {weight}")).unwrap_or_default();
        let service = format!("{}:{}{weight}", view.service, view.port);
        let Some(kind) = &view.kind else {
            let text = format_args!("{service} does not exist").to_string();
            return self.field(f, "service", paint(self.palette.bad, text));
        };
        self.field(f, "service", format_args!("{service}, type {kind}, ports {}", ports(&view.ports)))?;
        if let Some(name) = &view.external_name {
            let unresolved = ", which only a running gateway resolves (--admin ADDR)";
            let end = if view.ready_endpoints.is_empty() { unresolved } else { "" };
            self.detail(f, format_args!("name {name}{end}"))?;
        } else if let Some(fixed) = &view.fixed_endpoints {
            self.detail(f, format_args!("endpoints by annotation: {}", fixed.join(", ")))?;
        } else if view.slices.is_empty() {
            self.detail(f, "no EndpointSlice")?;
        }
        for slice in &view.slices {
            self.detail(f, format_args!("EndpointSlice {}, ports {}", slice.slice, ports(&slice.ports)))?;
            for endpoint in &slice.endpoints {
                self.detail(f, format_args!("  {}", endpoint_line(endpoint)))?;
            }
        }
        match (view.ready_endpoints.as_slice(), &view.external_name) {
            ([], Some(_)) => Ok(()),
            ([], None) => self.detail(f, paint(self.palette.bad, "sends to no endpoint: none is ready")),
            (endpoints, _) => self.detail(f, format_args!("sends to {}", endpoints.join(", "))),
        }?;
        for EjectedView { address, reason } in &view.ejected_endpoints {
            self.detail(f, paint(self.palette.bad, format_args!("ejected: {address}: {reason}")))?;
        }
        Ok(())
    }

    /// Writes a line below a fact.
    fn detail(self, f: &mut Formatter<'_>, text: impl Display) -> fmt::Result {
        writeln!(f, "            {text}")
    }

    // ===== how clients outside the cluster reach the gateway =====

    fn write_exposure(self, view: &ExposureView, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(service) = &view.service else { return Ok(()) };
        let Some(kind) = view.kind.as_deref() else {
            return self.field(f, "exposed", format_args!("Service {service} does not exist"));
        };
        self.field(
            f,
            "exposed",
            format_args!("by Service {service}, type {kind}, ports {}", ports(&view.ports)),
        )?;
        if kind == "LoadBalancer" || !view.load_balancer.is_empty() {
            match view.load_balancer.as_slice() {
                [] => {
                    self.detail(f, "load balancer: no address yet, status.loadBalancer.ingress is empty")?
                }
                addresses => self.detail(f, format_args!("load balancer: {}", addresses.join(", ")))?,
            }
        }
        if !view.external_ips.is_empty() {
            self.detail(f, format_args!("external IPs: {}", view.external_ips.join(", ")))?;
        }
        let node_ports: Vec<_> = view.ports.iter().filter(|port| port.node_port.is_some()).cloned().collect();
        if !node_ports.is_empty() {
            let number =
                |port: &PortView| port.node_port.map(|number| number.to_string()).unwrap_or_default();
            self.detail(f, format_args!("every node: ports {}", numbers(&node_ports, number)))?;
        }
        let only = if kind == "ClusterIP" && view.external_ips.is_empty() { " only" } else { "" };
        match view.cluster_ips.as_slice() {
            [] => self.detail(f, format_args!("inside the cluster{only}: no cluster IP")),
            addresses => self.detail(f, format_args!("inside the cluster{only}: {}", addresses.join(", "))),
        }
    }
}

// ===== texts =====

/// Returns the client's result: the Services that share the requests, or the gateway's local reply.
fn result(outcome: &Outcome) -> String {
    let share = |share: &BackendShare| {
        let weight = (outcome.backends.len() > 1).then(|| format!("weight {}", share.weight));
        let notes: Vec<_> = weight.into_iter().chain(share.reason.map(str::to_owned)).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        format!("Service {}{notes}", share.service)
    };
    match (outcome.status, outcome.reason) {
        (Some(status), Some(reason)) => {
            let target =
                outcome.location.as_ref().map(|location| format!(" to {location}")).unwrap_or_default();
            format!("{status} {reason}{target}, a local reply of the gateway")
        }
        (_, _) => {
            format!("forwarded to {}", outcome.backends.iter().map(share).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns the chosen rule, and the host under which it was found.
fn chosen(route: &RouteView, report: &MatchReport) -> String {
    let default = report.defaults.iter().find(|candidate| candidate.verdict == DefaultVerdict::Chosen);
    if let Some(default) = default {
        return default_backend(route, default.because);
    }
    let host = report.hosts.iter().find(|candidate| candidate.verdict == HostVerdict::Chosen);
    let host = host.map(|host| format!(" on host {}", host.host)).unwrap_or_default();
    format!("{}{host}", rule(route))
}

/// Returns the path of a rule, and where it is written.
fn rule(route: &RouteView) -> String {
    let conditions = route.conditions.as_ref().map(|conditions| format!(" [{conditions}]"));
    let conditions = conditions.unwrap_or_default();
    format!("{} {}{conditions} of Ingress {} {}", route.kind, route.path, route.ingress, route.field)
}

/// Returns the object that has a default backend, and why that one is considered.
fn default_backend(route: &RouteView, because: &str) -> String {
    let kind = if route.field.starts_with("spec.parameters") { "IngressClass" } else { "Ingress" };
    format!("default backend of {kind} {} {} ({because})", route.ingress, route.field)
}

/// Returns why no rule was found.
fn missing(report: &MatchReport) -> String {
    let names = |verdict, kinds: &[HostKind]| {
        let is_one = |host: &&HostCandidate| host.verdict == verdict && kinds.contains(&host.kind);
        report.hosts.iter().filter(is_one).map(|host| host.host.as_str()).collect::<Vec<_>>()
    };
    let all = [HostKind::Exact, HostKind::Wildcard, HostKind::HostLess];
    match names(HostVerdict::Chosen, &all).first() {
        Some(host) => {
            format!("host {host} has rules, but none for this path, and no default backend may serve it")
        }
        None => match names(HostVerdict::NotNamed, &[HostKind::Exact, HostKind::Wildcard]).as_slice() {
            [] => "no rule may serve this host, and no default backend".to_owned(),
            hosts => {
                format!("no rule names host {}, and no default backend may serve it", hosts.join(" or "))
            }
        },
    }
}

/// Returns the listener and the certificate that it shows.
fn listener(view: &ListenerView) -> String {
    if view.scheme != "https" {
        return view.scheme.to_owned();
    }
    let shown = &view.certificate;
    let passed_over: Vec<_> =
        view.secrets.iter().take_while(|secret| Some(*secret) != shown.as_ref()).collect();
    let names =
        |secrets: &[&String]| secrets.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" and ");
    let unusable = match passed_over.as_slice() {
        [] => String::new(),
        secrets => format!(": that of Secret {} cannot be used now, or is for other hosts", names(secrets)),
    };
    let certificate = match shown {
        Some(shown) if view.secrets.contains(shown) => format!("certificate of Secret {shown}{unusable}"),
        Some(shown) if unusable.is_empty() => {
            format!("certificate of Secret {shown}, the default of the class")
        }
        Some(shown) => format!("the default certificate of Secret {shown}{unusable}"),
        None if unusable.is_empty() => "the default certificate: no spec.tls names this host".to_owned(),
        None => format!("the default certificate{unusable}"),
    };
    format!("{}, {certificate}", view.scheme)
}

// ===== groups of losers =====

/// The losers by reason, in the order of the reasons' first appearance.
#[derive(Default)]
struct Groups(Vec<Group>);

/// Losers with the same reason.
struct Group {
    reason: String,
    members: Vec<String>,
}

impl Groups {
    fn add(&mut self, reason: &str, member: String) {
        match self.0.iter_mut().find(|group| group.reason == reason) {
            Some(group) => group.members.push(member),
            None => self.0.push(Group { reason: reason.to_owned(), members: vec![member] }),
        }
    }

    /// Adds rules of the chosen host: first those that match the path.
    fn add_routes(&mut self, report: &MatchReport) {
        // The rule that holds a path comes before those that lost it.
        let mut holder = "before";
        let mut mismatches = Vec::new();
        for candidate in &report.routes {
            let route = &candidate.route;
            match candidate.verdict {
                RouteVerdict::Chosen => {}
                RouteVerdict::LostToExact => self.add("matches, but an Exact path wins", rule(route)),
                RouteVerdict::LostToLonger => self.add("matches, but the longest path wins", rule(route)),
                RouteVerdict::LostToPrefix => {
                    self.add("matches, but a Prefix path precedes regular expressions", rule(route));
                }
                RouteVerdict::LostToConditions => {
                    self.add("matches, but a rule for this path with more conditions wins", rule(route));
                }
                RouteVerdict::ConditionsNotMet => {
                    self.add("the path matches, but not its other conditions", rule(route));
                }
                RouteVerdict::LostToOlder => {
                    let reason = format!("same path as Ingress {holder}, which is older or first by name");
                    self.add(&reason, rule(route));
                }
                RouteVerdict::HostNotOwned => self.add(NOT_OWNED, rule(route)),
                RouteVerdict::NoMatch => mismatches.push(rule(route)),
            }
            if candidate.verdict != RouteVerdict::LostToOlder {
                holder = &route.ingress;
            }
        }
        for rule in mismatches {
            self.add("the path does not match", rule);
        }
    }

    fn add_hosts(&mut self, hosts: &[HostCandidate]) {
        for candidate in hosts {
            let reason = match (candidate.verdict, candidate.kind) {
                (HostVerdict::Chosen | HostVerdict::NotNamed, _) => continue,
                (HostVerdict::Hidden, HostKind::HostLess) => {
                    "rules without a host never serve a host that is named"
                }
                (HostVerdict::Hidden, HostKind::Exact | HostKind::Wildcard) => {
                    "the chosen host serves all of its paths"
                }
                (HostVerdict::HostNotOwned, _) => NOT_OWNED,
            };
            let rules = match candidate.kind {
                HostKind::Exact | HostKind::Wildcard => format!("all rules of host {}", candidate.host),
                HostKind::HostLess => "all rules without a host".to_owned(),
            };
            self.add(reason, rules);
        }
    }

    fn add_defaults(&mut self, report: &MatchReport) {
        for candidate in &report.defaults {
            let reason = match candidate.verdict {
                DefaultVerdict::Chosen => continue,
                DefaultVerdict::HostNotOwned => NOT_OWNED,
                DefaultVerdict::HostNamedElsewhere => NAMED_ELSEWHERE,
                DefaultVerdict::LostToEarlier => "an earlier default backend serves",
                DefaultVerdict::NotNeeded => "a default backend serves only if no rule matches",
            };
            self.add(reason, default_backend(&candidate.route, candidate.because));
        }
    }

    fn add_ingresses(&mut self, ingresses: &[IngressView]) {
        for view in ingresses {
            let Some(rejection) = &view.rejection else { continue };
            self.add(&format!("not served: {rejection}"), format!("all rules of Ingress {}", view.ingress));
        }
    }
}

/// Why a candidate of another namespace loses.
const NOT_OWNED: &str = "this host belongs to other namespaces";

/// Why the default backend of another namespace loses.
const NAMED_ELSEWHERE: &str = "rules of other namespaces name this host";

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
    let used = endpoint.unused_because.map(|reason| format!(", not used: {reason}")).unwrap_or_default();
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
