//! `gateway wait ingress/NAMESPACE/NAME`: polls running gateways until the Ingress is live or refused.
//!
//! Not here: the status of an Ingress, and when the result is certain (`verdict`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use routing::object::{Name, ResourceVersion};

use super::IngressStatus;
use super::verdict::{PollHistory, Verdict};
use crate::cli::args::loopback;
use crate::cli::config::{read_service_name, read_time};
use crate::cli::environment;
use crate::cli::output::{print, print_error};
use crate::cli::pages::{self, Page};
use crate::cli::pods::Pods;

/// The Ingress is live.
const LIVE: u8 = 0;
/// The Ingress is refused.
const REFUSED: u8 = 1;
/// The timeout elapsed before. clap has the same code for a wrong command line.
const TIMED_OUT: u8 = 2;

/// Time between two polls of one gateway. A poll takes the gateway some microseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Time between two polls of a cluster. Each lists the pods and connects to each of them.
const CLUSTER_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum timeout of one poll.
const MAX_POLL_TIMEOUT: Duration = Duration::from_secs(10);

/// Minimum timeout of the last poll of a cluster: some requests, which take about 0.1 s.
const MIN_CLUSTER_POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0: the Ingress is live, that is, the live table has all of it, whether endpoints are ready or not. \
1: the Ingress, or a part of it, is refused. Its Problems are printed after they were present for a second, because \
a Service may follow its Ingress. 2: the timeout elapsed, or the command line is wrong.";

/// `gateway wait`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Wait {
    /// The Ingress to wait for.
    #[arg(value_name = "ingress/NAMESPACE/NAME", value_parser = parse_ingress)]
    ingress: Name,
    /// Wait for this `metadata.resourceVersion` or a later one, as `kubectl apply -o jsonpath` prints it. Default: any
    /// version.
    #[arg(long, value_name = "RV")]
    resource_version: Option<ResourceVersion>,
    /// Poll the gateway with this admin address.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// Poll all ready gateways in the cluster of this kubeconfig file. Needs the rights to list their pods and to forward
    /// ports to them.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: namespace of the gateways. Default: gateway-system.
    #[arg(long, value_name = "NAMESPACE", requires = "kubeconfig")]
    gateway_namespace: Option<String>,
    /// Maximum time to wait, with a unit.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = read_time)]
    timeout: Duration,
}

/// The text is not `ingress/NAMESPACE/NAME`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an Ingress is named as ingress/NAMESPACE/NAME")]
struct NotAnIngress;

fn parse_ingress(text: &str) -> Result<Name, NotAnIngress> {
    let name = text.strip_prefix("ingress/").ok_or(NotAnIngress)?;
    read_service_name(name).map_err(|_| NotAnIngress)
}

impl Wait {
    /// Waits, prints the result, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.wait().and_then(|verdict| self.print_verdict(&verdict)) {
            Ok(code) => code.into(),
            Err(error) => {
                print_error("wait", &error);
                TIMED_OUT.into()
            }
        }
    }

    /// Polls until the verdict is certain.
    fn wait(&self) -> anyhow::Result<Verdict> {
        let end = Instant::now() + self.timeout;
        let gateways = self.gateways()?;
        let mut history = PollHistory::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // A timeout of zero still polls once.
            let timeout = left.clamp(gateways.min_poll_timeout(), MAX_POLL_TIMEOUT);
            let poll = self.poll(&gateways, timeout);
            let statuses = poll.as_deref().unwrap_or_default();
            if let Some(verdict) = history.add(Instant::now(), statuses) {
                return Ok(verdict);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = || poll.as_deref().map_or_else(|error| format!("{error:#}"), pending_reasons);
                let timed_out = || anyhow!("not live after {:?}: {}", self.timeout, why());
                return history.finish().ok_or_else(timed_out);
            }
            sleep(gateways.poll_interval().min(left));
        }
    }

    fn gateways(&self) -> anyhow::Result<Gateways> {
        let Some(kubeconfig) = &self.kubeconfig else { return Ok(Gateways::Admin(self.admin)) };
        let namespace = self.gateway_namespace.clone().unwrap_or_else(environment::own_namespace);
        Ok(Gateways::Cluster(Box::new(Pods::new(kubeconfig, namespace)?)))
    }

    /// Returns the status of the Ingress at each gateway.
    fn poll(&self, gateways: &Gateways, timeout: Duration) -> anyhow::Result<Vec<IngressStatus>> {
        let Name { namespace, name } = &self.ingress;
        let mut target = format!(
            "/ingress?output=json&namespace={}&name={}",
            pages::encode(namespace),
            pages::encode(name)
        );
        if let Some(version) = self.resource_version {
            target += &format!("&resourceVersion={version}");
        }
        let parse = |page: Page| match page.status {
            200 => Ok(serde_json::from_str(&page.body)?),
            status => bail!("the gateway answers {status}: {}", page.body.trim_end()),
        };
        gateways.get(&target, timeout)?.into_iter().map(parse).collect()
    }

    /// Prints the verdict and returns its exit code.
    fn print_verdict(&self, verdict: &Verdict) -> anyhow::Result<u8> {
        let (text, code) = match verdict {
            Verdict::Live => (format!("Ingress {} is live\n", self.ingress), LIVE),
            Verdict::Refused(statuses) => {
                let lines = statuses.iter().flat_map(problem_lines).collect::<BTreeSet<_>>();
                (lines.into_iter().map(|line| line + "\n").collect(), REFUSED)
            }
        };
        print(&text)?;
        Ok(code)
    }
}

/// The gateways to poll.
enum Gateways {
    /// The gateway with this admin address.
    Admin(SocketAddr),
    /// All ready gateways of a cluster.
    Cluster(Box<Pods>),
}

impl Gateways {
    /// Requests a page from each gateway.
    fn get(&self, target: &str, timeout: Duration) -> anyhow::Result<Vec<Page>> {
        match self {
            Self::Admin(admin) => {
                let unreached = || format!("no gateway answers at {admin} (--admin ADDR asks elsewhere)");
                Ok(vec![pages::get(*admin, target, timeout).with_context(unreached)?])
            }
            Self::Cluster(pods) => pods.get(target, timeout),
        }
    }

    /// Returns the minimum timeout of the last poll.
    fn min_poll_timeout(&self) -> Duration {
        match self {
            Self::Admin(_) => POLL_INTERVAL,
            Self::Cluster(_) => MIN_CLUSTER_POLL_TIMEOUT,
        }
    }

    fn poll_interval(&self) -> Duration {
        match self {
            Self::Admin(_) => POLL_INTERVAL,
            Self::Cluster(_) => CLUSTER_POLL_INTERVAL,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the gateway is another process and cannot wake this one")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Returns the Problems and the reason of a status, one line each.
fn problem_lines(status: &IngressStatus) -> impl Iterator<Item = String> {
    status.problems.iter().map(ToString::to_string).chain(status.why.clone())
}

/// Returns why the Ingress is not live at some gateways.
fn pending_reasons(statuses: &[IngressStatus]) -> String {
    let reasons = statuses.iter().filter_map(|status| status.why.as_deref());
    reasons.collect::<Vec<_>>().join("; ")
}
