//! Reads all objects of a folder or a cluster once, without serving them, and asks their class handlers.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use routing::Config;
use routing::handler::HandlerAnswer;
use tokio::sync::{mpsc, watch};

use crate::cli::crypto::crypto_provider;
use crate::cli::handlers;
use crate::control::reload::Reload;
use crate::control::source::Update;
use crate::control::source::files::{self, PathPattern};
use crate::control::source::kube::{self as kubernetes, WatchScope};
use crate::plan::Planner;

/// Timeout of reading a cluster. The first Update waits up to 10 s of it for Secrets.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(30);

/// The folder that means standard input.
const STDIN: &str = "-";

/// Reads a folder as `gateway run` does at its start, with certificates. `-` is standard input.
///
/// # Errors
/// Returns an error if the folder cannot be read, or if a class has a handler and this machine cannot run WebAssembly.
pub fn read_folder(folder: &Path, routing: Config) -> anyhow::Result<Reload> {
    read_folder_except(folder, routing, &[])
}

/// Reads a folder as [`read_folder`] does, without the files that a pattern matches.
///
/// # Errors
/// As [`read_folder`].
pub fn read_folder_except(folder: &Path, routing: Config, exclude: &[PathPattern]) -> anyhow::Result<Reload> {
    read_answers(folder, routing, exclude).map(|(reload, _)| reload)
}

/// Reads a folder as [`read_folder_except`] does. Returns the answers of its class handlers, too.
///
/// # Errors
/// As [`read_folder`].
pub fn read_answers(
    folder: &Path,
    routing: Config,
    exclude: &[PathPattern],
) -> anyhow::Result<(Reload, Vec<HandlerAnswer>)> {
    if folder == Path::new(STDIN) {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).context("standard input cannot be read")?;
        let update = files::parse_text("stdin", text, &routing.classes)?;
        return apply_once(update, routing);
    }
    let (sender, mut updates) = mpsc::channel(1);
    let watcher = files::watch_except(folder, &routing.classes, exclude, sender)?;
    let update = updates.blocking_recv().context("the folder was not read")?;
    drop(watcher);
    apply_once(update, routing)
}

fn apply_once(update: Update, routing: Config) -> anyhow::Result<(Reload, Vec<HandlerAnswer>)> {
    let mut reload = Reload::new(crypto_provider()?, routing, Planner::offline())?;
    reload.apply(update, SystemTime::now());
    let answers = handlers::ask_all(&mut reload)?;
    Ok((reload, answers))
}

/// Reads the API of a cluster as `gateway run` does at its start. The zone of the gateway is that of `routing`.
///
/// # Errors
/// Returns an error if the kubeconfig file is malformed, or the API server does not return all objects within 30 s.
pub fn read_cluster(kubeconfig: &Path, scope: WatchScope, routing: Config) -> anyhow::Result<Reload> {
    let mut reload = Reload::new(crypto_provider()?, routing.clone(), Planner::offline())?;
    let (sender, mut updates) = mpsc::channel(1);
    let (pending_tx, pending) = watch::channel(None);
    let purpose = kubernetes::Purpose::Explain;
    let spec = kubernetes::WatchSpec { scope, routing, node: None, purpose, board: Arc::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let update = runtime.block_on(async {
        let client = kubernetes::build_client(Some(kubeconfig)).await?;
        tokio::select! {
            update = updates.recv() => update.context("the cluster was not read"),
            () = kubernetes::run(client, spec, sender, pending_tx) => bail!("the cluster was not read"),
            () = tokio::time::sleep(CLUSTER_TIMEOUT) => {
                let pending = pending.borrow().clone();
                bail!("after {CLUSTER_TIMEOUT:?} {}", pending.as_deref().unwrap_or("nothing was read"))
            }
        }
    })?;
    reload.apply(update, SystemTime::now());
    handlers::ask_all(&mut reload)?;
    Ok(reload)
}
