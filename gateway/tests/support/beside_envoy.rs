//! The same plugins and requests in Envoy and in the gateway, and the differences.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::envoy::Envoy;
use crate::envoy_config::{self, Cluster, Plugin, Setup};
use crate::missing::skipped;
use crate::plugins::{self, PROTOCOLS, Protocol, Sent, module, wasm_plugin};
use crate::support::fixtures::service;
use crate::support::{Message, Origin, Refusing, Then, ok, single_route};

/// Name of the upstream that plugins call. Envoy and the gateway both know it.
pub(crate) const CHECK: &str = "outbound|80||check.default.svc.cluster.local";

/// A chain of plugins, and requests to it.
pub(crate) struct Case {
    name: &'static str,
    /// Module and configuration of each.
    plugins: Vec<(PathBuf, String)>,
    /// Whether headers callbacks that stop hold the head only.
    holds_head: bool,
    /// Whether the upstream of callouts refuses connections.
    is_check_down: bool,
    requests: Vec<Sent>,
    /// Parts of the outcome in which the hosts differ on purpose, with the reason.
    differs: &'static [(Part, &'static str)],
}

/// A part of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Status,
    Fields,
    Body,
    Trailers,
    Endpoint,
    Check,
}

const PARTS: [Part; 6] =
    [Part::Status, Part::Fields, Part::Body, Part::Trailers, Part::Endpoint, Part::Check];

impl Case {
    pub(crate) fn new(name: &'static str, guest: &str, config: &str, requests: Vec<Sent>) -> Self {
        let path = module(guest, "plugins beside Envoy").expect("the caller checks for the compiler");
        Self::with(name, vec![(path, config.to_owned())], requests)
    }

    pub(crate) fn with(name: &'static str, plugins: Vec<(PathBuf, String)>, requests: Vec<Sent>) -> Self {
        Self { name, plugins, holds_head: false, is_check_down: false, requests, differs: &[] }
    }

    pub(crate) fn holds_head(self) -> Self {
        Self { holds_head: true, ..self }
    }

    pub(crate) fn check_down(self) -> Self {
        Self { is_check_down: true, ..self }
    }

    pub(crate) fn differs(self, differs: &'static [(Part, &'static str)]) -> Self {
        Self { differs, ..self }
    }
}

/// What a host made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// `None`: the stream was reset.
    status: Option<u16>,
    fields: Vec<String>,
    body: String,
    trailers: Vec<String>,
    /// What the endpoint received.
    endpoint: Vec<String>,
    /// What the upstream of callouts received.
    check: Vec<String>,
}

impl Outcome {
    fn part(&self, part: Part) -> String {
        match part {
            Part::Status => format!("{:?}", self.status),
            Part::Fields => self.fields.join("\n"),
            Part::Body => self.body.clone(),
            Part::Trailers => self.trailers.join("\n"),
            Part::Endpoint => self.endpoint.join("\n"),
            Part::Check => self.check.join("\n"),
        }
    }
}

/// Returns the fields that plugins and endpoints of these tests write, by name. Hosts add further ones of their own.
fn own_fields(fields: &[(String, String)]) -> Vec<String> {
    let hosts = ["x-forwarded-", "x-envoy-", "x-request-id", "x-real-ip"];
    let is_own = |name: &str| {
        (name.starts_with("x-") && !hosts.iter().any(|host| name.starts_with(host)))
            || ["www-authenticate", "content-type"].contains(&name)
    };
    let mut own: Vec<_> = fields.iter().filter(|(name, _)| is_own(name)).collect();
    own.sort_by(|(a, _), (b, _)| a.cmp(b));
    own.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

/// Returns a body, or the length and the letter of one that repeats it.
fn shown(body: &[u8]) -> String {
    match body.first() {
        Some(first) if body.len() > 100 && body.iter().all(|byte| byte == first) => {
            format!("{} bytes of {:?}", body.len(), char::from(*first))
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    }
}

fn received(message: &Message) -> String {
    let Message { line, fields, body, trailers, .. } = message;
    let (fields, trailers) = (own_fields(fields), own_fields(trailers));
    format!("{line} {fields:?} {} {trailers:?}", shown(body))
}

/// An endpoint whose response depends on the path.
fn endpoint() -> Origin {
    Origin::start(|call| {
        call.read_body()?;
        let path = call.request.target().split('?').next().unwrap();
        let response = match path.split_once("/size/") {
            Some((_, size)) => ok(&"a".repeat(size.parse().unwrap())),
            None => match path {
                "/fields" => "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nX-Gone: 2\r\nX-Multi: a\r\nX-Multi: b\r\n\
                              Content-Length: 2\r\n\r\nok"
                    .to_owned(),
                "/trailers" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n\
                                X-Sum: 1\r\nX-Gone: 2\r\n\r\n"
                        .to_owned()
                }
                "/empty" => ok(""),
                "/secret" => ok("a secret"),
                _ => ok(&String::from_utf8_lossy(&call.request.body)),
            },
        };
        std::io::Write::write_all(&mut call.wire.stream, response.as_bytes()).map(|()| Then::Keep)
    })
}

/// An upstream of callouts. It decides by the path that the plugin reports.
fn check() -> Origin {
    Origin::start(|call| {
        let (status, user) = match call.request.field("x-original-path") {
            Some("/denied") => ("403 Forbidden", "none"),
            Some("/odd") => ("500 Internal Server Error", "none"),
            _ => ("200 OK", "alice"),
        };
        let response = format!("HTTP/1.1 {status}\r\nX-User: {user}\r\nContent-Length: 6\r\n\r\nanswer");
        call.respond(response).map(|()| Then::Keep)
    })
}

/// Servers beside a host.
struct Site {
    endpoint: Origin,
    check: Origin,
    refusing: Refusing,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { endpoint: endpoint(), check: check(), refusing: Refusing::new() }
    }

    fn check_address(&self, case: &Case) -> SocketAddr {
        if case.is_check_down { self.refusing.address } else { self.check.address }
    }

    /// Sends the requests of a case one by one.
    fn outcomes(&self, case: &Case, host: SocketAddr) -> Vec<(Protocol, Outcome)> {
        let sent = PROTOCOLS
            .into_iter()
            .flat_map(|protocol| case.requests.iter().map(move |request| (protocol, request)));
        sent.map(|(protocol, request)| (protocol, self.outcome(request, host, protocol))).collect()
    }

    fn outcome(&self, request: &Sent, host: SocketAddr, protocol: Protocol) -> Outcome {
        let (seen, checked) = (self.endpoint.count(), self.check.count());
        let response = request.try_send(host, protocol);
        let endpoint = self.endpoint.requests_from(seen).iter().map(received).collect();
        let check = self.check.requests_from(checked).iter().map(received).collect();
        match response {
            Ok(response) => Outcome {
                status: Some(response.status),
                fields: own_fields(&response.fields),
                body: shown(&response.body),
                trailers: own_fields(&response.trailers),
                endpoint,
                check,
            },
            Err(_) => Outcome {
                status: None,
                fields: Vec::new(),
                body: String::new(),
                trailers: Vec::new(),
                endpoint,
                check,
            },
        }
    }
}

fn in_envoy(program: &std::path::Path, case: &Case) -> Vec<(Protocol, Outcome)> {
    let site = Site::new();
    let plugin = |(module, config): &(PathBuf, String)| Plugin {
        module: module.clone(),
        config: config.clone(),
        holds_head: case.holds_head,
    };
    let cluster = Cluster { name: CHECK.to_owned(), endpoint: site.check_address(case), is_http2: false };
    let setup = Setup {
        port: 0,
        endpoint: site.endpoint.address,
        plugins: case.plugins.iter().map(plugin).collect(),
        clusters: vec![cluster],
    };
    let envoy = Envoy::start(program, &setup);
    site.outcomes(case, envoy.address)
}

fn in_gateway(case: &Case) -> Vec<(Protocol, Outcome)> {
    let site = Site::new();
    let mut yaml = single_route(&site.endpoint) + service("check").endpoints(&[site.check_address(case)]);
    for (number, (_, config)) in case.plugins.iter().enumerate() {
        let count = case.plugins.len();
        let plugin = wasm_plugin(&format!("plugin-{number}"), &format!("{number}.wasm"));
        let holds_head = case.holds_head;
        yaml += plugin.config(config).spec(&format!(
            "priority: {}\nallowOnHeadersStopIteration: {holds_head}\nallowedUpstreams: ['check:80']\n\
             limits: {{callTimeout: 1s}}",
            count - number
        ));
    }
    let files: Vec<_> = (0..case.plugins.len()).map(|number| format!("{number}.wasm")).collect();
    let modules = files.iter().zip(&case.plugins);
    let modules: Vec<_> = modules.map(|(file, (module, _))| (file.as_str(), module.as_path())).collect();
    let gateway = plugins::start(&yaml, &modules);
    site.outcomes(case, gateway.gateway.http)
}

/// Runs the cases in both hosts, and collects the differences.
pub(crate) fn compare(cases: &[Case]) {
    let Some(program) = envoy_config::program() else {
        return skipped("plugins beside Envoy: not installed: envoy (conformance/test installs it)");
    };
    let mut differences = Vec::new();
    for case in cases {
        let (envoy, ours) = (in_envoy(&program, case), in_gateway(case));
        let pairs = envoy.iter().zip(&ours).enumerate();
        for (number, ((protocol, envoy), (_, ours))) in pairs {
            let is_known = |part: &Part| case.differs.iter().any(|(known, _)| known == part);
            for part in PARTS.into_iter().filter(|part| !is_known(part)) {
                let (envoy, ours) = (envoy.part(part), ours.part(part));
                if envoy != ours {
                    let request = number % case.requests.len();
                    differences.push(format!(
                        "{}, request {request} over {protocol:?}, {part:?}:\n  Envoy   {envoy:?}\n  gateway {ours:?}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
