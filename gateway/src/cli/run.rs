//! `gateway run`: serves the Ingresses of a folder or a cluster until a signal.

use std::io;

use clap::Args;

use crate::cli::args::{SettingsArgs, SourceArgs};
use crate::cli::process::{Gateway, Options};
use crate::cli::signals::Signals;

/// `gateway run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Run {
    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Returns an error if the configuration is wrong, an address cannot be bound, or the source cannot be read.
    pub fn execute(self) -> anyhow::Result<()> {
        let settings = self.settings.load(self.source.default_settings())?.settings;
        let gateway = Gateway::start(&Options::new(self.source.source(), settings))?;
        tracing::info!(http = %gateway.http, https = %gateway.https, admin = %gateway.admin, "listening");
        let (signals, stop) = gateway.control().block_on(async {
            let mut signals = Signals::watch()?;
            let stop = signals.next(|| gateway.reopen_logs()).await;
            io::Result::Ok((signals, stop))
        })?;
        tracing::info!(?stop, "stopping");
        signals.stop_gateway(gateway, stop);
        Ok(())
    }
}
