//! Control plane: starts etcd, API server, controller manager and scheduler, with their keys and flags.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::client;
use super::layout::{self, API_PORT, API_SERVICE_ADDRESS, HOST_ADDRESS, SERVICE_RANGE};

/// Token of the admin user, in the group `system:masters`. It is valid only in this network namespace.
const TOKEN: &str = "cluster-admin";

/// Time for the API server to become ready. It takes 5 s on two idle cores.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Seconds until pods are evicted from a lost node. The default is 300.
const EVICTION_SECONDS: u32 = 3;

/// The running programs. Dropping this kills them.
pub(super) struct ControlPlane {
    folder: PathBuf,
    parts: PathBuf,
    logs: PathBuf,
    etcd: Child,
    /// `None` while it is stopped on request.
    api_server: Option<Child>,
    controllers: [Child; 2],
}

impl ControlPlane {
    /// Starts all programs and waits until the API server is ready.
    ///
    /// # Errors
    /// A program does not start or exits. The error contains the end of its log.
    ///
    /// # Cancellation
    /// Dropping the future kills the programs.
    pub(super) async fn start(parts: &Path, logs: &Path) -> anyhow::Result<Self> {
        let (parts, logs, folder) = (parts.to_path_buf(), logs.to_path_buf(), layout::path("control-plane"));
        fs::create_dir_all(&folder)?;
        write_keys(&folder)?;
        let start = |name: &str, flags: Vec<String>| spawn(&parts, &logs, name, flags);
        let etcd = start("etcd", etcd_flags(&folder))?;
        let mut api_server = start("kube-apiserver", api_server_flags(&folder, &logs))?;
        wait_until_ready(&mut api_server, &logs).await?;
        let controllers = start_controllers(&parts, &logs, &folder)?;
        Ok(Self { folder, parts, logs, etcd, api_server: Some(api_server), controllers })
    }

    /// Kills the API server, or does nothing if it is stopped.
    ///
    /// # Errors
    /// The process cannot be killed.
    ///
    /// # Cancellation
    /// Dropping the future kills the API server too.
    pub(super) async fn stop_api_server(&mut self) -> anyhow::Result<()> {
        match self.api_server.take() {
            Some(mut api_server) => Ok(api_server.kill().await?),
            None => Ok(()),
        }
    }

    /// Starts the API server again and waits until it is ready.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    ///
    /// # Cancellation
    /// Dropping the future leaves the API server stopped.
    pub(super) async fn start_api_server(&mut self) -> anyhow::Result<()> {
        self.stop_api_server().await?;
        let flags = api_server_flags(&self.folder, &self.logs);
        let mut api_server = spawn(&self.parts, &self.logs, "kube-apiserver", flags)?;
        wait_until_ready(&mut api_server, &self.logs).await?;
        self.api_server = Some(api_server);
        // Restart the controllers: otherwise they reconnect only every 30 s. In a real cluster they lose their lease
        // without an API server, exit, and are started again.
        for controller in &mut self.controllers {
            controller.kill().await?;
        }
        self.controllers = start_controllers(&self.parts, &self.logs, &self.folder)?;
        Ok(())
    }

    /// Waits until a program exits unexpectedly, and returns a message with the end of its log.
    ///
    /// The controllers may exit while the API server is stopped on request. They start again with it.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub(super) async fn wait_for_exit(&mut self) -> String {
        let [controller_manager, scheduler] = &mut self.controllers;
        let with_api_server = async {
            let Some(api_server) = &mut self.api_server else { return std::future::pending().await };
            tokio::select! {
                ended = api_server.wait() => ("kube-apiserver", ended),
                ended = controller_manager.wait() => ("kube-controller-manager", ended),
                ended = scheduler.wait() => ("kube-scheduler", ended),
            }
        };
        let (name, ended) = tokio::select! {
            ended = self.etcd.wait() => ("etcd", ended),
            ended = with_api_server => ended,
        };
        format!("{name} ended: {ended:?}; {}", log_tail(&self.logs, name))
    }

    /// Returns the path of the kubeconfig.
    pub(super) fn kubeconfig() -> PathBuf {
        layout::path("kubeconfig")
    }
}

fn start_controllers(parts: &Path, logs: &Path, folder: &Path) -> anyhow::Result<[Child; 2]> {
    Ok([
        spawn(parts, logs, "kube-controller-manager", controller_manager_flags(folder))?,
        spawn(parts, logs, "kube-scheduler", scheduler_flags())?,
    ])
}

fn spawn(parts: &Path, logs: &Path, name: &str, flags: Vec<String>) -> anyhow::Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(logs.join(format!("{name}.log")))?;
    Command::new(parts.join(name))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

fn etcd_flags(folder: &Path) -> Vec<String> {
    let data = folder.join("etcd");
    vec![
        format!("--data-dir={}", data.display()),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        // All data is in memory anyway.
        "--unsafe-no-fsync=true".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn api_server_flags(folder: &Path, logs: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--bind-address={HOST_ADDRESS}"),
        format!("--advertise-address={HOST_ADDRESS}"),
        format!("--secure-port={API_PORT}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        format!("--audit-policy-file={}", file("audit.json")),
        format!("--audit-log-path={}", logs.join("audit.log").display()),
        // The names of the nodes are not in DNS.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        // This program's own kube-proxy serves the Service `kubernetes`.
        "--endpoint-reconciler-type=none".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--default-not-ready-toleration-seconds={EVICTION_SECONDS}"),
        format!("--default-unreachable-toleration-seconds={EVICTION_SECONDS}"),
    ]
}

fn controller_manager_flags(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--kubeconfig={}", ControlPlane::kubeconfig().display()),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        "--leader-elect=false".to_owned(),
        // Detect a lost node within seconds. The default takes 50 s.
        "--node-monitor-period=1s".to_owned(),
        "--node-monitor-grace-period=6s".to_owned(),
        // Nodes per second whose pods may be evicted. The default of 0.1 delays the second lost node by 10 s.
        "--node-eviction-rate=10".to_owned(),
        "--secondary-node-eviction-rate=10".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

fn scheduler_flags() -> Vec<String> {
    vec![
        format!("--kubeconfig={}", ControlPlane::kubeconfig().display()),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

/// Creates a CA, the API server's certificate, the keys of service accounts, and the kubeconfig.
fn write_keys(folder: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "conformance cluster");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
    let mut server = CertificateParams::new(names.map(str::to_owned))?;
    for address in [IpAddr::from(HOST_ADDRESS), API_SERVICE_ADDRESS.into()] {
        server.subject_alt_names.push(SanType::IpAddress(address));
    }
    let server_key = KeyPair::generate()?;
    let server = server.signed_by(&server_key, &authority)?;
    let accounts = KeyPair::generate()?;
    let ca = authority.pem();
    fs::write(folder.join("ca.crt"), &ca)?;
    fs::write(folder.join("server.crt"), server.pem())?;
    fs::write(folder.join("server.key"), server_key.serialize_pem())?;
    fs::write(folder.join("accounts.key"), accounts.serialize_pem())?;
    fs::write(folder.join("accounts.pub"), accounts.public_key_pem())?;
    fs::write(folder.join("audit.json"), audit_policy().to_string())?;
    fs::write(folder.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n"))?;
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "cluster",
            "cluster": {
                "server": format!("https://{HOST_ADDRESS}:{API_PORT}"),
                "certificate-authority": folder.join("ca.crt"),
            },
        }],
        "users": [{ "name": "admin", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "cluster", "context": { "cluster": "cluster", "user": "admin" } }],
        "current-context": "cluster",
    });
    fs::write(ControlPlane::kubeconfig(), format!("{config:#}"))?;
    Ok(())
}

/// Returns the policy of `audit.log`: requests of service accounts outside kube-system.
fn audit_policy() -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"] },
            { "level": "Metadata", "userGroups": ["system:serviceaccounts"] },
        ],
    })
}

/// Polls `/readyz` until it succeeds, the API server exits, or the timeout expires.
async fn wait_until_ready(api_server: &mut Child, logs: &Path) -> anyhow::Result<()> {
    let client = client::connect(&ControlPlane::kubeconfig()).await?;
    let limit = Instant::now() + READY_TIMEOUT;
    loop {
        let request = axum::http::Request::get("/readyz").body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > limit => {
                bail!("the API server is not ready: {error}; {}", log_tail(logs, "kube-apiserver"));
            }
            Err(_) => {}
        }
        if let Some(status) = api_server.try_wait()? {
            bail!("the API server ended: {status}; {}", log_tail(logs, "kube-apiserver"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the end of a program's log for an error message.
fn log_tail(logs: &Path, name: &str) -> String {
    let text = fs::read_to_string(logs.join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    format!("end of its log: {}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}
