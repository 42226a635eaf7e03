//! The driver without a cluster: a gateway program that reads a folder of YAML files, and echo servers in this process.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::sync::watch;

use super::backends::EchoPool;
use super::backends::MAX_REPLICAS;
use super::backends::PORT_COUNT;
use super::case::Need;
use super::client::Addresses;
use super::driver::Driver;
use super::driver::ObjectKey;
use super::driver::TimeLimits;
use crate::echo;

/// The class that a folder without an IngressClass has.
const CLASS: &str = "gateway";

/// Controller of the classes that a gateway serves.
const CONTROLLER: &str = "wasm-gateway.dev/ingress-controller";

/// Time for the gateway to listen. It takes a fraction of a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// First ports of the echo servers that are tried. All are below Linux's ephemeral ports.
const FIRST_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A gateway program and its folder. The program ends when this is dropped.
#[derive(Debug)]
pub struct LocalDriver {
    folder: TempDir,
    objects: Mutex<BTreeMap<ObjectKey, Value>>,
    addresses: Addresses,
    pool: EchoPool,
    limits: TimeLimits,
    _gateway: Child,
    _stop_tx: watch::Sender<()>,
}

impl LocalDriver {
    /// Starts echo servers and the gateway, and waits until the gateway listens.
    ///
    /// # Errors
    /// The program cannot be started, exits, or does not listen in time.
    ///
    /// # Cancellation
    /// Dropping the future ends the gateway.
    pub async fn start(gateway: &Path, limits: TimeLimits) -> anyhow::Result<Self> {
        let (stop_tx, stop_rx) = watch::channel(());
        let pool = start_echo_servers(&stop_rx).await?;
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        // Cases may create classes, so the class under test is explicit.
        let class = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": { "name": CLASS }, "spec": { "controller": CONTROLLER },
        });
        std::fs::write(folder.path().join("class.json"), class.to_string())?;
        let mut command = Command::new(gateway);
        command.arg("run").arg("--files").arg(folder.path()).args(["--set", "accessLog.to=off"]);
        for flag in ["--http", "--https", "--admin"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.env("GATEWAY_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().with_context(|| {
            format!("cannot start {}: build it with `cargo build -p gateway`", gateway.display())
        })?;
        let addresses = tokio::time::timeout(START_TIMEOUT, read_addresses(&mut child)).await;
        let addresses = addresses.context("the gateway does not listen within 30 s")??;
        Ok(Self {
            folder,
            objects: Mutex::default(),
            addresses,
            pool,
            limits,
            _gateway: child,
            _stop_tx: stop_tx,
        })
    }

    /// Returns the gateway beside this program.
    ///
    /// # Errors
    /// The path of this program cannot be determined.
    pub fn default_program() -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe().context("cannot find the path of this program")?;
        Ok(own.with_file_name("gateway"))
    }

    /// Writes the objects of one namespace, or the cluster-scoped ones, as one change.
    fn write(&self, objects: &BTreeMap<ObjectKey, Value>, namespace: &str) -> anyhow::Result<()> {
        let items: Vec<&Value> =
            objects.iter().filter(|(key, _)| key.namespace == namespace).map(|(_, object)| object).collect();
        let name = if namespace.is_empty() { "cluster-scoped" } else { namespace };
        let file = self.folder.path().join(format!("{name}.json"));
        if items.is_empty() {
            return match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let new = self.folder.path().join(format!(".{name}.new"));
        std::fs::write(&new, list.to_string())?;
        std::fs::rename(new, file)?;
        Ok(())
    }
}

/// Reads the log of the gateway until it names its addresses, then keeps reading so that the pipe never fills.
async fn read_addresses(gateway: &mut Child) -> anyhow::Result<Addresses> {
    let stderr = gateway.stderr.take().context("the gateway has no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut log = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if line.contains(" listening ") {
            let address = |name: &str| -> anyhow::Result<SocketAddr> {
                let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                Ok(value
                    .with_context(|| format!("the gateway logged no {name} address: {line}"))?
                    .trim()
                    .parse()?)
            };
            let addresses = Addresses { http: address("http")?, https: address("https")? };
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(addresses);
        }
        log.push(line);
    }
    bail!("the gateway exited: {}", log.join("\n"))
}

/// Starts [`PORT_COUNT`] echo servers on each of [`MAX_REPLICAS`] loopback addresses. They run until the sender of
/// `stop_rx` is dropped.
///
/// # Errors
/// There is no block of free ports.
///
/// # Cancellation
/// Dropping the future closes the ports.
pub async fn start_echo_servers(stop_rx: &watch::Receiver<()>) -> anyhow::Result<EchoPool> {
    let count = u8::try_from(MAX_REPLICAS)?;
    let addresses: Vec<IpAddr> = (1..=count).map(|last| Ipv4Addr::new(127, 0, 1, last).into()).collect();
    // Runs at the same time start at different ports, most likely.
    let offset = std::process::id() % 100;
    let starts: Vec<u16> = FIRST_PORTS.step_by(usize::from(PORT_COUNT)).collect();
    let rotated = starts.iter().cycle().skip(usize::try_from(offset)?).take(starts.len());
    for first_port in rotated {
        if let Ok(listeners) = bind_all(&addresses, *first_port).await {
            for listener in listeners {
                tokio::spawn(echo::serve(listener, stop_rx.clone()));
            }
            return Ok(EchoPool { addresses, first_port: *first_port });
        }
    }
    bail!("there are no {PORT_COUNT} consecutive free ports between 20000 and 32000")
}

async fn bind_all(addresses: &[IpAddr], first_port: u16) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        for offset in 0..PORT_COUNT {
            listeners.push(TcpListener::bind((*address, first_port + offset)).await?);
        }
    }
    Ok(listeners)
}

impl Driver for LocalDriver {
    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn pool(&self) -> &EchoPool {
        &self.pool
    }

    fn class(&self) -> &str {
        CLASS
    }

    fn controller(&self) -> &str {
        CONTROLLER
    }

    fn limits(&self) -> TimeLimits {
        self.limits
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Status => false,
        }
    }

    fn settles_later(&self) -> bool {
        true
    }

    async fn create_namespace(&self, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let key = ObjectKey::of(object);
        let mut object = object.clone();
        let mut objects = self.objects.lock().await;
        // As the API server does, so that the age of objects is the same with both drivers.
        let created = objects
            .get(&key)
            .and_then(|old| old.pointer("/metadata/creationTimestamp").cloned())
            .unwrap_or_else(|| Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("creationTimestamp".to_owned(), created);
        }
        let namespace = key.namespace.clone();
        objects.insert(key, object);
        self.write(&objects, &namespace)
    }

    async fn delete(&self, key: &ObjectKey) -> anyhow::Result<()> {
        let mut objects = self.objects.lock().await;
        objects.remove(key);
        self.write(&objects, &key.namespace)
    }

    async fn has_address(&self, _namespace: &str, _ingress: &str) -> anyhow::Result<bool> {
        // A folder has no status, so no address ever appears.
        Ok(false)
    }

    async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        let mut objects = self.objects.lock().await;
        objects.retain(|key, _| key.namespace != name);
        self.write(&objects, name)
    }
}
