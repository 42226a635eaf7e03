//! `cluster stop` and `cluster start`: power cuts on demand, asked for over a socket in the cluster's tmpfs.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::control_plane::ControlPlane;
use super::layout;
use super::node::Nodes;

/// What can lose its power.
const API_SERVER: &str = "api-server";

/// A question longer than this is none.
const LONGEST_QUESTION: u64 = 256;

/// What is to be switched.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// `api-server`, or a node such as `node-2`.
    #[arg(value_name = "NAME")]
    name: String,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Stop,
    Start,
}

/// Asks the running cluster, and waits until it is done.
///
/// # Errors
/// There is no cluster around, or it has no such part.
pub(super) fn ask(verb: Verb, target: Target) -> anyhow::Result<ExitCode> {
    let mut stream = StdStream::connect(layout::path("control"))
        .context("no cluster here: this command works inside `conformance cluster run` only")?;
    let verb = match verb {
        Verb::Stop => "stop",
        Verb::Start => "start",
    };
    write!(stream, "{verb} {}", target.name)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "ok", "{answer}");
    Ok(ExitCode::SUCCESS)
}

/// A switch that somebody asked for.
pub(super) struct Switch {
    verb: Verb,
    name: String,
    asker: UnixStream,
}

/// Takes questions from now on.
///
/// # Errors
/// The socket cannot be made.
pub(super) fn listen() -> anyhow::Result<mpsc::Receiver<Switch>> {
    let listener = UnixListener::bind(layout::path("control"))?;
    let (sender, switches) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((asker, _)) = listener.accept().await {
            match read(asker).await {
                Ok(switch) => {
                    if sender.send(switch).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "a question that was none"),
            }
        }
    });
    Ok(switches)
}

async fn read(mut asker: UnixStream) -> anyhow::Result<Switch> {
    let mut text = String::new();
    (&mut asker).take(LONGEST_QUESTION).read_to_string(&mut text).await?;
    let (verb, name) = text.split_once(' ').context("no verb")?;
    let verb = match verb {
        "stop" => Verb::Stop,
        "start" => Verb::Start,
        _ => bail!("unknown verb"),
    };
    Ok(Switch { verb, name: name.to_owned(), asker })
}

impl Switch {
    /// Does what was asked, and answers.
    pub(super) async fn apply(mut self, control_plane: &mut ControlPlane, nodes: &mut Nodes) {
        let done = match (self.name.as_str(), self.verb) {
            (API_SERVER, Verb::Stop) => control_plane.stop_api_server().await,
            (API_SERVER, Verb::Start) => control_plane.start_api_server().await,
            (name, Verb::Stop) => nodes.stop(name).await,
            (name, Verb::Start) => nodes.start_again(name).await,
        };
        let answer = done.err().map_or_else(|| "ok".to_owned(), |error| format!("{error:#}"));
        // Who asked may have given up.
        let _ = self.asker.write_all(answer.as_bytes()).await;
    }
}
