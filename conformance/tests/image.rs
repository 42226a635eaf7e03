//! `conformance/image`: contents and configuration of the image in a real registry, as a tarball, and in the cluster.
//!
//! Needs Go 1.26 or a cached crane, and Debian's docker-registry. Most tests pack a static program in place of the gateway.
//! The one in the cluster needs the gateway that `conformance/image build` has built.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "polls a starting registry; the sleep only sets the interval")]

#[path = "support/helm.rs"]
mod helm;
#[path = "../../gateway/tests/support/missing.rs"]
mod missing;
#[path = "support/parts.rs"]
mod parts;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const TOOL: &str = env!("CARGO_BIN_EXE_conformance");

/// Time for the registry to start. On an idle machine it takes a fraction of a second.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of the image's layer in the registry.
const MAX_LAYER_BYTES: u64 = 25 << 20;

/// Debian's docker-registry on a free loopback port. It is killed on drop.
struct Registry {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Registry {
    /// Starts the registry. Returns `None` if a program is missing, and notes that the test is skipped.
    fn start(test: &str) -> Option<Self> {
        if missing::is_missing("docker-registry", test) || missing::is_missing("tar", test) {
            return None;
        }
        if let Err(reason) = helm::tools() {
            missing::skipped(&format!("{test}: {reason}"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = folder.path().join("registry.yaml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            data.display()
        );
        fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, address, folder };
        let limit = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < limit, "the registry does not listen on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a command of `conformance/image`. It packs the static program `binary`.
    fn image(&self, binary: &Path) -> Command {
        let mut command = Command::new(root().join("conformance/image"));
        command.env("INSECURE", "true").env("BINARY", binary).env("IMAGE_DIR", self.path("image"));
        command.env("CARGO_TARGET_DIR", Path::new(TOOL).parent().unwrap().parent().unwrap());
        command.stdin(Stdio::null());
        command
    }

    /// Pushes an image and returns its reference by digest.
    fn push(&self, binary: &Path, flags: &[&str]) -> String {
        let reference = format!("{}/edge/gateway:0.1.0", self.address);
        let output = succeed(self.image(binary).args(["push", &reference]).args(flags));
        let pushed = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        assert!(pushed.starts_with(&format!("{}/edge/gateway@sha256:", self.address)), "{pushed}");
        pushed
    }

    fn crane(&self, arguments: &[&str]) -> String {
        let mut crane = Command::new(helm::tools().unwrap().join("crane"));
        String::from_utf8(succeed(crane.arg("--insecure").args(arguments)).stdout).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", helm::text(&output));
    output
}

/// Returns a static program that every machine with crane has.
fn stand_in() -> PathBuf {
    helm::tools().unwrap().join("crane")
}

/// Returns the paths of all files below a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

#[test]
fn image_holds_program_certificates_and_licences_only() {
    let Some(registry) = Registry::start("image_holds_program_certificates_and_licences_only") else {
        return;
    };
    let pushed = registry.push(&stand_in(), &[]);
    let folder = registry.path("unpacked");
    succeed(registry.image(&stand_in()).args(["unpack", &pushed]).arg(&folder));
    let expected = [
        "etc/ssl/certs/ca-certificates.crt",
        "usr/bin/gateway",
        "usr/share/licenses/ca-certificates/copyright",
        "usr/share/licenses/gateway/LICENSE",
        "usr/share/licenses/gateway/third-party.txt",
    ];
    assert_eq!(files(&folder.join("rootfs")), expected.map(str::to_owned).into());
    assert_eq!(fs::read(folder.join("rootfs/usr/bin/gateway")).unwrap(), fs::read(stand_in()).unwrap());

    let image: Value = serde_json::from_slice(&fs::read(folder.join("image.json")).unwrap()).unwrap();
    let config = &image["config"];
    assert_eq!([&config["User"], &image["os"], &image["architecture"]], ["65532:65532", "linux", "amd64"]);
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/gateway"]));
    assert_eq!(config["Cmd"], serde_json::json!(["run"]));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    assert_eq!(labels["org.opencontainers.image.revision"].as_str().unwrap().len(), 40);

    let list: Value =
        serde_json::from_slice(&fs::read(registry.path("image/amd64/gateway.cdx.json")).unwrap()).unwrap();
    assert_eq!(list["bomFormat"], "CycloneDX");
    assert!(list["components"].as_array().unwrap().len() > 100);
    assert_eq!(registry.push(&stand_in(), &[]), pushed, "equal inputs give an equal image");
}

#[test]
fn image_of_two_architectures_is_one_reference() {
    let Some(registry) = Registry::start("image_of_two_architectures_is_one_reference") else { return };
    let pushed = registry.push(&stand_in(), &["--arch", "amd64,arm64"]);
    let index: Value = serde_json::from_str(&registry.crane(&["manifest", &pushed])).unwrap();
    let platforms: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]).collect();
    let architectures: Vec<_> = platforms.iter().map(|platform| platform["architecture"].as_str()).collect();
    assert_eq!(architectures, [Some("amd64"), Some("arm64")], "{index:#}");
}

#[test]
fn saved_tarball_is_a_valid_image() {
    let Some(registry) = Registry::start("saved_tarball_is_a_valid_image") else { return };
    let file = registry.path("gateway.tar");
    succeed(registry.image(&stand_in()).arg("save").arg(&file));
    let answer = registry.crane(&["validate", "--tarball", file.to_str().unwrap()]);
    assert!(answer.contains("PASS"), "{answer}");
}

#[test]
fn wrong_arguments_are_refused() {
    for (arguments, message) in [
        (&["push"][..], "conformance/image push REFERENCE"),
        (&["push", "localhost/a@sha256:00"], "push to a tag"),
        (&["build", "--arch", "riscv64"], "unknown architecture riscv64"),
        (&["save", "a", "--platform", "x"], "conformance/image save FILE"),
        (&["frobnicate"], "conformance/image build"),
    ] {
        let output = Command::new(root().join("conformance/image")).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(helm::text(&output).contains(message), "{arguments:?}: {}", helm::text(&output));
    }
    let mut missing = Command::new(root().join("conformance/image"));
    let output = missing.args(["push", "localhost:1/a:1"]).env("BINARY", "/none").output().unwrap();
    assert!(helm::text(&output).contains("/none is missing"), "{}", helm::text(&output));
}

/// The program that runs in the cluster comes from the registry, and nothing of this machine is in its root.
#[test]
fn cluster_runs_the_image_by_digest() {
    let test = "cluster_runs_the_image_by_digest";
    let target = Path::new(TOOL).parent().unwrap().parent().unwrap();
    let gateway = target.join("image/amd64/gateway");
    if !gateway.is_file() {
        return missing::skipped(&format!(
            "{test}: run `conformance/image build` first, which takes minutes"
        ));
    }
    if let Some(reason) = parts::missing() {
        return missing::skipped(&format!("{test}: {reason}"));
    }
    let Some(registry) = Registry::start(test) else { return };
    let pushed = registry.push(&gateway, &[]);
    let manifest: Value = serde_json::from_str(&registry.crane(&["manifest", &pushed])).unwrap();
    let layer = manifest["layers"][0]["size"].as_u64().unwrap();
    assert!(layer < MAX_LAYER_BYTES, "{layer} bytes");
    let folder = registry.path("unpacked");
    succeed(registry.image(&gateway).args(["unpack", &pushed]).arg(&folder));
    let output = Command::new(TOOL)
        .args(["cluster", "run", "--image", &format!("{pushed}={}", folder.display()), "--"])
        .args(["sh", "tests/cluster/image.sh", &pushed])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", helm::text(&output));
}
