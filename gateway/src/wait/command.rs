//! `gateway wait ingress/NAMESPACE/NAME`: asks a running gateway until the Ingress is live or refused.
//!
//! Not here: how an Ingress stands, and when that is certain.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use routing::object::{Name, Version};

use super::Standing;
use super::verdict::{Looks, Verdict};
use crate::cli::{self, loopback, pages};
use crate::config::read_time;
use crate::explain::request;

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
    resource_version: Option<Version>,
    /// Ask the running gateway whose admin pages are here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// How long to wait, with a unit.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = read_time)]
    timeout: Duration,
}

fn ingress(text: &str) -> Result<Name, String> {
    let wrong = || "an Ingress is named as ingress/NAMESPACE/NAME".to_owned();
    request::service_name(text.strip_prefix("ingress/").ok_or_else(wrong)?).map_err(|_| wrong())
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
        let mut looks = Looks::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // A timeout of zero still looks once.
            let patience = left.clamp(PAUSE, PATIENCE);
            let now = self.look(patience);
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
            pause(PAUSE.min(left));
        }
    }

    /// Asks how it stands, at each gateway there is.
    fn look(&self, patience: Duration) -> anyhow::Result<Vec<Standing>> {
        let Name { namespace, name } = &self.target;
        let mut target = format!(
            "/ingress?output=json&namespace={}&name={}",
            pages::encode(namespace),
            pages::encode(name)
        );
        if let Some(version) = self.resource_version {
            target += &format!("&resourceVersion={version}");
        }
        let unreached = || format!("no gateway answers at {} (--admin ADDR asks elsewhere)", self.admin);
        let (status, text) = pages::get(self.admin, &target, patience).with_context(unreached)?;
        if status != 200 {
            bail!("{} answers {status}: {}", self.admin, text.trim_end());
        }
        Ok(vec![serde_json::from_str(&text)?])
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
