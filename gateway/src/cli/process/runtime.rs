//! The control runtime: its threads, and the pages that it serves.

use std::io;
use std::net::TcpListener;

use axum::Router;
use tokio::runtime::{Builder, Runtime};

/// Niceness of the control threads. Workers have 0, so that requests get the processor first.
const CONTROL_NICENESS: i32 = 5;

/// Builds the runtime for everything except requests.
///
/// # Errors
/// Returns an error if the system cannot create threads.
pub(super) fn build() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .on_thread_start(|| {
            // Linux has a niceness for each thread. If it cannot be set, control work has the priority of requests.
            let _ = rustix::process::nice(CONTROL_NICENESS);
        })
        .enable_all()
        .build()
}

/// Serves pages on sockets.
///
/// # Errors
/// Returns an error if a socket cannot be registered.
pub(super) fn serve(control: &Runtime, pages: &Router, sockets: Vec<TcpListener>) -> io::Result<()> {
    for socket in sockets {
        let listener = {
            let _inside = control.enter();
            tokio::net::TcpListener::from_std(socket)?
        };
        let pages = pages.clone();
        control.spawn(async move {
            if let Err(error) = axum::serve(listener, pages).await {
                tracing::error!(%error, "pages stopped");
            }
        });
    }
    Ok(())
}
