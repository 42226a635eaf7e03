//! `gateway demo`: the gateway at work, without a cluster. One look at the terminal shows it.
//!
//! Writes Ingress YAML to a folder, starts the sample backends that it names and the same gateway as
//! `gateway run`, sends requests through it, prints which way they went, and serves until it is stopped.
//! Not here: anything that the gateway does for others.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use self::apps::Apps;
use self::authority::Authority;
use self::client::{Client, Request};
use self::folder::Folder;
use self::report::Visit;
use crate::cli::process::{Gateway, Options, Source};
use crate::cli::{Signals, loopback};
use crate::data::exchange::Scheme::{Http, Https};
use crate::observe::access_log::Destination;
use crate::settings::{ListenerSettings, Settings};

mod apps;
mod authority;
mod client;
mod folder;
mod report;

/// How long the first table may take; it is a matter of milliseconds.
const FIRST_TABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The hosts that have a certificate.
const TLS_HOSTS: [&str; 3] = ["app1.example.com", "app2.example.com", "shop.example.com"];

/// What `gateway demo` can be told.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where to write the YAML: a new or empty folder, which is kept. A temporary one if not given.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Where to listen for plaintext; a free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8080))]
    http: SocketAddr,
    /// Where to listen for TLS; a free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8443))]
    https: SocketAddr,
    /// Where to serve the admin pages; a free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
}

impl Demo {
    /// Shows everything, then serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// What kept it from being shown: no ports, no folder, an output that is closed.
    pub(crate) fn execute(self) -> anyhow::Result<()> {
        let mut out = io::stdout();
        // Dropped last: the gateway must not see its folder vanish.
        let folder = Folder::new(self.files.as_deref())?;
        let authority = Authority::new(&TLS_HOSTS)?;
        let apps = Apps::bind()?;
        for (name, text) in apps.files() {
            folder.write(&name, &text)?;
        }
        folder.write("tls.yaml", &authority.secret())?;
        folder.write("ca.crt", &authority.root_pem)?;

        let gateway = Gateway::start(&self.options(&folder, &mut out)?)?;
        apps.serve(gateway.control())?;
        let (signals, stop) = gateway.control().block_on(async {
            let mut signals = Signals::watch()?;
            tokio::select! {
                stop = signals.next() => Ok((signals, stop)),
                failed = show(&gateway, &authority, &folder, &mut out) => match failed {
                    Ok(()) => anyhow::bail!("the file source has ended"),
                    Err(error) => Err(error),
                },
            }
        })?;
        signals.end(gateway, stop);
        Ok(())
    }

    /// The gateway's options, with free ports in the place of taken ones.
    fn options(&self, folder: &Folder, out: &mut impl Write) -> anyhow::Result<Options> {
        let mut addresses = [("http", self.http), ("https", self.https), ("admin", self.admin)];
        // Held until all are known: two flags may name the same address.
        let mut listeners = Vec::new();
        for (name, address) in &mut addresses {
            match TcpListener::bind(*address) {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    writeln!(out, "{address} ({name}) is taken: a free port is used instead.")?;
                    address.set_port(0);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot listen on {address} ({name})"));
                }
            }
        }
        let [(_, http), (_, https), (_, admin)] = addresses;
        let mut settings = Settings {
            listeners: ListenerSettings { http, https, admin, probe: None },
            ..Settings::default()
        };
        // Nobody balances between demos, so nobody needs time to learn that this one ends.
        settings.drain.delay = Duration::ZERO;
        // The demo tells by itself which way requests went.
        settings.access_log.destination = Destination::Off;
        Ok(Options { source: Source::Files(folder.path().to_owned()), settings })
    }
}

/// Prints everything, then each change; ends with the gateway's source.
async fn show(
    gateway: &Gateway,
    authority: &Authority,
    folder: &Folder,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut generations = gateway.generations();
    let first = generations.wait_for(|number| *number > 0);
    let mut shown =
        *tokio::time::timeout(FIRST_TABLE_TIMEOUT, first).await.context("no routing table in time")??;
    let live = gateway.live();
    let table = live.load().table.clone();
    report::table(out, &table)?;

    let client = Client::new(gateway.http, gateway.https, authority.root.clone())?;
    let mut visits = Vec::new();
    for request in sample_requests() {
        let response = client.send(&request).await;
        visits.push(Visit::new(&table, client.url(&request), &request, response));
    }
    report::visits(out, &visits)?;
    report::problems(out, &gateway.problems().views())?;
    report::next_steps(out, &client, client::connect_address(gateway.admin), folder.path())?;
    out.flush()?;

    while let Ok(number) = generations.wait_for(|number| *number > shown).await.map(|number| *number) {
        shown = number;
        report::generation(out, number, live.load().table.len(), &gateway.problems().views())?;
        out.flush()?;
    }
    Ok(())
}

/// The requests that show what there is: two apps with the same path, over both protocols; one host with two
/// Services; ten further apps; and a host that nobody has.
fn sample_requests() -> Vec<Request> {
    let request = |scheme, host: &str, path| Request { scheme, host: host.to_owned(), path };
    let mut requests = Vec::new();
    for scheme in [Http, Http, Https] {
        for host in ["app1.example.com", "app2.example.com"] {
            requests.push(request(scheme, host, "/api/products"));
        }
    }
    requests.push(request(Http, "shop.example.com", "/catalog/boots"));
    requests.push(request(Https, "shop.example.com", "/checkout/cart"));
    requests.extend(apps::numbered_names().map(|name| request(Http, &format!("{name}.example.com"), "/")));
    requests.push(request(Http, "nobody.example.com", "/"));
    requests
}
