//! The Ingress conformance suite: its command line, the built gateway without and with a cluster, and fake controllers in
//! this process. A right one passes all cases, and each wrong one fails exactly the cases of the rule that it breaks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "suite/command.rs"]
mod command;
#[path = "suite/controllers.rs"]
mod controllers;
#[path = "suite/data_plane.rs"]
mod data_plane;
#[path = "suite/fake.rs"]
mod fake;
#[path = "../../gateway/tests/support/missing.rs"]
mod missing;
#[path = "support/parts.rs"]
mod parts;
#[path = "suite/routes.rs"]
mod routes;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use conformance::suite::backends::EchoPool;
use conformance::suite::backends::MAX_SLOTS;
use conformance::suite::case::Level;
use conformance::suite::case::TestCase;
use conformance::suite::catalog;
use conformance::suite::local;
use conformance::suite::report;
use conformance::suite::runner;
use conformance::suite::runner::CaseOutcome;
use conformance::suite::runner::CaseResult;
use conformance::suite::runner::RunOptions;
use conformance::suite::runner::Selection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use fake::FakeDriver;
use fake::Fault;

/// Wrong controllers that run at the same time.
const PARALLEL_FAKES: usize = 10;

/// Each fault with the cases that must fail because of it.
const FAULTS: &[(Fault, &[&str])] = &[
    (
        Fault::StringPrefix,
        &[
            "path/prefix-is-no-string-prefix",
            "path/prefix-partial-last-element",
            "path/prefix-rule-with-slash",
        ],
    ),
    (
        Fault::FirstPath,
        &[
            "merge/exact-and-prefix-of-two",
            "path/dot-segments",
            "path/encoded-letters",
            "path/exact-before-prefix",
            "path/exact-before-prefix-with-slash",
            "path/exact-beside-prefix-below",
            "path/longest-in-any-order",
            "tls/acme-http-01",
        ],
    ),
    (
        Fault::PrefixBeforeExact,
        &[
            "merge/exact-and-prefix-of-two",
            "path/exact-before-prefix",
            "path/exact-before-prefix-with-slash",
            "path/exact-beside-prefix-below",
        ],
    ),
    (Fault::CaselessPaths, &["path/case-of-two-rules", "path/exact-case", "path/prefix-case"]),
    (Fault::DroppedSlash, &["path/exact-trailing-slash"]),
    (Fault::DeepWildcard, &["host/wildcard-two-labels"]),
    (Fault::FallThrough, &["host/no-fall-through"]),
    (Fault::NoHostlessRules, &["host/absent", "host/precise-before-absent"]),
    (
        Fault::NoDefaultBesideRules,
        &["default-backend/beside-rules", "default-backend/other-host", "default-backend/removed"],
    ),
    (Fault::DefaultForAllTenants, &["default-backend/of-another-namespace"]),
    (
        Fault::AnyClass,
        &[
            "class/annotation-of-another",
            "class/changed-away-and-back",
            "class/none",
            "class/of-another-controller",
            "class/unknown-class",
            "status/withdrawn-from-other-class",
        ],
    ),
    (Fault::NoAnnotation, &["class/annotation"]),
    (Fault::FirstPort, &["backend/port-by-name", "backend/port-by-number"]),
    (
        Fault::FirstSlice,
        &["endpoints/duplicate", "endpoints/port-differs-by-slice", "endpoints/several-slices"],
    ),
    (Fault::NilReadyIsUnready, &["endpoints/absent-ready"]),
    (
        Fault::UnreadyEndpoints,
        &[
            "endpoints/drained-under-load",
            "endpoints/none-ready",
            "endpoints/only-terminating",
            "endpoints/terminating",
            "endpoints/unready",
        ],
    ),
    (
        Fault::StaleEndpoints,
        &[
            "balancing/ten-endpoints",
            "endpoints/drained-under-load",
            "endpoints/none-ready",
            "endpoints/scaled",
        ],
    ),
    (
        Fault::OneEndpoint,
        &[
            "balancing/ten-endpoints",
            "endpoints/absent-ready",
            "endpoints/drained-under-load",
            "endpoints/duplicate",
            "endpoints/port-differs-by-slice",
            "endpoints/scaled",
            "endpoints/several-slices",
        ],
    ),
    (Fault::NoDrain, &["endpoints/drained-under-load"]),
    (
        Fault::NoDeletion,
        &[
            "backend/service-deleted",
            "merge/oldest-wins",
            "tls/acme-http-01",
            "update/deleted",
            "update/others-under-load",
        ],
    ),
    (Fault::YoungestWins, &["merge/oldest-wins"]),
    (
        Fault::WrongCertificate,
        &["tls/certificate-by-server-name", "tls/secret-of-another-namespace", "tls/two-ingresses"],
    ),
    (Fault::StaleSecret, &["tls/secret-replaced"]),
    (Fault::ForeignSecret, &["tls/secret-of-another-namespace"]),
    (Fault::ServerNameRoutes, &["tls/host-routes-server-name-terminates"]),
    (Fault::EarlyStatus, &["status/written-once-served"]),
    (Fault::NoServerField, &["protocol/server-field"]),
    (Fault::Buffering, &["protocol/server-sent-events"]),
    (Fault::NoUpgrade, &["protocol/websocket"]),
];

/// Returns the cases that a fake controller can pass: all but those about our own kinds and HTTP/2. Large bodies are left
/// to the right one.
fn cases(fault: Option<Fault>) -> Vec<TestCase> {
    let mut skip = vec!["acme-on-redirecting".to_owned(), "protocol/http2".to_owned()];
    skip.extend(fault.map(|_| "protocol/large".to_owned()));
    let selection = Selection { run: vec![], skip, level: Level::Ours, features: vec![] };
    catalog::load(None).unwrap().into_iter().filter(|case| selection.includes(case)).collect()
}

/// Runs all cases against a fake controller, and returns those that failed with the text of their failures.
async fn failures(fault: Option<Fault>, pool: &EchoPool) -> BTreeMap<String, String> {
    let driver = Arc::new(FakeDriver::start(fault, pool.clone()).await);
    let options = RunOptions { prefix: "fake".to_owned(), parallel: MAX_SLOTS };
    let results = runner::run(&driver, cases(fault), &options, |_| ()).await;
    assert_eq!(results.len(), cases(fault).len(), "{fault:?}: a case has no result");
    let text = |result: CaseResult| match &result.outcome {
        CaseOutcome::Failed(failure) => {
            Some((result.case.id.clone(), report::failure_text(&result, failure)))
        }
        CaseOutcome::Passed | CaseOutcome::Skipped(_) => None,
    };
    results.into_iter().filter_map(text).collect()
}

#[test]
fn wrong_controllers_fail_exactly_the_cases_of_their_rule() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let wrong = runtime.block_on(async {
        let (_stop_tx, stop_rx) = watch::channel(());
        let pool = local::start_echo_servers(&stop_rx).await.unwrap();
        assert_eq!(failures(None, &pool).await, BTreeMap::new(), "a right controller");
        let mut wrong = Vec::new();
        for faults in FAULTS.chunks(PARALLEL_FAKES) {
            let mut runs = JoinSet::new();
            for (fault, expected) in faults {
                let pool = pool.clone();
                runs.spawn(async move { (*fault, *expected, failures(Some(*fault), &pool).await) });
            }
            for (fault, expected, failed) in runs.join_all().await {
                let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
                let ids: BTreeSet<String> = failed.keys().cloned().collect();
                for id in ids.symmetric_difference(&expected) {
                    let text = failed.get(id).map_or("passes", String::as_str);
                    wrong.push(format!("{fault:?}: unexpected outcome of {id}: {text}"));
                }
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fault_has_cases() {
    for fault in Fault::ALL {
        let expected = FAULTS.iter().find(|(listed, _)| listed == fault);
        assert!(expected.is_some_and(|(_, cases)| !cases.is_empty()), "{fault:?}");
    }
}
