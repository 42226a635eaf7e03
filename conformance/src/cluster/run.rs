//! The second half of `cluster run`, inside the namespaces: starts the cluster, then the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Resource, Rlimit};

use super::args::InsideArgs;
use super::client;
use super::control_plane::ControlPlane;
use super::image::ImageSet;
use super::layout::{self, ROOT};
use super::node::Nodes;
use super::pod::ClusterContext;
use super::{network, power, proxy, sandbox};

/// Starts the cluster, runs the command, and returns its exit code.
///
/// The end of this process ends the init process of the PID namespace, and thereby all others.
///
/// # Errors
/// The cluster does not start, or one of its programs exits.
pub(super) fn run(inside: InsideArgs) -> anyhow::Result<ExitCode> {
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    ensure!(parent.is_some_and(|id| id.get() == 1), "`cluster inside` is started by `cluster run` only");
    // Each Service address needs a listener, and each connection through it two sockets.
    let open_files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: open_files.maximum, ..open_files })?;
    // kube panics if rustls has two providers and none is installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(serve(inside));
    runtime.shutdown_background();
    code
}

async fn serve(inside: InsideArgs) -> anyhow::Result<ExitCode> {
    let logs = make_folders(inside.run.logs.as_deref()).await?;
    let log = std::sync::Mutex::new(fs::File::create(logs.join("cluster.log"))?);
    // kube logs every request that fails while the API server starts.
    let filter = tracing_subscriber::EnvFilter::new("info,kube_client=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log).init();
    network::create_cluster_network().await?;
    let mut control_plane = ControlPlane::start(&inside.parts, &logs).await?;
    let client = client::connect(&ControlPlane::kubeconfig()).await?;
    let images = Arc::new(ImageSet::new(&inside.run.images)?);
    let shared = ClusterContext { client: client.clone(), images, logs: logs.clone() };
    let mut nodes = Nodes::start(shared, inside.run.nodes).await?;
    proxy::start(client, inside.run.nodes);
    let mut power_requests = power::listen()?;
    let mut command = command(&inside, &logs)?;
    loop {
        tokio::select! {
            ended = command.wait() => return Ok(sandbox::exit_code(ended?)),
            why = control_plane.wait_for_exit() => bail!(why),
            Some(request) = power_requests.recv() => request.execute(&mut control_plane, &mut nodes).await,
        }
    }
}

/// Mounts the tmpfs for all files of the cluster. It is visible only in this mount namespace and ends with it.
async fn make_folders(logs: Option<&Path>) -> anyhow::Result<PathBuf> {
    let mounted =
        tokio::process::Command::new("mount").args(["-t", "tmpfs", "cluster", "/run"]).status().await;
    ensure!(mounted.context("cannot start mount")?.success(), "cannot mount a tmpfs on /run");
    fs::create_dir_all("/run/netns")?;
    fs::create_dir_all(ROOT)?;
    let logs = logs.map_or_else(|| layout::path("logs"), Path::to_path_buf);
    fs::create_dir_all(&logs)?;
    Ok(logs)
}

fn command(inside: &InsideArgs, logs: &Path) -> anyhow::Result<tokio::process::Child> {
    let (program, arguments) = inside.run.command.split_first().context("no command")?;
    let own = std::env::current_exe()?;
    let mut path = inside.parts.clone().into_os_string();
    if let Some(folder) = own.parent() {
        path.push(":");
        path.push(folder);
    }
    path.push(":");
    path.push(&inside.tools);
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
