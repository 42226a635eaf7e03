//! `conformance run`: the Ingress conformance suite, against a local gateway or any cluster.

use std::io::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use conformance::suite::backends::MAX_SLOTS;
use conformance::suite::case::Level;
use conformance::suite::case::TestCase;
use conformance::suite::catalog;
use conformance::suite::driver::Driver;
use conformance::suite::driver::TimeLimits;
use conformance::suite::kubernetes;
use conformance::suite::kubernetes::KubernetesDriver;
use conformance::suite::kubernetes::KubernetesOptions;
use conformance::suite::local::LocalDriver;
use conformance::suite::report;
use conformance::suite::report::ReportTarget;
use conformance::suite::report::SuiteReport;
use conformance::suite::runner;
use conformance::suite::runner::CaseOutcome;
use conformance::suite::runner::CaseResult;
use conformance::suite::runner::RunOptions;
use conformance::suite::runner::Selection;
use k8s_openapi::jiff::Timestamp;

use crate::terminal::print_message;

/// Image of the echo servers. `conformance/README.md` has its recipe.
const ECHO_IMAGE: &str = "wasm-gateway.dev/echo:0.1.0";

/// Consecutive responses that must match.
const CONSECUTIVE_MATCHES: usize = 3;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct SuiteArgs {
    /// Test a gateway program on this machine, which reads a folder of YAML files. Needs no cluster.
    #[arg(long, conflicts_with_all = ["kubeconfig", "address", "https_address", "echo_image"])]
    local: bool,
    /// The gateway program for --local. Defaults to `gateway` beside this program.
    #[arg(long, value_name = "FILE", requires = "local")]
    gateway: Option<PathBuf>,
    /// Test the cluster of this kubeconfig file. Defaults to KUBECONFIG, then ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// IngressClass to test. It must exist.
    #[arg(long, value_name = "NAME", default_value = "gateway")]
    ingress_class: String,
    /// Address for http requests. Defaults to port 80 of the address in the status of an Ingress.
    #[arg(long, value_name = "IP[:PORT]", value_parser = |text: &str| parse_address(text, 80))]
    address: Option<SocketAddr>,
    /// Address for https requests. Defaults to port 443 of the same IP address.
    #[arg(long, value_name = "IP[:PORT]", value_parser = |text: &str| parse_address(text, 443))]
    https_address: Option<SocketAddr>,
    /// Image of the echo servers, which are this program with the argument `echo`.
    #[arg(long, value_name = "IMAGE", default_value = ECHO_IMAGE)]
    echo_image: String,
    /// Run only cases whose id, or upstream name, contains this text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    run: Vec<String>,
    /// Skip cases whose id, or upstream name, contains this text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// Highest level to run. `core`: what the API requires. `extended`: optional features. `ours`: our own choices.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::Extended)]
    level: Level,
    /// Features to test above the level `core`. Defaults to all.
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
    features: Vec<String>,
    /// Print the selected cases and run none.
    #[arg(long)]
    list: bool,
    /// Write a report: json, junit or yaml. May be repeated.
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    reports: Vec<ReportTarget>,
    /// Folder of cases in place of the built-in ones: AREA/NAME.yaml.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Maximum seconds until a change takes effect. Defaults to 10 with --local and to 60 in a cluster.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Maximum number of cases at the same time.
    #[arg(long, value_name = "N", default_value_t = MAX_SLOTS)]
    parallel: usize,
    /// Name and version of the controller, for reports.
    #[arg(long, value_name = "NAME@VERSION")]
    implementation: Option<String>,
}

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// JSON reports.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Prints JSON reports side by side as a Markdown table.
///
/// # Errors
/// A file is no JSON report.
pub(crate) fn compare(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    print_result(&report::compare(&args.files)?);
    Ok(ExitCode::SUCCESS)
}

/// Runs the suite. Returns 0 if no case failed, and 1 otherwise.
///
/// # Errors
/// A case file is faulty, or the run cannot start. The exit code is then 2.
pub(crate) fn run(args: &SuiteArgs) -> anyhow::Result<ExitCode> {
    let selection = Selection {
        run: args.run.clone(),
        skip: args.skip.clone(),
        level: args.level,
        features: args.features.clone(),
    };
    let all = catalog::load(args.cases.as_deref())?;
    check_features(&args.features, &all)?;
    let cases: Vec<TestCase> = all.into_iter().filter(|case| selection.includes(case)).collect();
    ensure!(!cases.is_empty(), "no case is selected: `--list` without --run and --skip prints all");
    if args.list {
        for case in &cases {
            print_result(&format!(
                "{:<8} {}{}\n",
                case.level.to_string(),
                case.id,
                case.feature.as_ref().map(|feature| format!(" [{feature}]")).unwrap_or_default()
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let results = runtime.block_on(run_cases(args, cases));
    runtime.shutdown_background();
    let Some((results, implementation)) = results? else { return Ok(ExitCode::from(130)) };
    let report = SuiteReport {
        implementation: args.implementation.clone().unwrap_or(implementation),
        class: args.ingress_class.clone(),
        date: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        results,
    };
    print_result(&format!("\n{}", report.summary()));
    for target in &args.reports {
        let text = report.to_format(target.format)?;
        std::fs::write(&target.file, text)
            .with_context(|| format!("cannot write {}", target.file.display()))?;
    }
    Ok(if report.has_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_features(features: &[String], cases: &[TestCase]) -> anyhow::Result<()> {
    for feature in features {
        let is_known = cases.iter().any(|case| case.feature.as_ref() == Some(feature));
        ensure!(is_known, "--features: no case has the feature {feature:?}; `--list` prints all");
    }
    Ok(())
}

/// Runs the cases with the chosen driver. Returns `None` if a signal ended the run.
async fn run_cases(
    args: &SuiteArgs,
    cases: Vec<TestCase>,
) -> anyhow::Result<Option<(Vec<CaseResult>, String)>> {
    // Differs from the names of earlier runs, whose namespaces may still terminate.
    let name = format!("ingress-conformance-{:06x}", Timestamp::now().as_millisecond() & 0xff_ffff);
    let options = RunOptions { prefix: name.clone(), parallel: args.parallel };
    if args.local {
        let gateway = args.gateway.clone().map_or_else(LocalDriver::default_program, Ok)?;
        let limits = limits(args.timeout.unwrap_or(10), Duration::from_millis(10));
        let version = gateway_version(&gateway);
        let run = async {
            let driver = Arc::new(LocalDriver::start(&gateway, limits).await?);
            anyhow::Ok(execute(&driver, cases, &options).await)
        };
        return Ok(until_signal(run).await?.map(|results| (results, version)));
    }
    let client = kubernetes::connect(args.kubeconfig.as_deref()).await?;
    let driver_options = KubernetesOptions {
        class: args.ingress_class.clone(),
        echo_image: args.echo_image.clone(),
        http: args.address,
        https: args.https_address,
        run: name.clone(),
        limits: limits(args.timeout.unwrap_or(60), Duration::from_millis(100)),
    };
    let run = async {
        let driver = Arc::new(KubernetesDriver::start(client.clone(), driver_options).await?);
        let results = execute(&driver, cases, &options).await;
        anyhow::Ok((results, driver.controller().to_owned()))
    };
    let outcome = until_signal(run).await;
    // Also after a signal or an error.
    let cleaned = kubernetes::clean_up(&client, &name).await;
    let outcome = outcome?;
    cleaned.context("clean-up")?;
    Ok(outcome)
}

/// Returns the output of a run, or `None` if SIGINT or SIGTERM arrives first.
async fn until_signal<T>(run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Option<T>> {
    use tokio::signal::unix::SignalKind;
    use tokio::signal::unix::signal;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = run => done.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

async fn execute<D: Driver + 'static>(
    driver: &Arc<D>,
    cases: Vec<TestCase>,
    options: &RunOptions,
) -> Vec<CaseResult> {
    let total = cases.len();
    let mut count = 0;
    runner::run(driver, cases, options, |result| {
        count += 1;
        print_message(&format!("{count:>3}/{total} {}", report::result_line(result)));
        if let CaseOutcome::Failed(failure) = &result.outcome {
            print_message(&report::failure_text(result, failure));
        }
    })
    .await
}

fn limits(seconds: u64, poll: Duration) -> TimeLimits {
    TimeLimits {
        settle: Duration::from_secs(seconds),
        matches: CONSECUTIVE_MATCHES,
        hold: Duration::MAX,
        poll,
    }
}

fn gateway_version(program: &std::path::Path) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default().replace(' ', "@")
}

fn parse_address(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>().ok();
    let without = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, default_port));
    with_port.or_else(without).ok_or_else(|| format!("{text:?} is neither IP nor IP:PORT"))
}

fn print_result(text: &str) {
    // A closed standard output leaves nowhere to report the failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
