//! The tutorial of plugin authors: each command of the page runs, and prints what the page says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use modules::NoModule;
use tempfile::TempDir;

/// Time until a command prints what the page says. The gateway takes a moment for changes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A step of the page.
#[derive(Debug)]
enum Step {
    /// Commands, and lines of their output.
    Run { commands: String, output: Vec<String> },
    /// A file to write.
    Write { path: String, content: String },
}

/// Reads the steps of the page. The path of a file is in the last line before its block.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut lines, mut before) = (page.lines(), "");
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        match language {
            "sh" => steps.push(Step::Run { commands: block.join("\n"), output: Vec::new() }),
            "text" => {
                let Some(Step::Run { output, .. }) = steps.last_mut() else {
                    panic!("output without commands: {block:?}")
                };
                output.extend(block.iter().map(|line| (*line).to_owned()));
            }
            _ => {
                let path = before.rsplit('`').nth(1).unwrap_or_else(|| panic!("no path in {before:?}"));
                steps.push(Step::Write { path: path.to_owned(), content: block.join("\n") + "\n" });
            }
        }
    }
    steps
}

/// Do lines of the output match these ones, in order? `…` matches any text.
fn matches(output: &str, expected: &[String]) -> bool {
    let mut lines = output.lines().map(str::trim_end);
    expected.iter().filter(|line| *line != "…").all(|line| lines.any(|found| line_matches(found, line)))
}

fn line_matches(found: &str, expected: &str) -> bool {
    let parts: Vec<_> = expected.split('…').collect();
    let mut rest = found;
    for (index, part) in parts.iter().enumerate() {
        let part = part.trim();
        let Some(at) = rest.find(part) else { return false };
        if index == 0 && at > 0 {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    parts.last() == Some(&"") || rest.trim().is_empty()
}

/// Follows the page.
struct Reader {
    folder: TempDir,
    /// The folder of the first terminal.
    current: PathBuf,
    demo: Option<Demo>,
}

/// The demo in the second terminal, on ports that are free.
struct Demo {
    child: Child,
    http: String,
    admin: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { current: folder.path().to_owned(), folder, demo: None }
    }

    /// Returns a script of the first terminal, with the gateway of this build.
    fn shell(&self, script: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_gateway")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", script]).current_dir(&self.current).env("PATH", path).stdin(Stdio::null());
        command.env_remove("GATEWAY_LOG").env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        command
    }

    /// Runs commands, and returns what they print. Panics if one of them fails.
    fn run(&mut self, commands: &str) -> String {
        let folder = self.folder.path().join(".folder");
        let script = format!("set -e\n{{ {commands}\n}} 2>&1\npwd >{}", folder.display());
        let output = self.shell(&script).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{commands}\n{text}{}", String::from_utf8_lossy(&output.stderr));
        self.current = PathBuf::from(std::fs::read_to_string(folder).unwrap().trim());
        text
    }

    /// Starts the demo. Returns its output up to the line that says where it serves.
    fn start_demo(&mut self, command: &str) -> String {
        let command = format!("exec {command} --http 127.0.0.1:0 --https 127.0.0.1:0 --admin 127.0.0.1:0");
        let mut shell = self.shell(&command);
        let mut child = shell.current_dir(self.folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (mut text, mut admin) = (String::new(), String::new());
        for line in lines.by_ref() {
            if let Some(rest) = line.strip_prefix("Admin pages: http://") {
                admin = rest.split('/').next().unwrap().to_owned();
            }
            text += &format!("{line}\n");
            if line.starts_with("Serving ") {
                break;
            }
        }
        let serving = text.split("Serving http://").nth(1).expect("the demo serves");
        let http = serving.split(' ').next().unwrap().to_owned();
        // Its further lines must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let text = text.replace(&http, "127.0.0.1:8080");
        self.demo = Some(Demo { child, http, admin });
        text
    }

    /// Replaces the ports of the page by those of the demo.
    fn with_ports(&self, text: &str) -> String {
        let Some(demo) = &self.demo else { return text.to_owned() };
        text.replace("127.0.0.1:8080", &demo.http).replace("127.0.0.1:9080", &demo.admin)
    }

    fn follow(&mut self, step: &Step) {
        let (commands, expected) = match step {
            Step::Write { path, content } => {
                return std::fs::write(self.current.join(path), content).unwrap();
            }
            Step::Run { commands, output } => (self.with_ports(commands), output),
        };
        // The test's own build of the gateway is in its place.
        if commands.contains("cargo build --release -p gateway") {
            return;
        }
        if commands.starts_with("gateway demo ") {
            let output = self.start_demo(&commands);
            return assert!(matches(&output, expected), "{commands}\n{output}");
        }
        let began = Instant::now();
        let asks_gateway = commands.starts_with("curl ") || commands.starts_with("gateway explain ");
        loop {
            let output = self.run(&commands);
            if matches(&output, expected) {
                break;
            }
            let is_late = !asks_gateway || began.elapsed() > DEADLINE;
            assert!(!is_late, "{commands}\nprints\n{output}\nand not\n{}", expected.join("\n"));
        }
        if commands.contains("gateway plugin new ") {
            self.share_target(commands.split_whitespace().last().unwrap());
        }
    }

    /// Lets the new crate use artifacts of earlier runs.
    fn share_target(&self, name: &str) {
        let shared = modules::artifacts("plugin-new").unwrap();
        std::fs::create_dir_all(&shared).unwrap();
        std::os::unix::fs::symlink(shared, self.current.join(name).join("target")).unwrap();
    }
}

#[test]
fn tutorial_works_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if let Err(NoModule::Missing(reason)) = modules::module(&root.join("gateway/plugin-host/guests"), "noop")
    {
        return missing::skipped(&format!("the tutorial: {reason}"));
    }
    let page = std::fs::read_to_string(root.join("plugin-sdk/TUTORIAL.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() > 15, "{steps:#?}");
    let mut reader = Reader::new();
    steps.iter().for_each(|step| reader.follow(step));
}

#[test]
fn handler_of_the_page_is_the_shipped_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("plugin-sdk/TUTORIAL.md")).unwrap();
    for file in ["src/lib.rs", "cases/middlewares.in.yaml"] {
        let shipped = std::fs::read_to_string(root.join("plugins/class-example").join(file)).unwrap();
        assert!(page.contains(&shipped), "{file} of plugins/class-example is not in TUTORIAL.md");
    }
}

#[test]
fn output_of_another_kind_does_not_match() {
    let expected = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let output = "one\ntwo and more\nthree";
    for (lines, is_match) in [
        (&["one", "three"][..], true),
        (&["three", "one"], false),
        (&["two"], false),
        (&["two …"], true),
        (&["…more"], true),
        (&["…and…"], true),
        (&["…", "one"], true),
        (&["four"], false),
    ] {
        assert_eq!(matches(output, &expected(lines)), is_match, "{lines:?}");
    }
}
