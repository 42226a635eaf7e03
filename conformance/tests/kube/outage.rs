//! The API server dies, is away, is not there yet, forgets, or falls silent; routes stay, and what changed arrives.

use std::time::{Duration, Instant};

use crate::between::Between;
use crate::certificates::{certificate, is_trusted};
use crate::objects::{Space, with_tls};
use crate::origin;
use crate::program::Gateway;
use crate::wire::{Load, Wire};
use crate::world::{run, until, until_within, world};

/// How long the API server is away, in seconds, unless `OUTAGE_SECONDS` says it: longer than tries are apart at most.
/// The unit tests of `source::kube` have the 10 minutes, with a clock that jumps; gateway/ARCHITECTURE.md has what
/// came of 10 real ones.
const AWAY_SECONDS: u64 = 35;

/// After the API server is back its news may take as long as tries are apart.
const MOST_APART: Duration = Duration::from_secs(30);

/// So much memory may be taken from a third of an outage to its end, in KiB, however long it is: 10 minutes, with
/// 60,000 requests in these two thirds, show a leak of 18 bytes in each.
const FLAT: u64 = 1024;

/// It ends without a word and starts anew under load; beside it a gateway starts that has never seen it.
pub(crate) fn killed() {
    let space = Space::new("killed");
    let kubeconfig = world().documented();
    let gateway = Gateway::start(&kubeconfig, &[]);
    space.serve("app", "killed.example");
    gateway.until_served_by("killed.example", "app");
    let load = Load::start(gateway.http, "killed.example");

    stop_api_server();
    let early = Gateway::begin(&kubeconfig, &[]);
    until("it says why it is not ready", || {
        let page = early.page("/readyz");
        page.status == 503 && page.body.contains("onnect")
    });
    assert_eq!(early.page("/livez").status, 200);
    assert_ne!(early.get("killed.example").status, 200);
    start_api_server();
    let back = Instant::now();
    space.serve("after", "after.example");
    for gateway in [&gateway, &early] {
        until_within(MOST_APART, "the new Ingress is served", || {
            gateway.get("after.example").is(200, "after")
        });
    }
    let served = back.elapsed();
    // Ready means ready for everything that was there. It is said a moment after the table is live.
    until("it is ready", || early.page("/readyz").status == 200);
    assert!(early.get("killed.example").is(200, "app"));
    let report = load.end_without_failure();
    crate::tell(&format!(
        "    killed: served {served:?} after the API server was back; {} requests, slowest {:?}\n",
        report.good, report.slowest
    ));
    gateway.end_after_restart();
    early.end_after_restart();
}

/// Nothing fails and nothing grows; afterwards objects of each kind are as new as they would be without it.
pub(crate) fn gone() {
    let space = Space::new("away");
    let gateway = Gateway::start(&world().documented(), &[]);
    let (first, second) = (certificate("away.example"), certificate("away.example"));
    world().apply(&space.secret("pair", &first));
    space.serve("app", "away.example");
    let endpoint = origin::start("moved");
    world().apply(&with_tls(space.ingress("app", "away.example"), "away.example", "pair"));
    until("it has its certificate", || is_trusted(gateway.https, "away.example", &first));
    let load = Load::start(gateway.http, "away.example");

    stop_api_server();
    let (began, away) = (Instant::now(), away());
    let lasts = |time: Duration| until_within(away * 2, "it was away for so long", || began.elapsed() > time);
    lasts(away / 3);
    let before = gateway.rss_kib();
    lasts(away);
    assert_eq!(gateway.page("/readyz").status, 200, "it serves, so it is ready");
    assert!(is_trusted(gateway.https, "away.example", &first));
    let during = gateway.rss_kib();
    start_api_server();

    let back = Instant::now();
    space.serve("new", "back.example");
    world().apply(&space.secret("pair", &second));
    world().apply(&space.slice("app", 1, &[endpoint]));
    let left = || MOST_APART.saturating_sub(back.elapsed());
    until_within(left(), "the new Ingress is served", || gateway.get("back.example").is(200, "new"));
    until_within(left(), "the new endpoint is used", || gateway.get("away.example").is(200, "moved"));
    until_within(left(), "the new certificate is used", || {
        is_trusted(gateway.https, "away.example", &second)
    });
    let in_step = back.elapsed();
    let report = load.end_without_failure();
    crate::tell(&format!(
        "    gone for {away:?}: in step {in_step:?} after it was back; {} requests, slowest {:?}; RSS {before} KiB, then {during} KiB\n",
        report.good, report.slowest
    ));
    assert!(during < before + FLAT, "RSS grew from {before} to {during} KiB");
    gateway.end_after_restart();
}

/// The gateway is cut off; meanwhile objects change, etcd forgets how, and the API server starts anew. Then 410 Gone
/// makes it list again: what went is gone, what came is served, and what stayed never failed.
pub(crate) fn compacted() {
    let space = Space::new("gone");
    let between = Between::start(world().api_server());
    let gateway = Gateway::start(&world().kubeconfig("gateway", Some(between.address)), &[]);
    for name in ["stays", "goes"] {
        space.serve(name, &format!("{name}.example"));
        gateway.until_served_by(&format!("{name}.example"), name);
    }
    let load = Load::start(gateway.http, "stays.example");
    between.cut();
    world().delete(&space.ingress("goes", "goes.example"));
    space.serve("comes", "comes.example");
    compact();
    stop_api_server();
    start_api_server();
    assert!(gateway.get("goes.example").is(200, "goes"), "nobody has told it");
    between.mend();
    until("what came is served", || gateway.get("comes.example").is(200, "comes"));
    until("what went is gone", || gateway.get("goes.example").status == 404);
    let log = gateway.log();
    assert!(log.contains("watch expired"), "there was no 410: {log}");
    load.end_without_failure();
    gateway.end_after_restart();
}

/// All connections to the API server stall, also idle ones, and nobody says so.
pub(crate) fn stalled() {
    let space = Space::new("stalled");
    let between = Between::start(world().api_server());
    let gateway = Gateway::start(&world().kubeconfig("gateway", Some(between.address)), &[]);
    space.serve("app", "stalled.example");
    let (first, second) = (certificate("stalled.example"), certificate("stalled.example"));
    world().apply(&space.secret("pair", &first));
    world().apply(&with_tls(space.ingress("app", "stalled.example"), "stalled.example", "pair"));
    // Reading the Secret leaves an idle connection behind.
    until("it has its certificate", || is_trusted(gateway.https, "stalled.example", &first));
    let load = Load::start(gateway.http, "stalled.example");

    between.stall();
    let began = Instant::now();
    space.serve("new", "unstalled.example");
    world().apply(&space.secret("pair", &second));
    let limit = Duration::from_secs(60);
    let noticed =
        until_within(limit, "the new Ingress is served", || gateway.get("unstalled.example").is(200, "new"));
    until_within(limit.saturating_sub(began.elapsed()), "the new certificate is used", || {
        is_trusted(gateway.https, "stalled.example", &second)
    });
    assert!(noticed > Duration::from_secs(1), "the watch was not stalled");
    let report = load.end_without_failure();
    crate::tell(&format!("    stalled: noticed after {noticed:?}; {} requests\n", report.good));
    gateway.end();
}

/// `OUTAGE_SECONDS=600 cargo test --workspace --test kube -- gone_for_a_while` is the one with 10 minutes.
fn away() -> Duration {
    let seconds = std::env::var("OUTAGE_SECONDS").map_or(AWAY_SECONDS, |said| said.parse().unwrap());
    assert!(seconds >= AWAY_SECONDS, "tries would not be as far apart as they get");
    Duration::from_secs(seconds)
}

fn stop_api_server() {
    run("conformance", &["cluster", "stop", "api-server"]);
}

fn start_api_server() {
    run("conformance", &["cluster", "start", "api-server"]);
}

/// Makes etcd forget all versions but the present one.
fn compact() {
    let mut etcd = Wire::connect("127.0.0.1:2379".parse().unwrap()).unwrap();
    let found = etcd.post("etcd", "/v3/kv/range", r#"{"key":"AA=="}"#).unwrap();
    let found: serde_json::Value = serde_json::from_str(&found.body).unwrap();
    let revision = found["header"]["revision"].as_str().unwrap();
    let asked = format!(r#"{{"revision":"{revision}","physical":true}}"#);
    let done = etcd.post("etcd", "/v3/kv/compaction", &asked).unwrap();
    assert_eq!(done.status, 200, "{}", done.body);
}
