//! The gateway against a real API server: what is applied is served, and nothing that happens to the API server, to
//! its watches or to a node takes a route away.
//!
//! The program starts itself again inside `conformance cluster run`, so that one cluster serves all tests. Those
//! that disturb no other run side by side, the rest after them, one by one. Every gateway runs with the
//! rights that conformance/example/gateway.yaml documents and fails its test if a call was forbidden.
//! Not here: what objects mean (`gateway/routing`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "programs outside are asked again and again; sleeping is only a pace"
)]

#[path = "kube/api_proxy.rs"]
mod api_proxy;
#[path = "kube/certificates.rs"]
mod certificates;
#[path = "kube/classes.rs"]
mod classes;
#[path = "kube/cluster.rs"]
mod cluster;
#[path = "kube/endpoint.rs"]
mod endpoint;
#[path = "kube/gateway_process.rs"]
mod gateway_process;
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
#[path = "kube/rights.rs"]
mod rights;
#[path = "kube/serving.rs"]
mod serving;
#[path = "kube/speed.rs"]
mod speed;

use std::io::Write as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// Set in the cluster.
const IN_CLUSTER_VAR: &str = "KUBE_TESTS_INSIDE";

/// So many tests at a time: they mostly wait.
const MAX_PARALLEL_TESTS: usize = 6;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list || std::env::var_os(IN_CLUSTER_VAR).is_some() {
        return run(&arguments);
    }
    if let Some(why) = reason_to_skip() {
        missing::skipped(&format!("the tests with a real API server: {why}"));
        return ExitCode::SUCCESS;
    }
    let code = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["cluster", "run", "--nodes", "2", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(IN_CLUSTER_VAR, "1")
        .status()
        .unwrap();
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

/// The longest first; the one that writes a lot last, when most others only wait.
fn parallel_trials() -> Vec<Trial> {
    vec![
        trial("a_stalled_watch_is_noticed_within_a_minute", outage::connections_stalled),
        trial("a_node_dies_under_load", nodes::install_and_lose_one),
        trial("a_namespace_that_goes_leaves_its_host_to_another", serving::namespace_deleted),
        trial("an_ingress_is_served_changed_and_deleted", serving::life_of_an_ingress),
        trial("two_gateways_serve_two_classes", serving::two_gateways),
        trial("secrets_come_late_and_are_rotated", certificates::created_late_and_rotated),
        trial(
            "a_host_that_changes_its_secret_shows_no_other_certificate",
            certificates::secret_reference_changed,
        ),
        trial("the_certificate_of_a_class_is_read", certificates::class_default_certificate),
        trial("classes_are_added_changed_and_removed", classes::added_changed_removed),
        trial("the_gateway_uses_exactly_the_rights_that_are_documented", rights::documented_rules),
        trial("a_right_that_is_missing_is_a_problem", rights::missing_rule),
        trial("rights_in_one_namespace_are_enough", rights::namespace_role),
        trial("rights_to_look_are_enough_to_explain", rights::view_role_explains),
        trial("what_was_applied_is_served_soon", speed::applied_to_served),
    ]
}

/// Those that take something away from all others: their API server, our definitions, or the time to write.
fn serial_trials() -> Vec<Trial> {
    vec![
        trial("endpoints_come_and_go_a_hundred_times_a_second", serving::endpoint_churn),
        trial("definitions_are_installed_late", classes::definitions_later),
        trial("watches_are_lost_and_410_makes_them_list_again_under_load", outage::etcd_compacted),
        trial("the_api_server_is_killed_and_restarted_under_load", outage::api_server_killed),
        trial("the_api_server_is_gone_for_a_while_and_no_request_fails", outage::api_server_away),
    ]
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

/// Why these tests cannot run here.
fn reason_to_skip() -> Option<String> {
    let not_built = || "the gateway is not built (`cargo test --workspace` does it)".to_owned();
    parts::missing().or_else(|| (!gateway_process::path().is_file()).then(not_built))
}

/// Writes past the capture.
fn print_past_capture(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
