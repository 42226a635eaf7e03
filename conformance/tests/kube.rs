//! The gateway against a real API server: applied objects are served, and failures of the API server, of its watches or
//! of a node remove no route.
//!
//! The program runs itself again inside `conformance cluster run`, so that all tests share one cluster. Tests that do
//! not disturb others run in parallel, the rest one by one after them. Every gateway has the rights that
//! conformance/example/gateway.yaml documents. A forbidden call fails its test. Not here: what objects mean
//! (`gateway/routing`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "other programs are polled; sleep sets the interval")]

#[path = "kube/api_proxy.rs"]
mod api_proxy;
#[path = "kube/certificates.rs"]
mod certificates;
#[path = "kube/chart.rs"]
mod chart;
#[path = "kube/chart_renders.rs"]
mod chart_renders;
#[path = "kube/classes.rs"]
mod classes;
#[path = "kube/cluster.rs"]
mod cluster;
#[path = "kube/endpoint.rs"]
mod endpoint;
#[path = "kube/gateway_process.rs"]
mod gateway_process;
#[path = "kube/http2_client.rs"]
mod http2_client;
#[path = "kube/http_client.rs"]
mod http_client;
#[path = "../../gateway/tests/support/missing.rs"]
mod missing;
#[path = "kube/nodes.rs"]
mod nodes;
#[path = "kube/objects.rs"]
mod objects;
#[path = "kube/outage.rs"]
mod outage;
#[path = "support/parts.rs"]
mod parts;
#[path = "kube/plugins.rs"]
mod plugins;
#[path = "kube/rights.rs"]
mod rights;
#[path = "kube/serving.rs"]
mod serving;
#[path = "kube/speed.rs"]
mod speed;
#[path = "kube/status.rs"]
mod status;
#[path = "../../gateway/tests/support/version_module.rs"]
mod version_module;

use std::io::Write as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// The environment variable that is set inside the cluster.
const IN_CLUSTER_VAR: &str = "KUBE_TESTS_INSIDE";

/// Maximum tests in parallel. They mostly wait, so it may exceed the number of cores.
const MAX_PARALLEL_TESTS: usize = 6;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list || std::env::var_os(IN_CLUSTER_VAR).is_some() {
        return run(&arguments);
    }
    if let Some(reason) = reason_to_skip() {
        missing::skipped(&format!("the tests with a real API server: {reason}"));
        return ExitCode::SUCCESS;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command
        .args(["cluster", "run", "--nodes", "2", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(IN_CLUSTER_VAR, "1");
    if let Some(folder) = chart_renders::monitoring_folder() {
        command.env(chart_renders::MONITORING_VAR, folder);
    }
    let code = command.status().unwrap();
    code.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn run(arguments: &Arguments) -> ExitCode {
    let (mut together, mut alone) = (arguments.clone(), arguments.clone());
    together.test_threads = Some(arguments.test_threads.unwrap_or(MAX_PARALLEL_TESTS));
    alone.test_threads = Some(1);
    let failed = libtest_mimic::run(&together, parallel_trials()).has_failed();
    if libtest_mimic::run(&alone, serial_trials()).has_failed() || failed {
        return ExitCode::from(101);
    }
    ExitCode::SUCCESS
}

/// Returns the tests that run in parallel: the longest first, and the one with many writes last, when most others
/// only wait.
fn parallel_trials() -> Vec<Trial> {
    vec![
        trial("stalled_watch_is_detected_within_a_minute", outage::connections_stalled),
        trial("lost_node_fails_no_request", nodes::install_and_lose_one),
        trial("terminating_namespace_releases_its_host", serving::namespace_deleted),
        trial("ingress_lifecycle_is_served", serving::ingress_lifecycle),
        trial("two_gateways_serve_one_class_each", serving::two_gateways),
        trial("late_and_rotated_secrets_are_used", certificates::created_late_and_rotated),
        trial("changed_secret_reference_shows_no_other_certificate", certificates::secret_reference_changed),
        trial("default_certificate_of_a_class_is_used", certificates::class_default_certificate),
        trial("module_of_a_config_map_serves_and_changes", plugins::module_in_config_map),
        trial("killed_leader_is_replaced_within_15_s", status::leader_killed),
        trial("status_of_a_taken_class_waits_for_its_switch", status::taken_class),
        trial("status_is_written_when_live_and_withdrawn", status::written_and_withdrawn),
        trial("status_follows_the_service", status::follows_service),
        trial("status_of_another_manager_is_left", status::conflict),
        trial("each_status_of_many_is_written_once", status::many_at_once),
        trial("problems_become_events_and_conditions", status::events_and_conditions),
        trial("shipped_plugins_serve_from_config_maps", plugins::shipped_plugins),
        trial("class_changes_take_effect", classes::added_changed_removed),
        trial("chart_renders_are_accepted", chart_renders::accepted),
        trial("documented_rights_are_exactly_the_used_ones", rights::documented_rules),
        trial("missing_right_is_a_problem", rights::missing_rule),
        trial("namespace_role_suffices_to_serve", rights::namespace_role),
        trial("view_role_suffices_to_explain", rights::view_role_explains),
        trial("applied_ingress_is_served_soon", speed::applied_to_served),
    ]
}

/// Returns the tests that disturb others: they stop the API server, remove our CRDs, or load the API server.
fn serial_trials() -> Vec<Trial> {
    vec![
        trial("endpoint_churn_fails_no_request", serving::endpoint_churn),
        trial("chart_release_lives_and_leaves_nothing_behind", chart::release_lifecycle),
        trial("chart_upgrade_fails_no_request", chart::upgrade_under_load),
        trial("two_chart_releases_serve_their_own_classes", chart::two_releases),
        trial("chart_of_one_namespace_serves_no_other", chart::one_namespace),
        trial("chart_mounts_modules_that_reload", chart::mounted_plugin),
        trial("chart_without_rights_is_not_ready", chart::without_rights),
        trial("crds_take_effect_when_installed_late", classes::crds_later),
        trial("expired_watch_lists_again_and_fails_no_request", outage::etcd_compacted),
        trial("api_server_restart_fails_no_request", outage::api_server_killed),
        trial("api_server_outage_fails_no_request", outage::api_server_away),
    ]
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

/// Returns why these tests cannot run on this machine.
fn reason_to_skip() -> Option<String> {
    let not_built = || "the gateway is not built (`cargo test --workspace` does it)".to_owned();
    parts::missing().or_else(|| (!gateway_process::path().is_file()).then(not_built))
}

/// Prints a line, although the test harness captures the output of tests.
fn print_past_capture(text: &str) {
    // A closed standard error has no reader, so the result does not matter.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
