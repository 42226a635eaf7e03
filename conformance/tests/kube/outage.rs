//! The API server restarts, is unreachable, has expired versions, or stalls. Routes stay, and changes arrive later.

use std::time::{Duration, Instant};

use crate::api_proxy::ApiProxy;
use crate::certificates::{certificate, is_trusted};
use crate::cluster::{cluster, run, wait_until, wait_until_within};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::http_client::{self, LoadGenerator};
use crate::objects::{TestNamespace, with_tls};

/// Default and minimum of `OUTAGE_SECONDS`, the duration of the outage in seconds. Longer than the maximum time between
/// two attempts. A unit test of `source::kube` covers 10 minutes with a paused clock; gateway/ARCHITECTURE.md has the
/// measurements of 10 real minutes.
const MIN_OUTAGE_SECONDS: u64 = 35;

/// Maximum time between two attempts, and so until changes arrive after an outage.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Maximum growth of the memory between a third of the outage and its end, in KiB. In 10 minutes, with 60,000 requests
/// in that time, a leak of 18 bytes a request exceeds it.
const MAX_RSS_GROWTH_KIB: u64 = 1024;

/// The API server is killed and restarted under load. A second gateway starts while it is unreachable.
pub(crate) fn api_server_killed() {
    let space = TestNamespace::new("killed");
    let kubeconfig = cluster().gateway_kubeconfig();
    let gateway = Gateway::start(&kubeconfig, &[]);
    space.serve("app", "killed.example");
    gateway.wait_until_served_by("killed.example", "app");
    let load = LoadGenerator::start(gateway.http, "killed.example");

    stop_api_server();
    let early = Gateway::spawn(&kubeconfig, &[]);
    wait_until("the gateway reports why it is not ready", || {
        let page = early.page("/readyz");
        page.status == 503 && page.body.contains("onnect")
    });
    assert_eq!(early.page("/livez").status, 200);
    assert_ne!(early.get("killed.example").status, 200);
    start_api_server();
    let restarted_at = Instant::now();
    space.serve("after", "after.example");
    for gateway in [&gateway, &early] {
        wait_until_within(MAX_RETRY_INTERVAL, "the new Ingress is served", || {
            gateway.get("after.example").is(200, "after")
        });
    }
    let served = restarted_at.elapsed();
    // A ready gateway serves all objects of its start. It becomes ready a moment after the table is live.
    wait_until("the second gateway is ready", || early.page("/readyz").status == 200);
    assert!(early.get("killed.example").is(200, "app"));
    let report = load.finish_without_failure();
    crate::print_past_capture(&format!(
        "    killed: served {served:?} after the API server was back; {} requests, slowest {:?}\n",
        report.succeeded, report.slowest
    ));
    gateway.stop_after_api_restart();
    early.stop_after_api_restart();
}

/// During an outage no request fails and memory does not grow. After it, objects of each kind are up to date.
pub(crate) fn api_server_away() {
    let space = TestNamespace::new("away");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    let (first, second) = (certificate("away.example"), certificate("away.example"));
    cluster().apply(&space.secret("pair", &first));
    space.serve("app", "away.example");
    let endpoint = endpoint::start("moved");
    cluster().apply(&with_tls(space.ingress("app", "away.example"), "away.example", "pair"));
    wait_until("the certificate is used", || is_trusted(gateway.https, "away.example", &first));
    let load = LoadGenerator::start(gateway.http, "away.example");

    stop_api_server();
    let (started_at, duration) = (Instant::now(), outage_duration());
    let lasts =
        |time: Duration| wait_until_within(duration * 2, "the outage lasts", || started_at.elapsed() > time);
    lasts(duration / 3);
    let before = gateway.rss_kib();
    lasts(duration);
    assert_eq!(gateway.page("/readyz").status, 200, "a serving gateway is ready");
    assert!(is_trusted(gateway.https, "away.example", &first));
    let during = gateway.rss_kib();
    start_api_server();

    let restarted_at = Instant::now();
    space.serve("new", "back.example");
    cluster().apply(&space.secret("pair", &second));
    cluster().apply(&space.slice("app", 1, &[endpoint]));
    let remaining = || MAX_RETRY_INTERVAL.saturating_sub(restarted_at.elapsed());
    wait_until_within(remaining(), "the new Ingress is served", || {
        gateway.get("back.example").is(200, "new")
    });
    wait_until_within(remaining(), "the new endpoint is used", || {
        gateway.get("away.example").is(200, "moved")
    });
    wait_until_within(remaining(), "the new certificate is used", || {
        is_trusted(gateway.https, "away.example", &second)
    });
    let up_to_date = restarted_at.elapsed();
    let report = load.finish_without_failure();
    crate::print_past_capture(&format!(
        "    outage of {duration:?}: up to date {up_to_date:?} after it; {} requests, slowest {:?}; RSS {before} KiB, then {during} KiB\n",
        report.succeeded, report.slowest
    ));
    assert!(during < before + MAX_RSS_GROWTH_KIB, "RSS grew from {before} to {during} KiB");
    gateway.stop_after_api_restart();
}

/// The gateway is disconnected while objects change, etcd is compacted, and the API server restarts. 410 Gone then
/// causes a new list: deleted routes are removed, new ones served, and the others never fail.
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
    assert!(gateway.get("goes.example").is(200, "goes"), "the gateway does not know of the deletion");
    proxy.restore();
    wait_until("the new Ingress is served", || gateway.get("comes.example").is(200, "comes"));
    wait_until("the deleted Ingress is removed", || gateway.get("goes.example").status == 404);
    let log = gateway.log();
    assert!(log.contains("watch expired"), "there was no 410: {log}");
    load.finish_without_failure();
    gateway.stop_after_api_restart();
}

/// All connections to the API server stall, including idle ones, without an error.
pub(crate) fn connections_stalled() {
    let space = TestNamespace::new("stalled");
    let proxy = ApiProxy::start(cluster().api_server());
    let gateway = Gateway::start(&cluster().kubeconfig("gateway", Some(proxy.address)), &[]);
    space.serve("app", "stalled.example");
    let (first, second) = (certificate("stalled.example"), certificate("stalled.example"));
    cluster().apply(&space.secret("pair", &first));
    cluster().apply(&with_tls(space.ingress("app", "stalled.example"), "stalled.example", "pair"));
    // The read of the Secret leaves an idle connection.
    wait_until("the certificate is used", || is_trusted(gateway.https, "stalled.example", &first));
    let load = LoadGenerator::start(gateway.http, "stalled.example");

    proxy.stall();
    let stalled_at = Instant::now();
    space.serve("new", "unstalled.example");
    cluster().apply(&space.secret("pair", &second));
    let limit = Duration::from_secs(60);
    let detected_after = wait_until_within(limit, "the new Ingress is served", || {
        gateway.get("unstalled.example").is(200, "new")
    });
    wait_until_within(limit.saturating_sub(stalled_at.elapsed()), "the new certificate is used", || {
        is_trusted(gateway.https, "stalled.example", &second)
    });
    assert!(detected_after > Duration::from_secs(1), "the watch was not stalled");
    let report = load.finish_without_failure();
    crate::print_past_capture(&format!(
        "    stalled: detected after {detected_after:?}; {} requests\n",
        report.succeeded
    ));
    gateway.stop();
}

/// Returns the duration of the outage. `OUTAGE_SECONDS=600 cargo test --workspace --test kube -- api_server_outage`
/// takes 10 minutes.
fn outage_duration() -> Duration {
    let seconds =
        std::env::var("OUTAGE_SECONDS").map_or(MIN_OUTAGE_SECONDS, |output| output.parse().unwrap());
    assert!(seconds >= MIN_OUTAGE_SECONDS, "the time between attempts would not reach its maximum");
    Duration::from_secs(seconds)
}

fn stop_api_server() {
    run("conformance", &["cluster", "stop", "api-server"]);
}

fn start_api_server() {
    run("conformance", &["cluster", "start", "api-server"]);
}

/// Compacts etcd: it drops all versions but the present one.
fn compact_etcd() {
    let mut etcd = http_client::connect("127.0.0.1:2379".parse().unwrap()).unwrap();
    let found = etcd.post("etcd", "/v3/kv/range", r#"{"key":"AA=="}"#).unwrap();
    let found: serde_json::Value = serde_json::from_str(&found.body).unwrap();
    let revision = found["header"]["revision"].as_str().unwrap();
    let request = format!(r#"{{"revision":"{revision}","physical":true}}"#);
    let compaction = etcd.post("etcd", "/v3/kv/compaction", &request).unwrap();
    assert_eq!(compaction.status, 200, "{}", compaction.body);
}
