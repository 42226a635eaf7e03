//! Flags that several commands have.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use crate::cli::config::error::ConfigError;
use crate::cli::config::{Config, Flag};
use crate::cli::environment;
use crate::cli::identity::Identity;
use crate::cli::process::Source;
use crate::settings::Settings;

/// Returns an address of the loopback interface.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The source of objects. Without both flags, it is the cluster of this pod, or of the user's kubeconfig.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Read objects from the YAML files in this folder, and apply changes at once.
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    files: Option<PathBuf>,
    /// Read objects from the cluster of this kubeconfig file [default without --files: the cluster of this pod; outside
    /// of a pod KUBECONFIG, then ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl SourceArgs {
    /// Returns the default settings for this source. A folder is served on loopback addresses only.
    pub(crate) fn default_settings(&self) -> Settings {
        if self.files.is_some() {
            return Settings::default();
        }
        Settings::in_cluster(&environment::own_namespace())
    }

    /// Returns the source.
    pub(crate) fn source(self) -> Source {
        self.files.map_or(Source::Kubernetes(self.kubeconfig), Source::Files)
    }
}

/// The flags that set the configuration.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Configuration file. `gateway config` prints one with all settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for plaintext requests [default: 127.0.0.1:8080 with --files, else [::]:8080].
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Address for TLS requests [default: 127.0.0.1:8443 with --files, else [::]:8443].
    #[arg(long, value_name = "ADDR")]
    https: Option<String>,
    /// Address of the admin pages [default: 127.0.0.1:9080].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Address of /livez, /readyz and /metrics alone [default: none with --files, else [::]:9081].
    #[arg(long, value_name = "ADDR")]
    probe: Option<String>,
    /// Folder of modules that WasmPlugins in the gateway's namespace name by file:// [default: none].
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<String>,
    /// Number of worker threads [default: one for each available processor].
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Omit the reason from the gateway's own responses.
    #[arg(long)]
    no_reason_header: bool,
    /// Address (IP or DNS name) to write to the status of Ingresses. May be repeated.
    #[arg(long = "status-address", value_name = "ADDR")]
    status_addresses: Vec<String>,
    /// Service that exposes this gateway. Its addresses are written to the status of Ingresses, unless --status-address is
    /// given. `explain` shows it.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    status_service: Option<String>,
    /// Any other setting, by its key in the configuration file, for example `timeouts.keepAlive=30s`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    identity: Identity,
}

impl SettingsArgs {
    /// Merges file, environment and flags into the defaults.
    ///
    /// # Errors
    /// Returns all mistakes as one [`ConfigError`].
    pub(crate) fn load(&self, defaults: Settings) -> Result<Config, ConfigError> {
        Config::load(defaults, self.config.as_deref(), environment::variables(), &self.flags())
    }

    /// Returns the given flags with the keys that they set.
    fn flags(&self) -> Vec<Flag> {
        let hidden = self.no_reason_header.then(|| "hidden".to_owned());
        let addresses = (!self.status_addresses.is_empty()).then(|| self.status_addresses.join(","));
        let named = [
            ("--http", "listeners.http", &self.http),
            ("--https", "listeners.https", &self.https),
            ("--admin", "listeners.admin", &self.admin),
            ("--probe", "listeners.probe", &self.probe),
            ("--plugin-dir", "pluginDir", &self.plugin_dir),
            ("--workers", "workers", &self.workers),
            ("--no-reason-header", "responses.reasonHeader", &hidden),
            ("--status-address", "status.addresses", &addresses),
            ("--status-service", "status.service", &self.status_service),
        ];
        let flag = |name: &str, key: &str, value: &str| Flag {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let given =
            named.into_iter().filter_map(|(name, key, value)| Some(flag(name, key, value.as_deref()?)));
        let set = self.set.iter().map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            flag("--set", key, value)
        });
        given.chain(self.identity.flag()).chain(set).collect()
    }
}
