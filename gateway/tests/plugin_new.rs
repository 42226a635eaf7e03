//! `gateway plugin new`, and what its crate does: builds, tests, serves and reloads.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
mod support;

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use missing::skipped;
use support::Wire;
use tempfile::TempDir;

/// Time for a build on a busy machine, the first one of the SDK included.
const BUILD_TIMEOUT: Duration = Duration::from_secs(600);

fn gateway(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.arg("plugin").args(arguments).current_dir(folder).env_remove("GATEWAY_LOG");
    command.env("CARGO_TARGET_DIR", modules::artifacts("plugin-new").unwrap());
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn names_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "Upper", "9lives", "a_b", "-a", "a-", "a/b", "..", "a b", "é", &"a".repeat(65)] {
        let output = gateway(folder.path(), &["new", "--", name]).output().unwrap();
        let errors = errors(&output);
        assert!(
            errors.contains("cannot be the name of a plugin: use a to z, 0 to 9 and '-'"),
            "{name}: {errors}"
        );
        assert_eq!(output.status.code(), Some(1), "{name}");
    }
    for name in ["fn", "test", "serde", "plugin-sdk"] {
        let output = gateway(folder.path(), &["new", name]).output().unwrap();
        assert!(errors(&output).contains("Rust or Cargo use it"), "{name}: {}", errors(&output));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing was written");
}

#[test]
fn existing_folder_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("greeter")).unwrap();
    let output = gateway(folder.path(), &["new", "greeter"]).output().unwrap();
    assert!(errors(&output).contains("greeter exists already: choose another name, or remove it"));
    assert_eq!(std::fs::read_dir(folder.path().join("greeter")).unwrap().count(), 0);
}

#[test]
fn sdk_is_found_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = gateway(folder.path(), &["new", "greeter", "--sdk", "elsewhere"]).output().unwrap();
    assert!(errors(&missing).contains("--sdk elsewhere: there is no Cargo.toml in that folder"));
    let sdk = root().join("plugin-sdk");
    for (name, arguments) in
        [("default", &["new", "default"][..]), ("named", &["new", "named", "--sdk", sdk.to_str().unwrap()])]
    {
        let output = gateway(folder.path(), arguments).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        let manifest = std::fs::read_to_string(folder.path().join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("plugin-sdk = {{ path = {sdk:?} }}")), "{manifest}");
        assert!(!manifest.contains("${"), "{manifest}");
    }
}

/// Writes a plugin `greeter` into a new folder. Its dependencies have the versions of the workspace.
fn new_plugin() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let output = gateway(folder.path(), &["new", "greeter"]).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let plugin = folder.path().join("greeter");
    std::fs::copy(root().join("Cargo.lock"), plugin.join("Cargo.lock")).unwrap();
    (folder, plugin)
}

/// Returns true, and notes it, if this machine cannot build modules.
fn is_target_missing() -> bool {
    let target = ["--print", "target-libdir", "--target", "wasm32-wasip1"];
    let output = Command::new("rustc").args(target).output().unwrap();
    let is_missing = !Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir();
    if is_missing {
        skipped("gateway plugin new: not installed: wasm32-wasip1 (rustup target add wasm32-wasip1)");
    }
    is_missing
}

#[test]
fn new_plugin_builds_tests_serves_and_reloads() {
    if is_target_missing() {
        return;
    }
    let (_folder, plugin) = new_plugin();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut native = Command::new(cargo);
    native
        .args(["test", "--quiet"])
        .current_dir(&plugin)
        .env("CARGO_TARGET_DIR", modules::artifacts("plugin-new").unwrap());
    let native = native.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").output().unwrap();
    assert!(native.status.success(), "{}", errors(&native));

    let built = gateway(&plugin, &["build"]).output().unwrap();
    assert!(built.status.success(), "{}", errors(&built));
    let text = String::from_utf8(built.stdout).unwrap();
    let module = modules::artifacts("plugin-new").unwrap().join("wasm32-wasip1/plugin/greeter.wasm");
    assert!(text.starts_with(&format!("{}\n", module.display())), "{text}");
    assert!(text.ends_with(" KiB, Envoy loads it, Higress loads it\n"), "{text}");
    let size = std::fs::metadata(&module).unwrap().len();
    assert!(size <= 100 << 10, "{size} bytes");

    let tested = gateway(&plugin, &["test"]).output().unwrap();
    let text = String::from_utf8(tested.stdout).unwrap();
    assert!(text.ends_with("1 passed, 0 failed, 0 skipped\n"), "{text}");

    let running = Running::start(&plugin);
    let greeting = || {
        let response = Wire::connect(running.http()).get("shop.example", "/");
        response.field("x-greeting").map(str::to_owned)
    };
    running.until("the plugin serves", || greeting().as_deref() == Some("hello"));
    let source = std::fs::read_to_string(plugin.join("src/lib.rs")).unwrap();
    save(&plugin, &source.replace("&self.settings.greeting", "&format!(\"{}!\", self.settings.greeting)"));
    running.until("the change serves", || greeting().as_deref() == Some("hello!"));
    save(&plugin, &format!("{source}\nfn broken( {{"));
    running.until("the error is shown", || running.text().contains("gateway plugin run: the build failed"));
    assert!(running.text().contains("error: this file contains an unclosed delimiter"), "{}", running.text());
    assert_eq!(greeting().as_deref(), Some("hello!"), "the version before serves");
    save(&plugin, &source);
    running.until("the mended plugin serves", || greeting().as_deref() == Some("hello"));
    std::fs::write(plugin.join("config.yaml"), "greeting: 5\n").unwrap();
    running.until("the schema is applied", || {
        running.text().contains("refused: greeting of the configuration: found an integer, expected a string")
    });
    assert_eq!(greeting().as_deref(), Some("hello"), "the configuration before serves");
}

fn save(plugin: &Path, source: &str) {
    std::fs::write(plugin.join("src/lib.rs"), source).unwrap();
}

/// A `gateway plugin run` process. Its drop kills it.
struct Running {
    child: Child,
    output: Arc<Printed>,
}

/// What a process printed so far. The condition is notified of each line.
#[derive(Default)]
struct Printed {
    text: Mutex<String>,
    lines: Condvar,
}

impl Running {
    fn start(plugin: &Path) -> Self {
        let mut command = gateway(plugin, &["run", "--config", "config.yaml", "--http", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::default();
        follow(child.stdout.take().unwrap(), &output);
        follow(child.stderr.take().unwrap(), &output);
        let running = Self { child, output };
        running.until("the address is printed", || running.text().contains("http://"));
        running
    }

    /// Waits until a condition holds, which is checked after each printed line and 10 times a second: the processor is
    /// left to the build. Panics with its description after [`BUILD_TIMEOUT`].
    fn until(&self, description: &str, mut condition: impl FnMut() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < BUILD_TIMEOUT, "timed out: {description}: {}", self.text());
            let text = self.output.text.lock().unwrap();
            drop(self.output.lines.wait_timeout(text, Duration::from_millis(100)).unwrap());
        }
    }

    /// Returns both outputs so far.
    fn text(&self) -> String {
        self.output.text.lock().unwrap().clone()
    }

    fn http(&self) -> std::net::SocketAddr {
        let text = self.text();
        let (_, rest) = text.split_once("http://").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends the lines of an output on a thread.
fn follow(from: impl Read + Send + 'static, to: &Arc<Printed>) {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            *to.text.lock().unwrap() += &format!("{line}\n");
            to.lines.notify_all();
        }
    });
}
