//! Paths of ingress-nginx: a real nginx, configured by hand as ingress-nginx would, and the table of the routes that
//! class-nginx emits give the same answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use routing::handler::{HandlerAnswer, HandlerOutcome};
use routing::object::{Change, Ingress, IngressClass, IngressClassConfig, Name, Object, ParametersRef};
use routing::{Compiler, Config, RoutingTable};
use tempfile::TempDir;

const HOST: &str = "shop.example";

/// Paths of Ingresses, the locations that ingress-nginx makes of them, and requests.
struct Scenario {
    name: &'static str,
    /// Ingresses, each with the annotations and paths of its own: `annotations | pathType path service, …`.
    ingresses: &'static [&'static str],
    /// Locations in the order of ingress-nginx, and the Service of each.
    locations: &'static [(&'static str, &'static str)],
    requests: &'static [&'static str],
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "regular expressions in the order of their lengths",
        ingresses: &[
            r"use-regex: 'true' | ImplementationSpecific /api/v[0-9]+ version, ImplementationSpecific /api/.* any",
            r"use-regex: 'true' | ImplementationSpecific /files/(.*)\.php$ php",
            " | Exact /exact exact, Prefix /prefix prefix, Prefix / root",
        ],
        locations: &[
            (r#"~* "^/files/(.*)\.php$""#, "php"),
            (r#"~* "^/api/v[0-9]+""#, "version"),
            (r#"~* "^/prefix/""#, "prefix"),
            (r#"~* "^/prefix""#, "prefix"),
            (r#"~* "^/api/.*""#, "any"),
            (r#"~* "^/exact""#, "exact"),
            (r#"~* "^/""#, "root"),
        ],
        requests: &[
            "/",
            "/api/v1",
            "/API/V22/x",
            "/api/vx",
            "/api",
            "/api/",
            "/exact",
            "/exact/more",
            "/EXACTLY",
            "/prefix",
            "/prefixed",
            "/prefix/x",
            "/files/a/b.php",
            "/files/a.php/x",
            "/FILES/x.PHP",
            "//api//v1",
            "/x/../api/v1",
            "/api/%76%31",
            "/files/a%20b.php",
        ],
    },
    Scenario {
        name: "equal lengths in descending order of the text",
        ingresses: &[
            "use-regex: 'true' | ImplementationSpecific /foo. dot, ImplementationSpecific /foo/ slash, ImplementationSpecific /[a-f]oo/ class",
        ],
        locations: &[(r#"~* "^/[a-f]oo/""#, "class"), (r#"~* "^/foo/""#, "slash"), (r#"~* "^/foo.""#, "dot")],
        requests: &["/foo", "/foo/", "/foox", "/foo/x", "/goo/", "/aoo/"],
    },
    Scenario {
        name: "alternatives are not anchored",
        ingresses: &[
            "use-regex: 'true' | ImplementationSpecific /a|b$ either, ImplementationSpecific /c other",
        ],
        locations: &[(r#"~* "^/a|b$""#, "either"), (r#"~* "^/c""#, "other")],
        requests: &["/a", "/ax", "/c", "/c/b", "/cB", "/d"],
    },
    Scenario {
        name: "syntax of expressions",
        ingresses: &[
            r"use-regex: 'true' | ImplementationSpecific /id/\d+/\w{2}$ digits, ImplementationSpecific /x{y}/[^/]+\.html html",
            r"use-regex: 'true' | ImplementationSpecific /(?<name>[a-z]+?)/end named, ImplementationSpecific /a\-b\/c escaped",
            r"use-regex: 'true' | ImplementationSpecific /[[:alpha:]]+-[a&&b] posix, ImplementationSpecific /(?:one|two)/(|three) group",
        ],
        locations: &[
            (r#"~* "^/x{y}/[^/]+\.html""#, "html"),
            (r#"~* "^/(?<name>[a-z]+?)/end""#, "named"),
            (r#"~* "^/[[:alpha:]]+-[a&&b]""#, "posix"),
            (r#"~* "^/(?:one|two)/(|three)""#, "group"),
            (r#"~* "^/id/\d+/\w{2}$""#, "digits"),
            (r#"~* "^/a\-b\/c""#, "escaped"),
        ],
        requests: &[
            "/id/12/ab",
            "/id/12/abc",
            "/id/x/ab",
            "/ID/7/AB",
            "/x{y}/a.html",
            "/x%7By%7D/a.html",
            "/x{y}/a/b.html",
            "/abc/end",
            "/abc/endless",
            "/1/end",
            "/a-b/c",
            "/a-b/cd",
            "/ay",
            "/abc-a",
            "/abc-&",
            "/abc-c",
            "/one/",
            "/two/three",
            "/three/",
            "/one",
        ],
    },
    Scenario {
        name: "paths by characters",
        ingresses: &[
            " | ImplementationSpecific /api api, Prefix /api/v1 version, Exact /api/exact exact",
            " | ImplementationSpecific /v1.0 dotted, Prefix / root",
        ],
        locations: &[
            ("/api/v1/", "version"),
            ("= /api/v1", "version"),
            ("= /api/exact", "exact"),
            ("/v1.0", "dotted"),
            ("/api", "api"),
            ("/", "root"),
        ],
        requests: &[
            "/",
            "/api",
            "/apix",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/api/v1x",
            "/api/v1/x",
            "/api/exact",
            "/api/exact/",
            "/API",
            "/v1.0",
            "/v1.0.1",
            "/v1x0",
            "/v1",
            "/x",
        ],
    },
    Scenario {
        name: "missing slash at the end",
        ingresses: &[
            " | Exact /x/ exact, Prefix /y/ prefix, Prefix /z plain",
            " | Prefix /w/ first, Exact /w second, Prefix / root",
        ],
        locations: &[
            ("/z/", "plain"),
            ("/y/", "prefix"),
            ("= /y/", "prefix"),
            ("= /x/", "exact"),
            ("/w/", "first"),
            ("= /w/", "first"),
            ("= /z", "plain"),
            ("= /w", "second"),
            ("/", "root"),
        ],
        requests: &[
            "/x", "/x?a=b", "/x/", "/x/y", "/xy", "/y", "/y/", "/y/z", "/yz", "/z", "/z/", "/z/x", "/zz",
            "/w", "/w/", "/w/x", "/wx",
        ],
    },
];

/// The answer to a request: a Service, or the target of a redirect, or nothing.
#[derive(Debug, PartialEq)]
enum Answer {
    Service(String),
    Redirect(String),
    None,
}

#[test]
fn table_answers_as_nginx_does() {
    if missing::is_missing("nginx", "table_answers_as_nginx_does") {
        return;
    }
    let mut differences = String::new();
    for scenario in SCENARIOS {
        let nginx = Nginx::start(scenario);
        let table = table(scenario);
        for request in scenario.requests {
            let (expected, found) = (nginx.get(request), find(&table, request));
            if found != expected {
                let _ = writeln!(
                    differences,
                    "{}: {request}: nginx {expected:?}, table {found:?}",
                    scenario.name
                );
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

// ===== the gateway =====

/// Compiles the routes that class-nginx emits.
fn table(scenario: &Scenario) -> RoutingTable {
    let ingresses: Vec<Ingress> =
        scenario.ingresses.iter().enumerate().map(|(index, text)| ingress(index, text)).collect();
    let config = serde_saphyr::from_str(
        "handler: {url: 'file://class_nginx.wasm', dialect: [nginx.ingress.kubernetes.io/]}",
    );
    let config = IngressClassConfig {
        name: Name::new("", "nginx"),
        spec: config.unwrap(),
        ..IngressClassConfig::default()
    };
    let parameters = ParametersRef {
        group: api::GROUP.into(),
        kind: "IngressClassConfig".into(),
        name: "nginx".into(),
        namespace: None,
    };
    let class = IngressClass {
        name: Name::new("", "nginx"),
        controller: api::CONTROLLER.into(),
        parameters: Some(parameters),
        ..IngressClass::default()
    };
    let mut objects = vec![Object::IngressClassConfig(config), Object::IngressClass(class)];
    objects.extend(ingresses.into_iter().map(Object::Ingress));
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(objects.into_iter().map(Change::Apply).collect());
    let mut answers = Vec::new();
    for call in compiler.take_handler_calls() {
        let output = class_nginx::translate(&call.input);
        for (ingress, translation) in routing::handler::split(&call.input, output).unwrap() {
            let outcome = HandlerOutcome::Translated(translation);
            answers.push(HandlerAnswer { ingress, host: call.subject.host.clone(), outcome });
        }
    }
    let (table, delta) = compiler.apply_answers(answers);
    let failed = delta.added.iter().filter(|problem| problem.reason != routing::Reason::ServiceNotFound);
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&routing::Problem>::new(), "{}", scenario.name);
    table
}

/// Parses an Ingress of a scenario. The first one is the oldest.
fn ingress(index: usize, text: &str) -> Ingress {
    let (annotations, paths) = text.split_once('|').unwrap();
    let paths = paths.split(',').map(|path| {
        let [path_type, path, service] = *path.split_whitespace().collect::<Vec<_>>() else { panic!("{path}") };
        format!("{{path: '{path}', pathType: {path_type}, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}")
    });
    let annotations = match annotations.trim() {
        "" => String::new(),
        annotations => format!("nginx.ingress.kubernetes.io/{annotations}"),
    };
    let yaml = format!(
        "metadata: {{name: ingress{index}, namespace: shop, creationTimestamp: '2026-01-01T00:00:0{index}Z', annotations: {{{annotations}}}}}
spec: {{ingressClassName: nginx, rules: [{{host: {HOST}, http: {{paths: [{}]}}}}]}}",
        paths.collect::<Vec<_>>().join(", ")
    );
    let parsed: k8s_openapi::api::networking::v1::Ingress =
        serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
    let (ingress, errors) = Ingress::from_kubernetes(&parsed);
    assert!(errors.is_empty(), "{errors:?}");
    ingress
}

fn find(table: &RoutingTable, request: &str) -> Answer {
    let (path, query) = request.split_once('?').unwrap_or((request, ""));
    let path = routing::path::canonical(path.as_bytes()).unwrap();
    let Some(route) = table.find(HOST, &path) else { return Answer::None };
    let redirect = route.policy.spec.redirect.as_ref().and_then(|redirect| redirect.path.as_ref());
    match (redirect, &*route.backends) {
        (Some(path), _) if query.is_empty() => Answer::Redirect(path.clone()),
        (Some(path), _) => Answer::Redirect(format!("{path}?{query}")),
        (None, [backend]) => Answer::Service(backend.backend.service.name.to_string()),
        (None, backends) => panic!("{request}: {backends:?}"),
    }
}

// ===== nginx =====

/// A running nginx with the locations of a scenario, on a Unix socket.
struct Nginx(TempDir);

impl Nginx {
    /// Starts nginx. It is ready once its first process has ended.
    fn start(scenario: &Scenario) -> Self {
        let nginx = Self(tempfile::tempdir().unwrap());
        let mut locations = String::new();
        for (location, service) in scenario.locations {
            let _ = writeln!(
                locations,
                "location {location} {{ proxy_set_header X-Service {service}; proxy_pass http://echo; }}"
            );
        }
        let folder = nginx.0.path().display();
        let configuration = format!(
            "user root;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream echo {{ server unix:{folder}/echo; }}
  server {{ listen unix:{folder}/echo; return 200 $http_x_service; }}
  server {{
    listen unix:{folder}/front;
    {locations}
  }}
}}
"
        );
        fs::write(nginx.configuration(), configuration).unwrap();
        nginx.run(&[]);
        nginx
    }

    fn configuration(&self) -> PathBuf {
        self.0.path().join("nginx.conf")
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("nginx")
            .arg("-c")
            .arg(self.configuration())
            .arg("-e")
            .arg(self.0.path().join("error.log"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn get(&self, target: &str) -> Answer {
        let mut stream = UnixStream::connect(self.0.path().join("front")).unwrap();
        write!(stream, "GET {target} HTTP/1.0\r\nHost: {HOST}\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let location = head.lines().find_map(|line| line.strip_prefix("Location: "));
        match head.split(' ').nth(1) {
            Some("200") => Answer::Service(body.to_owned()),
            Some("301") => {
                let location = location.unwrap();
                let target = location.strip_prefix(&format!("http://{HOST}")).unwrap_or(location);
                Answer::Redirect(target.to_owned())
            }
            Some("404") => Answer::None,
            _ => panic!("{target}: {response}"),
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.run(&["-s", "stop"]);
    }
}
