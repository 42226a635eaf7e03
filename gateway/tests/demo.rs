//! `gateway demo` as a newcomer runs it: the built program, its output, visitors, edits, and its end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Time limit for anything on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The widest line that the demo prints, in characters.
const MAX_COLUMNS: usize = 100;

/// The most lines before the first visitor's.
const MAX_LINES: usize = 40;

/// A running demo. Killed when the test is over, however it ends.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    /// The folder in which the demo makes its temporary folder.
    scratch: TempDir,
}

impl Demo {
    /// Starts a demo that writes to a pipe.
    fn start(flags: &[(&str, &str)]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.env_remove("CLICOLOR_FORCE").stdout(writer);
        Self::start_with(command, flags, reader)
    }

    /// Starts a demo that writes to a terminal of this width.
    fn start_in_terminal(columns: u16, variable: (&str, &str)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let terminal = terminal::attach(&mut command, columns);
        command.env(variable.0, variable.1);
        Self::start_with(command, &[], terminal)
    }

    fn start_with(mut command: Command, flags: &[(&str, &str)], output: impl Read + Send + 'static) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        command.arg("demo").env("TMPDIR", scratch.path());
        for name in ["--http", "--https", "--admin"] {
            let given = flags.iter().find(|(flag, _)| *flag == name);
            command.args([name, given.map_or("127.0.0.1:0", |(_, value)| value)]);
        }
        if let Some((flag, value)) = flags.iter().find(|(flag, _)| *flag == "--files") {
            command.args([flag, value]);
        }
        let child = command.spawn().unwrap();
        // The command holds the other end of the pipe open.
        drop(command);
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The receiver is gone once a test has failed.
                let _ = sender.send(line);
            }
        });
        Self { child, lines, reader: Some(reader), scratch }
    }

    /// Returns all lines up to the first one with this start.
    fn until(&self, start: &str) -> Vec<String> {
        let (began, mut lines) = (Instant::now(), Vec::new());
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line begins with {start:?}:\n{}", lines.join("\n"));
            };
            let is_last = line.starts_with(start);
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    /// Returns the next line.
    fn next(&self) -> String {
        self.until("").remove(0)
    }

    /// Sends a signal and waits for the end.
    fn stop(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        // Its standard output ends with it, and then the channel.
        let began = Instant::now();
        while self.lines.recv_timeout(DEADLINE.saturating_sub(began.elapsed())).is_ok() {}
        assert!(began.elapsed() < DEADLINE, "it does not stop on {signal:?}");
        self.reader.take().unwrap().join().unwrap();
        let status = self.child.wait().unwrap();
        let left: Vec<_> = fs::read_dir(self.scratch.path()).unwrap().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        status
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the table of requests.
#[derive(Debug, PartialEq)]
struct Row {
    status: String,
    url: String,
    /// `app1 /api/products`; empty if no Ingress has the host and path.
    rule: String,
    /// `service-a`, or `gateway: no_rule`.
    responder: String,
    endpoint: String,
    client: String,
}

impl Row {
    /// Reads a line. Returns `None` if it is not about a request.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let is_status = words.first()?.len() == 3 && words[0].chars().all(|c| c.is_ascii_digit());
        let (words, scheme) = match words.split_last()? {
            (last, before) if last == "tls" => (before, "https"),
            _ => (&words[..], "http"),
        };
        let row = |rule: String, responder: String, endpoint: &str, client: &str| Self {
            status: words[0].clone(),
            url: format!("{scheme}://{}", words[2]),
            rule,
            responder,
            endpoint: endpoint.to_owned(),
            client: client.to_owned(),
        };
        match words {
            [_, _, _, ingress, path, service, endpoint, _, client] if is_status => {
                Some(row(format!("{ingress} {path}"), service.clone(), endpoint, client))
            }
            [_, _, _, dash, gateway, reason, _, client] if is_status && dash == "-" => {
                Some(row(String::new(), format!("{gateway} {reason}"), "", client))
            }
            _ => None,
        }
    }
}

/// Returns the rows about a URL.
fn rows(lines: &[String], url: &str) -> Vec<Row> {
    lines.iter().filter_map(|line| Row::parse(line)).filter(|row| row.url == url).collect()
}

/// Returns the folder of the demo's YAML.
fn folder(lines: &[String]) -> PathBuf {
    let heading = lines.iter().position(|line| line.starts_with("YAML")).unwrap();
    PathBuf::from(lines[heading + 1].trim())
}

/// Returns the address after this text in the last line: `Serving http://A and https://B until Ctrl-C.`
fn address(lines: &[String], scheme: &str) -> SocketAddr {
    let serving = lines.last().unwrap().split(&format!(" {scheme}://")).nth(1).unwrap();
    serving.split(' ').next().unwrap().parse().unwrap()
}

/// Returns the commands, with continued lines joined.
fn commands(lines: &[String]) -> Vec<String> {
    let text = lines.join("\n").replace(" \\\n", " ");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| line.starts_with("  curl ")).map(words).collect()
}

/// Sends a request on a connection of its own, and returns the response.
fn exchange(server: SocketAddr, method: &str, host: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Sends a request as a visitor, and returns its status.
fn visit(gateway: SocketAddr, method: &str, host: &str, target: &str) -> String {
    exchange(gateway, method, host, target).split(' ').nth(1).unwrap().to_owned()
}

/// Polls a server until its response has a text.
fn until_response(server: SocketAddr, host: &str, target: &str, text: &str) {
    let began = Instant::now();
    loop {
        let response = exchange(server, "GET", host, target);
        if response.contains(text) {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{text} is not in {response}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Sends one request after the other on one connection until `is_over`, and returns the values of the field `x-v`.
/// Panics if one fails.
fn load(gateway: SocketAddr, is_over: &AtomicBool) -> Vec<String> {
    let stream = TcpStream::connect(gateway).unwrap();
    let (mut writer, mut reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
    let mut values = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        writer.write_all(b"GET /api/products HTTP/1.1\r\nHost: app1.example.com\r\n\r\n").unwrap();
        let (mut lines, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line).unwrap() > 2 {
            lines.push(std::mem::take(&mut line));
        }
        assert!(lines[0].starts_with("HTTP/1.1 200"), "{lines:?}");
        let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length = field("content-length: ").or(field("Content-Length: ")).unwrap().parse().unwrap();
        reader.read_exact(&mut vec![0; length]).unwrap();
        let value = field("x-v: ").unwrap_or("none").to_owned();
        if values.last() != Some(&value) {
            values.push(value);
        }
    }
    values
}

/// Writes a file in one step.
fn put(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn plugin_dropped_into_the_folder_reloads_under_load() {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-host/guests");
    let module = match modules::module(&guests, "headers") {
        Ok(path) => fs::read(path).unwrap(),
        Err(modules::NoModule::Missing(reason)) => return missing::skipped(&format!("demo: {reason}")),
        Err(modules::NoModule::Failed(reason)) => panic!("{reason}"),
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let demo = Demo::start(&[("--admin", &port.to_string())]);
    let lines = demo.until("Serving ");
    let (folder, http) = (folder(&lines), address(&lines, "http"));
    let is_over = Arc::new(AtomicBool::new(false));
    let client = {
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || load(http, &is_over))
    };
    let yaml = |version: u32| {
        format!(
            "apiVersion: wasm-gateway.dev/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: v, namespace: demo}}\n\
             spec: {{url: file://v.wasm, failStrategy: FAIL_OPEN, pluginConfig: response set x-v {version}}}\n"
        )
    };
    put(&folder.join("v.wasm"), &module);
    put(&folder.join("plugin.yaml"), yaml(1).as_bytes());
    let digest = |module: &[u8]| {
        let digest: String = Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} ready", &digest[..12])
    };
    until_response(port, "admin", "/plugins", &digest(&module));
    for version in 2..=4 {
        put(&folder.join("plugin.yaml"), yaml(version).as_bytes());
        // An empty custom section makes it another module.
        let name = format!("v{version}");
        let changed = [&*module, &[0, 3, 2], name.as_bytes()].concat();
        put(&folder.join("v.wasm"), &changed);
        until_response(port, "admin", "/plugins", &digest(&changed));
    }
    until_response(http, "app1.example.com", "/api/products", "x-v: 4\r\n");
    is_over.store(true, Ordering::Relaxed);
    let values = client.join().unwrap();
    assert_eq!(values.first().map(String::as_str), Some("none"));
    assert_eq!(values.last().map(String::as_str), Some("4"), "{values:?}");
    assert!(demo.stop(Signal::TERM).success());
}

/// Asserts that lines fit on a screen of this width.
fn assert_fits(lines: &[String], columns: usize) {
    for line in lines {
        assert!(
            terminal::without_colours(line).trim_end().chars().count() <= columns,
            "wider than {columns}: {line}"
        );
    }
}

/// Renames a changed version of a file into place, so that no reader finds half of it.
fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    put(file, text.replace(from, to).as_bytes());
}

#[test]
fn samples_reach_the_service_of_their_ingress() {
    let demo = Demo::start(&[]);
    let lines = demo.until("Serving ");
    assert_fits(&lines, MAX_COLUMNS);
    assert!(lines.len() <= MAX_LINES, "{} lines:\n{}", lines.len(), lines.join("\n"));
    let requests: Vec<_> = lines.iter().filter_map(|line| Row::parse(line)).collect();
    assert_eq!(requests[0].url, "http://app1.example.com/api/products", "app1 comes first");
    assert_eq!(requests[1].url, "http://app2.example.com/api/products", "then app2");
    for (scheme, times) in [("http", 2), ("https", 1)] {
        for (app, service) in [("app1", "service-a"), ("app2", "service-b")] {
            let found = rows(&lines, &format!("{scheme}://{app}.example.com/api/products"));
            assert_eq!(found.len(), times, "{scheme} {app}: {lines:#?}");
            for row in found {
                assert_eq!(row.status, "200");
                assert_eq!(row.rule, format!("{app} /api/products"));
                assert_eq!(row.responder, service);
                assert!(row.endpoint.starts_with("127.0.0."), "{row:?}");
                assert_eq!(row.client, "local");
            }
        }
    }
    for (url, service) in [
        ("http://shop.example.com/catalog/hats", "catalog"),
        ("https://shop.example.com/checkout/pay", "checkout"),
        ("http://app-03.example.com/", "app-03"),
        ("http://app-12.example.com/", "app-12"),
    ] {
        let found = rows(&lines, url);
        assert!(found.iter().all(|row| row.responder == service && row.status == "200"), "{found:?}");
        assert_eq!(found.len(), 1, "{url}");
    }
    let unknown = rows(&lines, "http://unknown.example.com/");
    let [Row { status, rule, responder, .. }] = &unknown[..] else { panic!("{unknown:?}") };
    assert_eq!((status.as_str(), rule.as_str(), responder.as_str()), ("404", "", "gateway: no_rule"));
    let expected = "19 of 19 requests went where the Ingresses say; unknown.example.com has none.";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
    assert!(demo.stop(Signal::TERM).success());
}

#[test]
fn edit_prints_its_routes_and_problems() {
    let demo = Demo::start(&[]);
    let lines = demo.until("Serving ");
    let (folder, http) = (folder(&lines), address(&lines, "http"));
    let app1 = folder.join("app1.yaml");

    edit(&app1, "            name: service-a", "            name: service-b");
    assert_eq!(demo.next(), "Generation 2 is live: 13 hosts, no Problems.");
    assert_eq!(demo.next(), "  app1.example.com/api/products: service-a → service-b");
    assert_eq!(visit(http, "GET", "app1.example.com", "/api/products"), "200");
    let row = Row::parse(&demo.next()).unwrap();
    assert_eq!((row.status.as_str(), row.responder.as_str()), ("200", "service-b"));

    edit(&app1, "            name: service-b", "            name: service-c");
    assert_eq!(demo.next(), "Generation 3 is live: 13 hosts, 1 Problem:");
    assert_eq!(demo.next(), "  app1.example.com/api/products: service-b → service-c");
    let problem = [demo.next(), demo.next()];
    assert_fits(&problem, MAX_COLUMNS);
    let problem = problem.map(|line| line.trim().to_owned()).join(" ");
    assert!(problem.starts_with("app1.yaml:"), "{problem}");
    let text = "Ingress demo/app1 spec.rules[0].http.paths[0].backend.service: ServiceNotFound: ";
    assert!(problem.contains(text), "{problem}");

    edit(&app1, "            name: service-c", "            name: service-a");
    assert_eq!(demo.next(), "Generation 4 is live: 13 hosts, no Problems.");
    assert_eq!(demo.next(), "  app1.example.com/api/products: service-c → service-a");

    let app12 = folder.join("app-12.yaml");
    let text = fs::read_to_string(&app12).unwrap();
    fs::remove_file(&app12).unwrap();
    assert_eq!(demo.next(), "Generation 5 is live: 12 hosts, no Problems.");
    assert_eq!(demo.next(), "  app-12.example.com/: removed (was app-12)");
    let new = folder.join("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, &app12).unwrap();
    assert_eq!(demo.next(), "Generation 6 is live: 13 hosts, no Problems.");
    assert_eq!(demo.next(), "  app-12.example.com/: added → app-12");

    edit(
        &folder.join("app2.yaml"),
        "127.0.0.3]\n  conditions: {ready: true}",
        "127.0.0.3]\n  conditions: {ready: false}",
    );
    assert_eq!(demo.next(), "Generation 7 is live: 13 hosts, no Problems.");
    assert_eq!(demo.next(), "  Service service-b: 2 → 1 ready endpoints");

    assert!(demo.stop(Signal::TERM).success());
    assert!(!folder.exists(), "a temporary folder is removed");
}

#[test]
fn visitor_request_prints_one_line() {
    let demo = Demo::start(&[]);
    let lines = demo.until("Serving ");
    let http = address(&lines, "http");
    assert_eq!(visit(http, "GET", "app1.example.com", "/api/products"), "200");
    let row = Row::parse(&demo.next()).unwrap();
    assert!(row.endpoint.starts_with("127.0.0."), "{row:?}");
    let expected = Row {
        status: "200".to_owned(),
        url: "http://app1.example.com/api/products".to_owned(),
        rule: "app1 /api/products".to_owned(),
        responder: "service-a".to_owned(),
        endpoint: row.endpoint.clone(),
        client: "local".to_owned(),
    };
    assert_eq!(row, expected);

    assert_eq!(visit(http, "PUT", "app2.example.com", &format!("/api/products/{}?x", "y".repeat(90))), "200");
    let line = demo.next();
    assert!(line.starts_with("200  PUT app2.example.com/api/product…  "), "{line}");
    assert!(line.contains("…  app2 /api/products  service-b 127.0.0."), "{line}");
    assert_fits(&[line], MAX_COLUMNS);

    assert_eq!(visit(http, "GET", "x.example.com", "/"), "404");
    assert_eq!(Row::parse(&demo.next()).unwrap().responder, "gateway: no_rule");
    assert_eq!(visit(http, "GET", "a\u{1b}[31m", "/"), "400");
    let line = demo.next();
    assert!(line.starts_with("400  ") && !line.contains('\u{1b}'), "{line:?}");
    assert!(demo.stop(Signal::TERM).success());
}

#[test]
fn terminal_gets_colours_and_its_own_width() {
    struct Case {
        columns: u16,
        variable: (&'static str, &'static str),
        has_colours: bool,
    }
    let case = |columns, variable, has_colours| Case { columns, variable, has_colours };
    for Case { columns, variable, has_colours } in [
        case(100, ("TERM", "xterm-256color"), true),
        case(80, ("TERM", "xterm"), true),
        case(80, ("TERM", "dumb"), false),
        case(100, ("NO_COLOR", "1"), false),
    ] {
        let demo = Demo::start_in_terminal(columns, variable);
        let lines = demo.until("Serving ");
        assert_fits(&lines, columns.into());
        let coloured = lines.iter().filter(|line| line.contains('\u{1b}')).count();
        assert_eq!(coloured >= 19, has_colours, "{columns} {variable:?}: {lines:#?}");
        assert_eq!(coloured == 0, !has_colours, "{columns} {variable:?}: {lines:#?}");
        assert!(demo.stop(Signal::TERM).success());
    }
}

/// Returns the output of `gateway explain` for a URL, as JSON.
fn explained(url: &str, source: [&str; 2], header: Option<&str>) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["explain", url, "--output", "json"]).args(source);
    command.args(header.into_iter().flat_map(|header| ["--header", header]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{url}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns whether an explanation agrees with what happened.
fn agrees(explanation: &serde_json::Value, row: &Row) -> bool {
    let outcome = &explanation["outcome"];
    if let Some(reason) = outcome["reason"].as_str() {
        let is_status = row.status.parse::<u64>().ok() == outcome["status"].as_u64();
        return is_status && row.responder.strip_prefix("gateway: ") == Some(reason);
    }
    let ingress = row.rule.split(' ').next().unwrap();
    let service = format!("demo/{}:", row.responder);
    let is_share = |share: &serde_json::Value| share["service"].as_str().unwrap().starts_with(&service);
    let endpoint = serde_json::Value::from(row.endpoint.as_str());
    let is_ready =
        |service: &serde_json::Value| service["readyEndpoints"].as_array().unwrap().contains(&endpoint);
    row.status == "200"
        && outcome["object"] == format!("Ingress demo/{ingress}")
        && outcome["backends"].as_array().unwrap().iter().any(is_share)
        && explanation["services"].as_array().unwrap().iter().any(is_ready)
}

#[test]
fn explain_agrees_with_every_request_of_the_demo() {
    let demo = Demo::start(&[]);
    let lines = demo.until("Serving ");
    let folder = folder(&lines);
    let admin = lines.iter().find_map(|line| line.strip_prefix("Admin pages: http://")).unwrap();
    let admin = admin.split('/').next().unwrap();
    let sources = [["--files", folder.to_str().unwrap()], ["--admin", admin]];
    let mut urls = std::collections::BTreeSet::new();
    for row in lines.iter().filter_map(|line| Row::parse(line)) {
        if !urls.insert(row.url.clone()) {
            continue;
        }
        for source in sources {
            let explanation = explained(&row.url, source, None);
            assert!(agrees(&explanation, &row), "{row:?}\n{explanation:#}");
        }
    }
    assert_eq!(urls.len(), 17, "a sample is missing: {urls:?}");
    let commands = commands(&lines);
    for command in &commands {
        let url = command.split(' ').next_back().unwrap();
        let host = command.split('\'').find(|part| part.starts_with("Host: "));
        for source in sources {
            let explanation = explained(url, source, host);
            assert_eq!(
                explanation["outcome"]["reason"],
                serde_json::Value::Null,
                "{command}\n{explanation:#}"
            );
            let secret = &explanation["listener"]["certificate"];
            assert_eq!(secret.is_string(), url.starts_with("https://"), "{command}\n{explanation:#}");
        }
    }
    assert_eq!(commands.len(), 5, "{commands:?}");
    assert!(demo.stop(Signal::TERM).success());
}

#[test]
fn taken_port_is_named_and_commands_have_the_free_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let demo = Demo::start(&[("--http", &address)]);
    let lines = demo.until("Serving ");
    assert_eq!(lines[0], format!("{address} (http) is taken: a free port is used instead."));
    assert!(!lines[1..].iter().any(|line| line.contains(&address)), "{lines:#?}");
    let (http, https) = (self::address(&lines, "http"), self::address(&lines, "https"));
    for command in commands(&lines) {
        let is_https = command.contains("https://");
        let part =
            if is_https { format!(".example.com:{}/", https.port()) } else { format!("http://{http}/") };
        assert!(command.contains(&part), "{command}");
    }
    assert_eq!(rows(&lines, "http://app-07.example.com/").len(), 1);
    assert!(demo.stop(Signal::TERM).success());
}

#[test]
fn taken_ports_are_named_together() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let demo = Demo::start(&["--http", "--https", "--admin"].map(|flag| (flag, &*address)));
    let lines = demo.until("Serving ");
    assert_fits(&lines, MAX_COLUMNS);
    assert!(lines.len() <= MAX_LINES, "{} lines:\n{}", lines.len(), lines.join("\n"));
    let text = format!(
        "{address} (http), {address} (https), {address} (admin) are taken: free ports are used instead."
    );
    let printed = [&*lines[0], lines[1].trim()].join(" ");
    assert_eq!(printed, text);
    assert!(demo.stop(Signal::TERM).success());
}

#[test]
fn requested_folder_is_kept_and_never_overwritten() {
    let files = tempfile::tempdir().unwrap();
    let requested = files.path().join("new").join("folder");
    let demo = Demo::start(&[("--files", requested.to_str().unwrap())]);
    let lines = demo.until("Serving ");
    assert_eq!(folder(&lines), requested);
    assert!(demo.stop(Signal::INT).success());
    assert!(requested.join("app1.yaml").exists());

    let mut again = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output = again.args(["demo", "--files"]).arg(&requested).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("is not empty"), "{error}");
}
