//! Command line of `conformance bench`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::case::BenchCase;
use super::peer::PeerKind;

/// Number of rounds for a verdict.
pub(super) const FULL_ROUNDS: u32 = 7;

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// Cases to measure, separated by commas.
    #[arg(long = "case", value_enum, value_delimiter = ',', default_value = "small")]
    pub(super) cases: Vec<BenchCase>,
    /// Number of rounds. Each peer has one leg per round. With 7 or more, a close call is extended to 15.
    #[arg(long, default_value_t = FULL_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Length of a leg in seconds, 0.1 to 60. Legs of `reuse` are 10 times as long. Legs of `large` transfer 60 bodies
    /// per second of this length and end with the last body.
    #[arg(long, default_value = "3", value_parser = parse_seconds)]
    pub(super) seconds: f64,
    /// Proxies to measure, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["nginx", "haproxy", "gateway"])]
    pub(super) peers: Vec<PeerKind>,
    /// Path of the gateway. Defaults to `dist/gateway` in the target folder of this program.
    #[arg(long)]
    pub(super) gateway: Option<PathBuf>,
    /// Client connections. HTTP/2 always uses 10 and large bodies 4.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) connections: u16,
    /// Idle connections of the case `memory`.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=7500))]
    pub(super) held: u32,
    /// Ingresses of the case `kube`. Memory is also measured with 10/3 of them.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(3..=30_000))]
    pub(super) ingresses: u32,
    /// Let the gateway of the case `kube` write no statuses and Events, for comparison.
    #[arg(long)]
    pub(super) no_reports: bool,
    /// Count the system calls per small request too, with strace, in an additional leg.
    #[arg(long)]
    pub(super) syscalls: bool,
    /// Connect this peer to a wrong backend, so that its legs must be void. Tests the checks.
    #[arg(long, value_enum)]
    pub(super) misroute: Option<PeerKind>,
    /// Format of the result on standard output.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(super) output: OutputFormat,
}

/// Values of `--output`.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum OutputFormat {
    /// Tables.
    Text,
    /// All legs, medians and targets.
    Json,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.1 to 60".to_owned()),
    }
}
