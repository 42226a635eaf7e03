//! The API server dies, is away, is not there yet, forgets, or falls silent; routes stay, and what changed arrives.

use std::time::{Duration, Instant};

use crate::api_proxy::ApiProxy;
use crate::certificates::{certificate, is_trusted};
use crate::cluster::{cluster, run, wait_until, wait_until_within};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::http_client::{HttpClient, LoadGenerator};
use crate::objects::{TestNamespace, with_tls};

/// How long the API server is away, in seconds, unless `OUTAGE_SECONDS` says it: longer than tries are apart at most.
/// The unit tests of `source::kube` have the 10 minutes, with a clock that jumps; gateway/ARCHITECTURE.md has what
/// came of 10 real ones.
const MIN_OUTAGE_SECONDS: u64 = 35;

/// After the API server is back its news may take as long as tries are apart.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// So much memory may be taken from a third of an outage to its end, in KiB, however long it is: 10 minutes, with
/// 60,000 requests in these two thirds, show a leak of 18 bytes in each.
const MAX_RSS_GROWTH_KIB: u64 = 1024;

/// It ends without a word and starts anew under load; beside it a gateway starts that has never seen it.
pub(crate) fn api_server_killed() {
    let space = TestNamespace::new("killed");
    let kubeconfig = cluster().gateway_kubeconfig();
    let gateway = Gateway::start(&kubeconfig, &[]);
    space.serve("app", "killed.example");
    gateway.wait_until_served_by("killed.example", "app");
    let load = LoadGenerator::start(gateway.http, "killed.example");

    stop_api_server();
    let early = Gateway::spawn(&kubeconfig, &[]);
    wait_until("it says why it is not ready", || {
        let page = early.page("/readyz");
        page.status == 503 && page.body.contains("onnect")
    });
    assert_eq!(early.page("/livez").status, 200);
    assert_ne!(early.get("killed.example").status, 200);
    start_api_server();
    let back = Instant::now();
    space.serve("after", "after.example");
    for gateway in [&gateway, &early] {
        wait_until_within(MAX_RETRY_INTERVAL, "the new Ingress is served", || {
            gateway.get("after.example").is(200, "after")
        });
    }
    let served = back.elapsed();
    // Ready means ready for everything that was there. It is said a moment after the table is live.
    wait_until("it is ready", || early.page("/readyz").status == 200);
    assert!(early.get("killed.example").is(200, "app"));
    let report = load.finish_without_failure();
    crate::print_past_capture(&format!(
        "    killed: served {served:?} after the API server was back; {} requests, slowest {:?}\n",
        report.succeeded, report.slowest
    ));
    gateway.stop_after_api_restart();
    early.stop_after_api_restart();
}

/// Nothing fails and nothing grows; afterwards objects of each kind are as new as they would be without it.
pub(crate) fn api_server_away() {
    let space = TestNamespace::new("away");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    let (first, second) = (certificate("away.example"), certificate("away.example"));
    cluster().apply(&space.secret("pair", &first));
    space.serve("app", "away.example");
    let endpoint = endpoint::start("moved");
    cluster().apply(&with_tls(space.ingress("app", "away.example"), "away.example", "pair"));
    wait_until("it has its certificate", || is_trusted(gateway.https, "away.example", &first));
    let load = LoadGenerator::start(gateway.http, "away.example");

    stop_api_server();
    let (began, away) = (Instant::now(), outage_duration());
    let lasts =
        |time: Duration| wait_until_within(away * 2, "it was away for so long", || began.elapsed() > time);
    lasts(away / 3);
    let before = gateway.rss_kib();
    lasts(away);
    assert_eq!(gateway.page("/readyz").status, 200, "it serves, so it is ready");
    assert!(is_trusted(gateway.https, "away.example", &first));
    let during = gateway.rss_kib();
    start_api_server();

    let back = Instant::now();
    space.serve("new", "back.example");
    cluster().apply(&space.secret("pair", &second));
    cluster().apply(&space.slice("app", 1, &[endpoint]));
    let left = || MAX_RETRY_INTERVAL.saturating_sub(back.elapsed());
    wait_until_within(left(), "the new Ingress is served", || gateway.get("back.example").is(200, "new"));
    wait_until_within(left(), "the new endpoint is used", || gateway.get("away.example").is(200, "moved"));
    wait_until_within(left(), "the new certificate is used", || {
        is_trusted(gateway.https, "away.example", &second)
    });
    let in_step = back.elapsed();
    let report = load.finish_without_failure();
    crate::print_past_capture(&format!(
        "    gone for {away:?}: in step {in_step:?} after it was back; {} requests, slowest {:?}; RSS {before} KiB, then {during} KiB\n",
        report.succeeded, report.slowest
    ));
    assert!(during < before + MAX_RSS_GROWTH_KIB, "RSS grew from {before} to {during} KiB");
    gateway.stop_after_api_restart();
}

/// The gateway is cut off; meanwhile objects change, etcd forgets how, and the API server starts anew. Then 410 Gone
/// makes it list again: what went is gone, what came is served, and what stayed never failed.
pub(crate) fn etcd_compacted() {
    let space = TestNamespace::new("gone");
    let proxy = ApiProxy::start(cluster().api_server());
    let gateway = Gateway::start(&cluster().kubeconfig("gateway", Some(proxy.address)), &[]);
    for name in ["stays", "goes"] {
        space.serve(name, &format!("{name}.example"));
        gateway.wait_until_served_by(&format!("{name}.example"), name);
    }
    let load = LoadGenerator::start(gateway.http, "stays.example");
    proxy.cut();
    cluster().delete(&space.ingress("goes", "goes.example"));
    space.serve("comes", "comes.example");
    compact_etcd();
    stop_api_server();
    start_api_server();
    assert!(gateway.get("goes.example").is(200, "goes"), "nobody has told it");
    proxy.restore();
    wait_until("what came is served", || gateway.get("comes.example").is(200, "comes"));
    wait_until("what went is gone", || gateway.get("goes.example").status == 404);
    let log = gateway.log();
    assert!(log.contains("watch expired"), "there was no 410: {log}");
    load.finish_without_failure();
    gateway.stop_after_api_restart();
}

/// All connections to the API server stall, also idle ones, and nobody says so.
pub(crate) fn connections_stalled() {
    let space = TestNamespace::new("stalled");
    let proxy = ApiProxy::start(cluster().api_server());
    let gateway = Gateway::start(&cluster().kubeconfig("gateway", Some(proxy.address)), &[]);
    space.serve("app", "stalled.example");
    let (first, second) = (certificate("stalled.example"), certificate("stalled.example"));
    cluster().apply(&space.secret("pair", &first));
    cluster().apply(&with_tls(space.ingress("app", "stalled.example"), "stalled.example", "pair"));
    // Reading the Secret leaves an idle connection behind.
    wait_until("it has its certificate", || is_trusted(gateway.https, "stalled.example", &first));
    let load = LoadGenerator::start(gateway.http, "stalled.example");

    proxy.stall();
    let began = Instant::now();
    space.serve("new", "unstalled.example");
    cluster().apply(&space.secret("pair", &second));
    let limit = Duration::from_secs(60);
    let noticed = wait_until_within(limit, "the new Ingress is served", || {
        gateway.get("unstalled.example").is(200, "new")
    });
    wait_until_within(limit.saturating_sub(began.elapsed()), "the new certificate is used", || {
        is_trusted(gateway.https, "stalled.example", &second)
    });
    assert!(noticed > Duration::from_secs(1), "the watch was not stalled");
    let report = load.finish_without_failure();
    crate::print_past_capture(&format!(
        "    stalled: noticed after {noticed:?}; {} requests\n",
        report.succeeded
    ));
    gateway.stop();
}

/// `OUTAGE_SECONDS=600 cargo test --workspace --test kube -- gone_for_a_while` is the one with 10 minutes.
fn outage_duration() -> Duration {
    let seconds =
        std::env::var("OUTAGE_SECONDS").map_or(MIN_OUTAGE_SECONDS, |output| output.parse().unwrap());
    assert!(seconds >= MIN_OUTAGE_SECONDS, "tries would not be as far apart as they get");
    Duration::from_secs(seconds)
}

fn stop_api_server() {
    run("conformance", &["cluster", "stop", "api-server"]);
}

fn start_api_server() {
    run("conformance", &["cluster", "start", "api-server"]);
}

/// Makes etcd forget all versions but the present one.
fn compact_etcd() {
    let mut etcd = HttpClient::connect("127.0.0.1:2379".parse().unwrap()).unwrap();
    let found = etcd.post("etcd", "/v3/kv/range", r#"{"key":"AA=="}"#).unwrap();
    let found: serde_json::Value = serde_json::from_str(&found.body).unwrap();
    let revision = found["header"]["revision"].as_str().unwrap();
    let asked = format!(r#"{{"revision":"{revision}","physical":true}}"#);
    let done = etcd.post("etcd", "/v3/kv/compaction", &asked).unwrap();
    assert_eq!(done.status, 200, "{}", done.body);
}
