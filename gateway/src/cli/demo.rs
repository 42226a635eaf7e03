//! `gateway demo`: the gateway with sample apps, without a cluster.
//!
//! Writes Ingress YAML to a folder, starts the sample backends that it names and the same gateway as `gateway run`, sends
//! requests through it, and prints each request with its route. Then serves until it is stopped, and prints visitors'
//! requests and the routes that edits change. Not here: code that `gateway run` needs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use routing::RoutingTable;
use tokio::sync::mpsc::Receiver;

use self::apps::Apps;
use self::authority::Authority;
use self::changes::Snapshot;
use self::client::Client;
use self::log::ServedRequest;
use self::report::{Generation, Report};
use self::timeline::Timeline;
use crate::cli::args::loopback;
use crate::cli::folder::Folder;
use crate::cli::process::{Gateway, Options, Source};
use crate::cli::signals::Signals;
use crate::control::reload::ProblemView;
use crate::settings::{ListenerSettings, Settings};

mod apps;
mod authority;
mod changes;
mod client;
mod log;
mod report;
mod row;
mod samples;
mod timeline;

/// Time for the first routing table, which takes milliseconds.
const FIRST_TABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The hosts that have a certificate.
const TLS_HOSTS: [&str; 3] = ["app1.example.com", "app2.example.com", "shop.example.com"];

/// The flags of `gateway demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The folder for the YAML: new or empty, and kept at the end. Default: a temporary one.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// The address for plaintext. A free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8080))]
    http: SocketAddr,
    /// The address for TLS. A free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8443))]
    https: SocketAddr,
    /// The address of the admin pages. A free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
}

impl Demo {
    /// Prints the samples, then serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// No free ports, an unusable folder, or a closed standard output.
    pub(crate) fn execute(self) -> anyhow::Result<()> {
        let mut report = Report::to_stdout();
        // Dropped last: the gateway must not see its folder vanish.
        let folder = Folder::new(self.files.as_deref())?;
        let authority = Authority::new(&TLS_HOSTS)?;
        let apps = Apps::bind()?;
        for (name, text) in apps.files() {
            folder.write(&name, &text)?;
        }
        folder.write("tls.yaml", &authority.secret())?;
        folder.write("ca.crt", &authority.root_pem)?;

        let (gateway, reader) = Gateway::start_observed(&self.options(&folder, &mut report)?)?;
        apps.serve(gateway.control())?;
        let log = log::follow(reader)?;
        let show = show(Scene { gateway: &gateway, authority: &authority, folder: &folder }, log, report);
        let (signals, stop) = gateway.control().block_on(async {
            let mut signals = Signals::watch()?;
            tokio::select! {
                stop = signals.next(|| ()) => Ok((signals, stop)),
                ended = show => match ended {
                    Ok(()) => anyhow::bail!("the file source has ended"),
                    Err(error) => Err(error),
                },
            }
        })?;
        signals.stop_gateway(gateway, stop);
        Ok(())
    }

    /// Returns the gateway's options, with free ports in place of taken ones.
    fn options(&self, folder: &Folder, report: &mut Report<io::Stdout>) -> anyhow::Result<Options> {
        let mut addresses = [("http", self.http), ("https", self.https), ("admin", self.admin)];
        // Kept until all are known: two flags may name the same address.
        let mut listeners = Vec::new();
        let mut taken = Vec::new();
        for (name, address) in &mut addresses {
            match TcpListener::bind(*address) {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    taken.push(format!("{address} ({name})"));
                    address.set_port(0);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot listen on {address} ({name})"));
                }
            }
        }
        report.taken(&taken)?;
        let [(_, http), (_, https), (_, admin)] = addresses;
        let mut settings = Settings {
            listeners: ListenerSettings { http, https, admin, probe: None },
            access_log: log::settings()?,
            ..Settings::default()
        };
        // No load balancer has to learn that this gateway ends.
        settings.drain.delay = Duration::ZERO;
        Ok(Options::new(Source::Files(folder.path().to_owned()), settings))
    }
}

/// The parts of a running demo.
#[derive(Clone, Copy)]
struct Scene<'a> {
    gateway: &'a Gateway,
    authority: &'a Authority,
    folder: &'a Folder,
}

/// Something to print once it is in its place in time.
enum Event {
    /// A visitor's request ended.
    Request(Box<ServedRequest>),
    /// A table became live.
    Live { number: u64, table: RoutingTable, snapshot: Snapshot, problems: Vec<ProblemView> },
}

/// The printed state: what later events are compared with.
struct Screen {
    report: Report<io::Stdout>,
    table: RoutingTable,
    snapshot: Snapshot,
    problems: Vec<ProblemView>,
}

/// Prints the samples, then each visitor's request and each change. Returns when the gateway's source ends.
async fn show(
    scene: Scene<'_>,
    mut log: Receiver<ServedRequest>,
    mut report: Report<io::Stdout>,
) -> anyhow::Result<()> {
    let Scene { gateway, authority, folder } = scene;
    let mut generations = gateway.generations();
    let first = generations.wait_for(|number| *number > 0);
    let mut shown =
        *tokio::time::timeout(FIRST_TABLE_TIMEOUT, first).await.context("no routing table in time")??;
    let table = gateway.live().load().table.clone();

    let client = Client::new(gateway.http, gateway.https, authority.root.clone())?;
    let (samples, visitors) = samples::send(&client, &table, &mut log).await;
    report.samples(&table, &samples)?;
    let problems = gateway.problems().views();
    report.problems(&problems.iter().collect::<Vec<_>>())?;
    report.next_steps(&client, client::connect_address(gateway.admin), folder.path())?;
    report.flush()?;

    let mut screen = Screen { report, snapshot: Snapshot::new(&table), table, problems };
    let mut timeline = Timeline::default();
    for record in visitors {
        timeline.insert(record.ended(), Event::Request(Box::new(record)));
    }
    loop {
        let wait_time = timeline.wait_time(SystemTime::now());
        tokio::select! {
            Some(record) = log.recv() => timeline.insert(record.ended(), Event::Request(Box::new(record))),
            live = generations.wait_for(|number| *number > shown) => {
                let Ok(number) = live.map(|number| *number) else { return Ok(()) };
                shown = number;
                timeline.insert(SystemTime::now(), Event::now_live(number, gateway));
            }
            () = tokio::time::sleep(wait_time.unwrap_or_default()), if wait_time.is_some() => {}
        }
        while let Some(event) = timeline.pop(SystemTime::now()) {
            screen.print(event)?;
        }
    }
}

impl Event {
    /// Copies the state that is live, since endpoints change in place.
    fn now_live(number: u64, gateway: &Gateway) -> Self {
        let table = gateway.live().load().table.clone();
        let snapshot = Snapshot::new(&table);
        Self::Live { number, table, snapshot, problems: gateway.problems().views() }
    }
}

impl Screen {
    fn print(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Request(record) => self.report.record(&self.table, &record)?,
            Event::Live { number, table, snapshot, problems } => {
                let new: Vec<_> =
                    problems.iter().filter(|problem| !self.problems.contains(problem)).collect();
                let live = Generation { number, hosts: table.len(), problems: problems.len() };
                self.report.generation(live, &self.snapshot.changes(&snapshot), &new)?;
                (self.table, self.snapshot, self.problems) = (table, snapshot, problems);
            }
        }
        self.report.flush()
    }
}
