//! The second half of `cluster run`, inside the namespaces: starts everything, then the command.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::utils::Backoff;
use rustix::process::{Resource, Rlimit};

use super::control_plane::ControlPlane;
use super::image::ImageSet;
use super::layout::{self, ROOT};
use super::node::Nodes;
use super::pod::ClusterContext;
use super::{Inside, network, power, proxy};

/// Sets up the cluster, runs the command, and hands its exit code on. When this process ends, so does the first one
/// of the PID namespace, and with it all others.
///
/// # Errors
/// What kept the cluster from starting.
pub(super) fn run(inside: Inside) -> anyhow::Result<ExitCode> {
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    ensure!(parent.is_some_and(|id| id.get() == 1), "this half of `cluster run` is started by the other one");
    // Each address of a Service is a listener, each connection through it two sockets.
    let open_files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: open_files.maximum, ..open_files })?;
    // kube would otherwise look for a provider among two.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(serve(inside));
    runtime.shutdown_background();
    code
}

async fn serve(inside: Inside) -> anyhow::Result<ExitCode> {
    let logs = make_folders(inside.run.logs.as_deref()).await?;
    let log = std::sync::Mutex::new(fs::File::create(logs.join("cluster.log"))?);
    // What kube says of each request that wait_for_exit while the API server starts is not worth a line.
    let filter = tracing_subscriber::EnvFilter::new("info,kube_client=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log).init();
    network::create_cluster_network().await?;
    let mut control_plane = ControlPlane::start(&inside.parts, &logs).await?;
    let client = client(&ControlPlane::kubeconfig()).await?;
    let images = Arc::new(ImageSet::new(&inside.run.images)?);
    let shared = ClusterContext { client: client.clone(), images, logs: logs.clone() };
    let mut nodes = Nodes::start(shared, inside.run.nodes).await?;
    proxy::start(client, inside.run.nodes);
    let mut power_requests = power::listen()?;
    let mut command = command(&inside, &logs)?;
    loop {
        tokio::select! {
            ended = command.wait() => return Ok(code(ended?)),
            why = control_plane.wait_for_exit() => bail!(why),
            Some(request) = power_requests.recv() => request.execute(&mut control_plane, &mut nodes).await,
        }
    }
}

/// Makes the tmpfs that holds all files of the cluster; nobody outside sees it, and it ends with the namespace.
async fn make_folders(kept: Option<&Path>) -> anyhow::Result<PathBuf> {
    let mounted =
        tokio::process::Command::new("mount").args(["-t", "tmpfs", "cluster", "/run"]).status().await;
    ensure!(mounted.context("cannot start mount")?.success(), "cannot mount a tmpfs on /run");
    fs::create_dir_all("/run/netns")?;
    fs::create_dir_all(ROOT)?;
    let logs = kept.map_or_else(|| layout::path("logs"), Path::to_path_buf);
    fs::create_dir_all(&logs)?;
    Ok(logs)
}

fn command(inside: &Inside, logs: &Path) -> anyhow::Result<tokio::process::Child> {
    let (program, arguments) = inside.run.command.split_first().context("no command")?;
    let own = std::env::current_exe()?;
    let mut path = inside.parts.clone().into_os_string();
    if let Some(folder) = own.parent() {
        path.push(":");
        path.push(folder);
    }
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    tokio::process::Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", ControlPlane::kubeconfig())
        .env("CLUSTER_LOGS", logs)
        .env("PATH", path)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}

/// As shells say it: 128 and the signal's number for a command that a signal ended.
pub(super) fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}

/// A client for a kubeconfig.
///
/// # Errors
/// The file cannot be read or makes no sense.
pub(super) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// When a watch that broke is tried again: sooner than kube's own 30 s, since whoever stops the API server for a test
/// waits for it.
#[derive(Debug)]
pub(super) struct WatchBackoff;

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(300))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}
