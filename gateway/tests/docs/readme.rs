//! Runs README: every command in order, in an empty folder, with the built gateway.
//!
//! Commands that need a cluster, root or an hour are checked instead (`command`). All other commands run as they are,
//! except that `127.0.0.1` becomes a loopback address of this process, so that no port is taken.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::missing::is_missing;
use crate::pages::{read, root};
use crate::{command, markdown};

/// Time limit of the demo on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Time after which the gateway must be ready.
const READY: Duration = Duration::from_secs(20);

/// How a command is tested.
#[derive(Debug, PartialEq, Eq)]
enum Test {
    /// Runs in a shell.
    Run,
    /// Runs until the test ends.
    Background,
    /// `gateway demo` as built; its output has the lines of the excerpt.
    Demo,
    /// Needs a cluster, root or more time than a test has: its names are checked.
    Check,
    /// Runs in a cluster, in `conformance/tests/cluster.rs`.
    Cluster,
}

/// Returns how a command is tested. A command that no rule covers fails.
fn classify(command: &str) -> Test {
    let words = markdown::words(command);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        [.., "&"] => Test::Background,
        ["cargo", "run", .., "demo"] => Test::Demo,
        ["curl", ..] if command.contains("$(kubectl") => Test::Cluster,
        ["helm", ..] => Test::Cluster,
        ["conformance/image", ..] => Test::Check,
        ["mkdir" | "openssl" | "cat" | "curl", ..] => Test::Run,
        // The cluster of a user is not here.
        ["gateway", ..] if words.contains(&"--kubeconfig") => Test::Check,
        ["gateway", "check" | "explain", ..] | ["gateway", "plugin", "new", ..] => Test::Run,
        ["gateway", "run", ..] | ["cargo" | "kubectl", ..] => Test::Check,
        ["conformance/test"] | ["target/debug/conformance", ..] => Test::Check,
        _ => panic!("README has a command that the test does not know: {command}"),
    }
}

/// A folder in which the commands run, and the processes that they leave in the background.
struct Session {
    folder: tempfile::TempDir,
    /// A loopback address of this process.
    address: String,
    background: Vec<Child>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Session {
    fn new() -> Self {
        let id = std::process::id();
        let address = format!("127.{}.{}.1", 1 + id % 250, 1 + id / 250 % 250);
        Self { folder: tempfile::tempdir().unwrap(), address, background: Vec::new() }
    }

    /// Prepares a program: the folder, the built gateway first in PATH, listeners at the address of this process.
    fn command(&self, program: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_gateway")).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("PATH", format!("{built}:{path}"));
        for (name, port) in [("HTTP", 8080), ("HTTPS", 8443), ("ADMIN", 9080)] {
            command.env(format!("GATEWAY_LISTENERS_{name}"), format!("{}:{port}", self.address));
        }
        command
    }

    fn localized(&self, command: &str) -> String {
        command.replace("127.0.0.1", &self.address)
    }

    /// Runs a command and returns its output.
    fn run(&self, text: &str) -> String {
        let output = self.command("sh").args(["-euc", &self.localized(text)]).output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}\n{stdout}{stderr}");
        stdout.into_owned()
    }

    fn start(&mut self, text: &str) {
        let words = markdown::words(&self.localized(text.trim_end_matches(['&', ' '])));
        let mut command = self.command(&words[0]);
        let command = command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        self.background.push(command.spawn().unwrap_or_else(|error| panic!("{text}: {error}")));
        // A server is ready when its admin page says so, or else when its port accepts connections.
        let (began, is_gateway) = (Instant::now(), words[0] == "gateway");
        let port = words.iter().find(|word| word.parse::<u16>().is_ok());
        let address = format!("{}:{}", self.address, port.map_or("9080", |port| port));
        let is_ready = || match is_gateway {
            true => get(&address, "/readyz").contains("ready: generation "),
            false => std::net::TcpStream::connect(&address).is_ok(),
        };
        while !is_ready() {
            assert!(began.elapsed() < READY, "not ready: {text}");
            std::thread::yield_now();
        }
    }

    /// Runs the demo until it serves, and compares its output with the excerpt.
    fn demo(&self, excerpt: &str) {
        let mut demo = self.command("gateway");
        demo.arg("demo").env("TMPDIR", self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = demo.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let began = Instant::now();
        let mut printed: Vec<_> = lines.take_while(|line| !line.starts_with("Serving ")).collect();
        let _ = child.kill();
        let _ = child.wait();
        assert!(began.elapsed() < DEADLINE, "the demo took {:?}", began.elapsed());
        printed.iter_mut().for_each(|line| *line = shape(line));
        for line in excerpt.lines() {
            assert!(printed.contains(&shape(line)), "the demo prints no {line:?}:\n{}", printed.join("\n"));
        }
    }
}

/// Returns a line of the demo without what differs between runs: endpoint, time, spaces.
fn shape(line: &str) -> String {
    let is_stable = |word: &&str| !word.starts_with("127.0.0.") && word.parse::<f64>().is_err();
    let code = line.split(' ').next().unwrap_or_default();
    let rest: Vec<_> = line.split_whitespace().skip(1).filter(is_stable).collect();
    format!("{code} {}", rest.join(" "))
}

/// Requests an admin page. Returns an empty text if no gateway listens yet.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return String::new() };
    let mut text = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    // A gateway that starts may reset the connection; the caller repeats the request.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut text));
    text
}

#[test]
fn commands_of_readme_work() {
    let needed = ["openssl", "curl", "python3", "base64"];
    if needed.into_iter().any(|program| is_missing(program, "commands_of_readme_work")) {
        return;
    }
    let blocks = markdown::blocks(&read("README.md"));
    let mut session = Session::new();
    for (index, block) in blocks.iter().enumerate() {
        match block.language.as_str() {
            "sh" => {}
            "yaml" => {
                let path = session.folder.path().join(format!("site/readme-{index}.yaml"));
                std::fs::write(path, &block.text).unwrap();
                continue;
            }
            // Compared where the demo runs.
            "text" => continue,
            other => panic!("README has a block of language {other:?}"),
        }
        for command in markdown::commands(&block.text) {
            match classify(&command) {
                Test::Check => command::check("README.md", &command),
                Test::Cluster => {}
                Test::Background => session.start(&command),
                Test::Demo => {
                    command::check("README.md", &command);
                    session.demo(&blocks[index + 1].text);
                }
                Test::Run => {
                    let output = session.run(&command);
                    assert!(!command.starts_with("curl") || output == "hello\n", "{command}: {output}");
                }
            }
        }
    }
    check_explanation(&session);
    check_examples(&session);
}

/// Compares the excerpt of the page about `explain` with the explanation of the Ingress of README.
fn check_explanation(session: &Session) {
    let path = "gateway/docs/explain-and-check.md";
    let page = read(path);
    let command = "gateway explain https://hello.example.com/index.html --files site";
    let printed = session.run(command).replace(&session.address, "127.0.0.1");
    let excerpt = markdown::blocks(&page).into_iter().find(|block| block.language == "text").unwrap().text;
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(root().join(path), page.replace(&excerpt, &printed)).unwrap();
    } else {
        assert_eq!(printed, excerpt, "{command} prints this; UPDATE_EXPECT=1 rewrites {path}");
    }
}

/// Adds the objects of all other pages to those of README: together they have no Problem.
fn check_examples(session: &Session) {
    for page in ["policies", "configuration"] {
        for block in markdown::blocks(&read(&format!("gateway/docs/{page}.md"))) {
            let path = session.folder.path().join(format!("site/{page}.yaml"));
            match (block.language.as_str(), page) {
                ("yaml", "configuration") => {
                    std::fs::write(session.folder.path().join("gateway.yaml"), &block.text).unwrap();
                    let printed = session.run("gateway config --files site --config gateway.yaml");
                    assert!(printed.contains("keepAlive: 30s # gateway.yaml:2"), "{printed}");
                }
                ("yaml", _) => std::fs::write(path, &block.text).unwrap(),
                _ => {}
            }
        }
    }
    assert_eq!(session.run("gateway check site"), "no problems; 1 Ingress served\n");
}
