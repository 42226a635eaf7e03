//! `gateway demo` as a stranger runs it: the built program, its output, an edit, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take on a busy machine before a test gives up.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running demo; killed when the test is over, however it ends.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    /// Where the demo makes its temporary folder.
    scratch: TempDir,
}

impl Demo {
    fn start(flags: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.arg("demo").env("TMPDIR", scratch.path()).stdout(Stdio::piped());
        for name in ["--http", "--https", "--admin"] {
            let given = flags.iter().find(|(flag, _)| *flag == name);
            command.args([name, given.map_or("127.0.0.1:0", |(_, value)| value)]);
        }
        if let Some((flag, value)) = flags.iter().find(|(flag, _)| *flag == "--files") {
            command.args([flag, value]);
        }
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nobody listens any more once a test has failed.
                let _ = sender.send(line);
            }
        });
        Self { child, lines, reader: Some(reader), scratch }
    }

    /// All lines up to the first one that begins so.
    fn until(&self, start: &str) -> Vec<String> {
        let (began, mut seen) = (Instant::now(), Vec::new());
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line begins with {start:?}:\n{}", seen.join("\n"));
            };
            let is_last = line.starts_with(start);
            seen.push(line);
            if is_last {
                return seen;
            }
        }
    }

    /// Sends a signal and waits for the end.
    fn stop(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        // Its standard output ends with it; the channel then says so.
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

/// The lines about requests to this URL without its port, as columns: status, who, and the way.
fn visits(lines: &[String], url: &str) -> Vec<Vec<String>> {
    let (scheme_and_host, path) = url.split_at(url.rfind(".com").unwrap() + ".com".len());
    let of_url = |line: &&String| {
        let first = line.split_whitespace().next().unwrap_or_default();
        let rest = first.strip_prefix(scheme_and_host).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()) == path)
    };
    let columns = |line: &String| {
        let parts = line.split("  ").map(str::trim).filter(|part| !part.is_empty());
        parts.skip(1).map(str::to_owned).collect()
    };
    lines.iter().filter(of_url).map(columns).collect()
}

/// The folder that the demo says its YAML is in.
fn folder(lines: &[String]) -> PathBuf {
    let said = lines.iter().position(|line| line.starts_with("YAML")).unwrap();
    let path = lines.iter().skip(said + 1).find(|line| !line.is_empty()).unwrap();
    PathBuf::from(path.trim())
}

/// Renames a changed version of a file into place, as careful programs do.
fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    let new = file.with_extension("new");
    fs::write(&new, text.replace(from, to)).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn requests_travel_an_edit_shows_and_sigterm_ends_it() {
    let demo = Demo::start(&[]);
    let lines = demo.until("Serving ");
    for (scheme, times) in [("http", 2), ("https", 1)] {
        for (app, service) in [("app1", "service-a"), ("app2", "service-b")] {
            let found = visits(&lines, &format!("{scheme}://{app}.example.com/api/products"));
            assert_eq!(found.len(), times, "{scheme} {app}: {lines:#?}");
            for columns in found {
                let [status, who, way] = columns.try_into().unwrap();
                assert_eq!(status, "200");
                assert!(who.starts_with(&format!("{service}-")), "{who}");
                assert!(way.contains(&format!("Ingress demo/{app} → Service demo/{service}:")), "{way}");
                assert!(way.contains(" → 127.0.0."), "{way}");
            }
        }
    }
    for (url, who) in [
        ("http://shop.example.com/catalog/boots", "catalog-"),
        ("https://shop.example.com/checkout/cart", "checkout-"),
        ("http://app-03.example.com/", "app-03-1"),
        ("http://app-12.example.com/", "app-12-1"),
    ] {
        let found = visits(&lines, url);
        assert!(found.iter().all(|columns| columns.iter().any(|part| part.starts_with(who))), "{found:?}");
        assert_eq!(found.len(), 1, "{url}");
    }
    let nobody = visits(&lines, "http://nobody.example.com/");
    assert_eq!(nobody, [["404", "gateway: no_rule", "no Ingress has this host and path"]]);
    assert!(lines.iter().any(|line| line == "19 of 19 requests went the way that the table says."));

    let folder = folder(&lines);
    edit(&folder.join("app1.yaml"), "            name: service-a", "            name: service-b");
    let change = demo.until("Generation ");
    assert_eq!(change, ["Generation 2 is live: 13 hosts, no Problems."]);
    edit(&folder.join("app1.yaml"), "            name: service-b", "            name: service-c");
    let change = demo.until("  app1.yaml:");
    assert_eq!(change.first().unwrap(), "Generation 3 is live: 13 hosts, 1 Problem:");
    let problem = "Ingress demo/app1 spec.rules[0].http.paths[0].backend.service: ServiceNotFound: ";
    assert!(change.last().unwrap().contains(problem), "{change:?}");

    assert!(demo.stop(Signal::TERM).success());
    assert!(!folder.exists(), "a temporary folder is removed");
}

/// What `gateway explain` says about a URL, as JSON.
fn explained(url: &str, whom: [&str; 2], header: Option<&str>) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["explain", url, "--output", "json"]).args(whom);
    command.args(header.into_iter().flat_map(|header| ["--header", header]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{url}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether what is told is what happened, as the columns of a visit say it: status, who, and the way.
fn agrees(told: &serde_json::Value, [status, who, way]: [&str; 3]) -> bool {
    let outcome = &told["outcome"];
    if let Some(reason) = outcome["reason"].as_str() {
        let is_status = status.parse::<u64>().ok() == outcome["status"].as_u64();
        return is_status && who.strip_prefix("gateway: ") == Some(reason);
    }
    let mut steps = way.split(" → ");
    let object = steps.next() == outcome["object"].as_str();
    let service = steps.next().and_then(|step| step.strip_prefix("Service ")).unwrap_or_default();
    let is_share = |share: &serde_json::Value| share["service"] == service;
    let endpoint = serde_json::Value::from(steps.next().unwrap_or_default());
    let is_ready =
        |service: &serde_json::Value| service["readyEndpoints"].as_array().unwrap().contains(&endpoint);
    status == "200"
        && object
        && outcome["backends"].as_array().unwrap().iter().any(is_share)
        && told["services"].as_array().unwrap().iter().any(is_ready)
}

#[test]
fn explain_answers_for_every_url_as_the_demo_went() {
    let demo = Demo::start(&[]);
    let lines = demo.until("Serving ");
    let folder = folder(&lines);
    let admin = lines.iter().find_map(|line| line.trim().strip_suffix("/routes")).unwrap();
    let admin = admin.strip_prefix("http://").unwrap();
    let sources = [["--files", folder.to_str().unwrap()], ["--admin", admin]];
    let mut asked = std::collections::BTreeSet::new();
    for line in &lines {
        let columns: Vec<_> = line.split("  ").map(str::trim).filter(|part| !part.is_empty()).collect();
        let [url, status, who, way] = columns[..] else { continue };
        if !url.contains("://") || !asked.insert(url) {
            continue;
        }
        for source in sources {
            let told = explained(url, source, None);
            assert!(agrees(&told, [status, who, way]), "{line}\n{told:#}");
        }
    }
    assert_eq!(asked.len(), 17, "a request of the tour is not told: {asked:?}");
    let mut invited = 0;
    for line in lines.iter().filter(|line| line.trim().starts_with("curl ")) {
        let url = line.split(' ').next_back().unwrap();
        let host = line.split('\'').find(|part| part.starts_with("Host: "));
        for source in sources {
            let told = explained(url, source, host);
            assert_eq!(told["outcome"]["reason"], serde_json::Value::Null, "{line}\n{told:#}");
            let secret = &told["listener"]["certificate"];
            assert_eq!(secret.is_string(), url.starts_with("https://"), "{line}\n{told:#}");
        }
        invited += 1;
    }
    assert_eq!(invited, 5, "a command line is not told");
    assert!(demo.stop(Signal::TERM).success());
}

#[test]
fn a_taken_port_is_named_and_the_folder_asked_for_is_kept() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let files = tempfile::tempdir().unwrap();
    let wanted = files.path().join("new").join("folder");
    let demo = Demo::start(&[("--http", &address), ("--files", wanted.to_str().unwrap())]);
    let lines = demo.until("Serving ");
    assert_eq!(lines.first().unwrap(), &format!("{address} (http) is taken: a free port is used instead."));
    assert!(!lines.last().unwrap().contains(&address), "{lines:?}");
    assert_eq!(visits(&lines, "http://app-07.example.com/").len(), 1);
    assert_eq!(folder(&lines), wanted);

    assert!(demo.stop(Signal::INT).success());
    assert!(wanted.join("app1.yaml").exists(), "a folder that was asked for is kept");
    let again = Command::new(env!("CARGO_BIN_EXE_gateway"));
    refuses_to_overwrite(again, &wanted);
}

/// A folder with something in it is left alone, and said so.
fn refuses_to_overwrite(mut command: Command, folder: &Path) {
    let output = command.args(["demo", "--files"]).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is not empty"), "{said}");
}
