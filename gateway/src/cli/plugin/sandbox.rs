//! A gateway in this process with one route and one plugin, for the commands of plugin authors.
//!
//! Not here: the endpoint of the route, and what the commands show.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::PluginConfig;
use plugin_host::GuestObserver;
use routing::Severity;
use routing::object::Name;
use serde_json::{Value, json};

use crate::cli::folder::Folder;
use crate::cli::process::{Gateway, Options, Source};
use crate::control::plugin::{PluginState, PluginStatus};
use crate::observe::access_log::{Destination, LogSettings};
use crate::settings::{ListenerSettings, Settings};

/// The namespace of all objects: the gateway's own, whose plugins may call all Services.
const NAMESPACE: &str = "gateway-system";

/// The name of the plugin.
const PLUGIN: &str = "plugin";

/// File of the module, in the folder.
pub(super) const MODULE: &str = "plugin.wasm";

/// File of the objects, in the folder.
const OBJECTS: &str = "objects.yaml";

/// Time until the first routing table is live, and until the plugin is ready. Compiling takes about a second for each
/// MiB.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time of one call. Longer than that of a gateway: machines of authors and of continuous integration are slow at times.
const CALL_TIMEOUT: &str = "1s";

/// A route with a plugin.
pub(super) struct SandboxRoute<'a> {
    /// The endpoint of the route.
    pub(super) endpoint: SocketAddr,
    /// Configuration of the plugin. `None`: none.
    pub(super) config: Option<&'a PluginConfig>,
    /// Upstreams of callouts, as the plugin names them, with their endpoints.
    pub(super) upstreams: &'a [(String, SocketAddr)],
}

impl SandboxRoute<'_> {
    /// Writes the objects into the folder. A gateway that serves it reloads.
    ///
    /// # Errors
    /// The name of an upstream is malformed, or the file cannot be written.
    pub(super) fn write(&self, folder: &Folder) -> anyhow::Result<()> {
        let mut spec = json!({"url": format!("file://{MODULE}"), "limits": {"callTimeout": CALL_TIMEOUT}});
        if let (Some(config), Value::Object(spec)) = (self.config, &mut spec) {
            spec.insert("pluginConfig".to_owned(), serde_json::to_value(config)?);
        }
        let mut objects = vec![service(&Name::new(NAMESPACE, "endpoint"), 80, self.endpoint), ingress()];
        let mut allowed = Vec::new();
        for (to, endpoint) in self.upstreams {
            let Some((name, port)) = routing::parse_upstream(to, &NAMESPACE.into()) else {
                bail!(
                    "{to:?} is no upstream: write NAME:PORT, NAMESPACE/NAME:PORT or outbound|PORT||NAME.NAMESPACE.svc.cluster.local"
                );
            };
            objects.push(service(&name, port.get(), *endpoint));
            allowed.push(to);
        }
        if let Value::Object(spec) = &mut spec {
            spec.insert("allowedUpstreams".to_owned(), json!(allowed));
        }
        objects.push(json!({
            "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "WasmPlugin",
            "metadata": {"name": PLUGIN, "namespace": NAMESPACE}, "spec": spec,
        }));
        // JSON is YAML.
        let documents: Vec<_> = objects.iter().map(Value::to_string).collect();
        folder.replace(OBJECTS, documents.join("\n---\n").as_bytes())
    }
}

/// Returns the options of a gateway that serves a folder. It has one worker, and logs no requests.
pub(super) fn options(folder: &Folder, http: SocketAddr, observer: Arc<dyn GuestObserver>) -> Options {
    let any_port = (Ipv4Addr::LOCALHOST, 0).into();
    let mut settings = Settings {
        listeners: ListenerSettings { http, https: any_port, admin: any_port, probe: None },
        access_log: LogSettings { destination: Destination::Off, ..LogSettings::default() },
        workers: Some(1),
        ..Settings::default()
    };
    NAMESPACE.clone_into(&mut settings.routing.namespace);
    // No load balancer has to learn that this gateway ends.
    settings.drain.delay = Duration::ZERO;
    let mut options = Options::new(Source::Files(folder.path().to_owned()), settings);
    options.observer = Some(observer);
    options
}

/// Waits until the plugin serves.
///
/// # Errors
/// The plugin is refused, or an object has a Problem.
pub(super) fn wait_ready(gateway: &Gateway) -> anyhow::Result<()> {
    gateway.wait(1, READY_TIMEOUT)?;
    let mut changes = gateway.plugins().changes();
    loop {
        let problems = gateway.problems().views_where(|problem| problem.reason.severity() != Severity::Note);
        if let Some(problem) = problems.first() {
            bail!("{}", problem.message);
        }
        match status(gateway).map(|status| status.state) {
            Some(PluginState::Ready) => return Ok(()),
            Some(PluginState::Refused(reason)) => bail!("the plugin is refused: {reason}"),
            _ => {}
        }
        let changed = async { tokio::time::timeout(READY_TIMEOUT, changes.changed()).await };
        gateway.control().block_on(changed).context("the plugin does not load in time")??;
    }
}

/// Returns the status of the plugin. Returns `None` if the gateway does not know it yet.
pub(super) fn status(gateway: &Gateway) -> Option<PluginStatus> {
    gateway.plugins().status(&Name::new(NAMESPACE, PLUGIN))
}

fn service(name: &Name, port: u16, endpoint: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": *name.name, "namespace": *name.namespace,
            "annotations": {"wasm-gateway.dev/endpoints": endpoint.to_string()},
        },
        "spec": {"ports": [{"port": port}]},
    })
}

/// Returns an Ingress for all requests, whatever their host is.
fn ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "all", "namespace": NAMESPACE},
        "spec": {"ingressClassName": "gateway", "rules": [{"http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "endpoint", "port": {"number": 80}}},
        }]}}]},
    })
}
