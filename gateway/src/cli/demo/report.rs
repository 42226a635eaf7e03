//! What the demo prints: the table, which way each request went, what to try, and what changed.
//!
//! Not here: finding any of that out.

use std::io::{self, Write};
use std::path::Path;

use routing::table::{Route, RoutingTable};
use routing::{host, path};

use super::apps::Echo;
use super::client::{Client, Request, Response};
use crate::control::reload::ProblemView;
use crate::data::exchange;

/// One request as a line of the report.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    url: String,
    status: String,
    responder: String,
    route_text: String,
    /// Whether the one who answered is the one whom the table names.
    pub(super) verdict: Verdict,
}

/// Whether a request went the way that the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did.
    AsExpected,
    /// It did not, or nothing came back.
    Unexpected,
}

impl Visit {
    /// Compares what came back with what the table says.
    pub(super) fn new(
        table: &RoutingTable,
        url: String,
        request: &Request,
        response: anyhow::Result<Response>,
    ) -> Self {
        let route = route(table, request);
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                let (status, responder, route_text) =
                    ("-".to_owned(), "nobody".to_owned(), format!("{error:#}"));
                return Self { url, status, responder, route_text, verdict: Verdict::Unexpected };
            }
        };
        let status = response.status.to_string();
        if let Some(reason) = response.gateway_reason {
            let route_text =
                route.map_or_else(|| "no Ingress has this host and path".to_owned(), up_to_service);
            let verdict = if route.is_none() { Verdict::AsExpected } else { Verdict::Unexpected };
            return Self { url, status, responder: format!("gateway: {reason}"), route_text, verdict };
        }
        let answer = serde_json::from_slice::<Echo>(&response.body);
        let (Some(route), Ok(answer)) = (route, answer) else {
            let (responder, route_text) =
                ("somebody else".to_owned(), "not by this gateway's table".to_owned());
            return Self { url, status, responder, route_text, verdict: Verdict::Unexpected };
        };
        let verdict = if is_behind(route, &answer) { Verdict::AsExpected } else { Verdict::Unexpected };
        let route_text = format!("{} → {}", up_to_service(route), answer.endpoint);
        Self { url, status, responder: answer.pod, route_text, verdict }
    }
}

/// What the table says about a request.
fn route<'a>(table: &'a RoutingTable, request: &Request) -> Option<&'a Route> {
    let host = host::normalise(request.host.as_bytes())?;
    let path = path::canonical(request.path.as_bytes()).ok()?;
    exchange::find_route(table, &host, &path).ok().map(AsRef::as_ref)
}

fn up_to_service(route: &Route) -> String {
    let ingress = &route.origin.ingress.name;
    match route.backends.first() {
        Some(first) => {
            format!("Ingress {ingress} → Service {}:{}", first.backend.service, first.backend.port)
        }
        None => format!("Ingress {ingress} → no Service"),
    }
}

/// Whether the one who answered is an endpoint of a Service that the Route names.
fn is_behind(route: &Route, answer: &Echo) -> bool {
    route.backends.iter().any(|weighted| {
        let endpoints = weighted.backend.endpoints.load();
        *weighted.backend.service.name == *answer.service
            && endpoints.ready().iter().any(|endpoint| endpoint.address == answer.endpoint)
    })
}

/// Prints the table, indented.
pub(super) fn table(out: &mut impl Write, table: &RoutingTable) -> io::Result<()> {
    writeln!(out, "\nRouting table ({} hosts):\n", table.len())?;
    for line in table.to_string().lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// Prints requests in columns, and whether all went the way that the table says.
pub(super) fn visits(out: &mut impl Write, visits: &[Visit]) -> io::Result<()> {
    let width =
        |of: fn(&Visit) -> &str| visits.iter().map(|visit| of(visit).chars().count()).max().unwrap_or(0);
    let (url, responder) = (width(|visit| &visit.url), width(|visit| &visit.responder));
    writeln!(out, "\nRequests through the gateway:\n")?;
    writeln!(out, "  {:url$}  {:6}  {:responder$}  WAY", "URL", "STATUS", "ANSWERED BY")?;
    for visit in visits {
        let mark = if visit.verdict == Verdict::AsExpected { ' ' } else { '!' };
        let Visit { status, route_text, .. } = visit;
        writeln!(out, "{mark} {:url$}  {status:6}  {:responder$}  {route_text}", visit.url, visit.responder)?;
    }
    let expected = visits.iter().filter(|visit| visit.verdict == Verdict::AsExpected).count();
    writeln!(out, "\n{expected} of {} requests went the route_text that the table says.", visits.len())
}

/// Prints what one can do now.
pub(super) fn next_steps(
    out: &mut impl Write,
    client: &Client,
    admin: std::net::SocketAddr,
    folder: &Path,
) -> io::Result<()> {
    let (http, https) = (client.http, client.https);
    let authority = shell_quoted(&folder.join("ca.crt"));
    writeln!(out, "\nTry it from another terminal:\n")?;
    for (host, path) in [
        ("app1.example.com", "/api/products"),
        ("app2.example.com", "/api/products"),
        ("shop.example.com", "/catalog/boots"),
    ] {
        writeln!(out, "  curl -H 'Host: {host}' http://{http}{path}")?;
    }
    for host in ["app1.example.com", "app2.example.com"] {
        let (port, address) = (https.port(), https.ip());
        let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        writeln!(
            out,
            "  curl --cacert {authority} --resolve {host}:{port}:{address} https://{host}:{port}/api/products"
        )?;
    }
    writeln!(out, "\nAdmin pages:\n")?;
    for page in ["routes", "problems", "metrics", "readyz"] {
        writeln!(out, "  http://{admin}/{page}")?;
    }
    writeln!(out, "\nYAML, watched; an edit there shows at once (app1.yaml says what to try):\n")?;
    writeln!(out, "  {}", folder.display())?;
    writeln!(out, "\nServing http://{http} and https://{https} until Ctrl-C.")
}

/// A path as a shell reads it.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Prints Problems of the first table, if there are any: there should not be.
pub(super) fn problems(out: &mut impl Write, problems: &[ProblemView]) -> io::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nProblems:\n")?;
    problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
}

/// Prints which table is live.
pub(super) fn generation(
    out: &mut impl Write,
    number: u64,
    hosts: usize,
    problems: &[ProblemView],
) -> io::Result<()> {
    match problems.len() {
        0 => writeln!(out, "Generation {number} is live: {hosts} hosts, no Problems."),
        1 => writeln!(out, "Generation {number} is live: {hosts} hosts, 1 Problem:"),
        many => writeln!(out, "Generation {number} is live: {hosts} hosts, {many} Problems:"),
    }?;
    problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::shell_quoted;

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        assert_eq!(shell_quoted(Path::new("/tmp/gateway-demo-1-0/ca.crt")), "/tmp/gateway-demo-1-0/ca.crt");
        assert_eq!(shell_quoted(Path::new("/my files/it's")), r"'/my files/it'\''s'");
    }
}
