//! `gateway wait ingress/NAMESPACE/NAME`: asks running gateways until the Ingress is live or refused.
//!
//! Not here: how an Ingress stands, and when that is certain.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use routing::object::{Name, ResourceVersion};

use super::Standing;
use super::verdict::{Looks, Verdict};
use crate::cli::config::{read_service_name, read_time};
use crate::cli::pods::Pods;
use crate::cli::{self, loopback, pages};

/// It is live.
const LIVE: u8 = 0;
/// It is refused.
const REFUSED: u8 = 1;
/// Neither until the time was over; clap uses the same code for a command line that it cannot read.
const TIMED_OUT: u8 = 2;

/// How long to wait between two looks. A look costs the gateway next to nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where each look is a list of pods and a connection to each.
const PAUSE_IN_CLUSTER: Duration = Duration::from_millis(250);

/// What `--help` says of how it ends.
const EXIT_CODES: &str = "\
It ends with 0 if the Ingress is live: the table that serves holds it as it was written, whether endpoints are ready \
or not. With 1 if it is \
refused, as a whole or in part: its Problems are printed once they have stood for a second, since a Service may \
come after its Ingress. With 2 if neither was so in time, or the command line is wrong.";

/// `gateway wait`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Wait {
    /// What to wait for.
    #[arg(value_name = "ingress/NAMESPACE/NAME", value_parser = ingress)]
    target: Name,
    /// Wait for this `metadata.resourceVersion` or a later one, as `kubectl apply -o jsonpath` prints it; if not given,
    /// any version will do.
    #[arg(long, value_name = "RV")]
    resource_version: Option<ResourceVersion>,
    /// Ask the running gateway whose admin pages are here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// Ask all gateways that are ready in the cluster that this file names; needs rights to list their pods and to
    /// forward ports to them.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: where the gateways are, if not in namespace gateway-system.
    #[arg(long, value_name = "NAMESPACE", requires = "kubeconfig")]
    gateway_namespace: Option<String>,
    /// How long to wait, with a unit.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = read_time)]
    timeout: Duration,
}

fn ingress(text: &str) -> Result<Name, String> {
    let wrong = || "an Ingress is named as ingress/NAMESPACE/NAME".to_owned();
    read_service_name(text.strip_prefix("ingress/").ok_or_else(wrong)?).map_err(|_| wrong())
}

impl Wait {
    /// Waits, and says with which code the process ends.
    pub fn execute(&self) -> ExitCode {
        match self.wait().and_then(|verdict| self.tell(&verdict)) {
            Ok(code) => code.into(),
            Err(error) => {
                cli::complain("wait", &error);
                TIMED_OUT.into()
            }
        }
    }

    /// Looks until it is certain.
    fn wait(&self) -> anyhow::Result<Verdict> {
        let end = Instant::now() + self.timeout;
        let door = self.door()?;
        let mut looks = Looks::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // A timeout of zero still looks once, and the last look is one too.
            let patience = left.clamp(door.least_patience(), PATIENCE);
            let now = self.look(&door, patience);
            let standings = now.as_deref().unwrap_or_default();
            if let Some(verdict) = looks.take(Instant::now(), standings) {
                return Ok(verdict);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = || now.as_deref().map_or_else(|error| format!("{error:#}"), not_heard);
                let waited = || anyhow!("not live after {:?}: {}", self.timeout, why());
                return looks.close().ok_or_else(waited);
            }
            pause(door.pause().min(left));
        }
    }

    fn door(&self) -> anyhow::Result<Door> {
        let Some(kubeconfig) = &self.kubeconfig else { return Ok(Door::Admin(self.admin)) };
        let namespace = self.gateway_namespace.clone().unwrap_or_else(cli::own_namespace);
        Ok(Door::Cluster(Box::new(Pods::new(kubeconfig, namespace)?)))
    }

    /// Asks how it stands, at each gateway there is.
    fn look(&self, door: &Door, patience: Duration) -> anyhow::Result<Vec<Standing>> {
        let Name { namespace, name } = &self.target;
        let mut target = format!(
            "/ingress?output=json&namespace={}&name={}",
            pages::encode(namespace),
            pages::encode(name)
        );
        if let Some(version) = self.resource_version {
            target += &format!("&resourceVersion={version}");
        }
        let read = |(status, text): (u16, String)| match status {
            200 => Ok(serde_json::from_str(&text)?),
            _ => bail!("the gateway answers {status}: {}", text.trim_end()),
        };
        door.get(&target, patience)?.into_iter().map(read).collect()
    }

    /// Prints what came of it, and gives the code for it.
    fn tell(&self, verdict: &Verdict) -> anyhow::Result<u8> {
        let (text, code) = match verdict {
            Verdict::Live => (format!("Ingress {} is live\n", self.target), LIVE),
            Verdict::Refused(standings) => {
                let lines = standings.iter().flat_map(lines).collect::<std::collections::BTreeSet<_>>();
                (lines.into_iter().map(|line| line + "\n").collect(), REFUSED)
            }
        };
        std::io::stdout().lock().write_all(text.as_bytes()).context("cannot print")?;
        Ok(code)
    }
}

/// How gateways are asked.
enum Door {
    /// The one whose admin pages are here.
    Admin(SocketAddr),
    /// All of a cluster.
    Cluster(Box<Pods>),
}

impl Door {
    /// Status and body of a page, from each gateway.
    fn get(&self, target: &str, patience: Duration) -> anyhow::Result<Vec<(u16, String)>> {
        match self {
            Self::Admin(admin) => {
                let unreached = || format!("no gateway answers at {admin} (--admin ADDR asks elsewhere)");
                Ok(vec![pages::get(*admin, target, patience).with_context(unreached)?])
            }
            Self::Cluster(pods) => pods.get(target, patience),
        }
    }

    /// So long a look may take at the end: one at a cluster is some requests, and a tenth of a second.
    fn least_patience(&self) -> Duration {
        match self {
            Self::Admin(_) => PAUSE,
            Self::Cluster(_) => Duration::from_secs(2),
        }
    }

    fn pause(&self) -> Duration {
        match self {
            Self::Admin(_) => PAUSE,
            Self::Cluster(_) => PAUSE_IN_CLUSTER,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the gateway is another process and cannot wake this one")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What is wrong, a line each.
fn lines(standing: &Standing) -> impl Iterator<Item = String> {
    standing.problems.iter().map(ToString::to_string).chain(standing.why.clone())
}

/// Why those are still waited for that have not heard of it.
fn not_heard(standings: &[Standing]) -> String {
    let whys = standings.iter().filter_map(|standing| standing.why.as_deref());
    whys.collect::<Vec<_>>().join("; ")
}
