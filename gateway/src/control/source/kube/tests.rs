//! The source against an API server that is an `axum` router, with a paused clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse as _;
use routing::object::{Change, Kind};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::*;

/// Maximum time between two attempts.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(30);

const POLICIES: &str = "/apis/wasm-gateway.dev/v1alpha1/routepolicies";
const PLUGINS: &str = "/apis/wasm-gateway.dev/v1alpha1/wasmplugins";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// Serves lists of the named Ingresses, of one policy, and empty lists of other kinds. A watch has no events. A watch
/// from a version before the last restart fails with 410.
#[derive(Clone, Default)]
struct ApiServer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_unreachable: AtomicBool,
    /// Whether a plugin exists, and the ConfigMap with its module.
    has_plugin: AtomicBool,
    ingresses: Mutex<Vec<&'static str>>,
    /// Number of restarts. It is the resource version, less one.
    restarts: AtomicUsize,
    /// Paths whose requests fail with 403.
    forbidden: Mutex<Vec<&'static str>>,
    /// Paths whose next watch fails with 404.
    not_found: Mutex<Vec<&'static str>>,
    /// Ends all watches.
    end_watches: Notify,
    /// The times of the requests, by path.
    request_times: Mutex<BTreeMap<String, Vec<Instant>>>,
    /// Path, query and `Accept` of each request.
    requests: Mutex<Vec<[String; 3]>>,
}

impl ApiServer {
    fn client(&self) -> Client {
        Client::new(Router::new().fallback(respond).with_state(self.clone()), "default")
    }

    fn set_ingresses(&self, names: &[&'static str]) {
        *self.0.ingresses.lock().unwrap() = names.to_vec();
    }

    fn disconnect(&self) {
        self.0.is_unreachable.store(true, Ordering::SeqCst);
        self.0.request_times.lock().unwrap().values_mut().for_each(Vec::clear);
        self.0.end_watches.notify_waiters();
    }

    fn restart(&self) {
        self.0.restarts.fetch_add(1, Ordering::SeqCst);
        self.0.is_unreachable.store(false, Ordering::SeqCst);
    }

    fn version(&self) -> String {
        format!("{}", self.0.restarts.load(Ordering::SeqCst) + 1)
    }

    fn list(&self, path: &str) -> Value {
        let items: Vec<Value> = match path {
            "/apis/networking.k8s.io/v1/ingresses" => {
                let names = self.0.ingresses.lock().unwrap();
                names
                    .iter()
                    .map(|name| json!({ "metadata": { "namespace": "shop", "name": name } }))
                    .collect()
            }
            POLICIES => vec![
                json!({ "metadata": { "namespace": "shop", "name": "policy" }, "spec": { "targetRefs": [] } }),
            ],
            PLUGINS if self.0.has_plugin.load(Ordering::SeqCst) => vec![json!({
                "metadata": { "namespace": "shop", "name": "plugin" },
                "spec": { "url": "configmap://module/a.wasm" },
            })],
            CONFIG_MAPS => vec![json!({
                "metadata": { "namespace": "shop", "name": "module" }, "data": { "a.wasm": "text" },
            })],
            _ => Vec::new(),
        };
        json!({ "metadata": { "resourceVersion": self.version() }, "items": items })
    }
}

async fn respond(State(server): State<ApiServer>, uri: Uri, headers: HeaderMap) -> axum::response::Response {
    let shared = Arc::clone(&server.0);
    let accept = headers.get(ACCEPT).map_or("", |value| value.to_str().unwrap());
    let request = [uri.path(), uri.query().unwrap_or_default(), accept].map(str::to_owned);
    shared.requests.lock().unwrap().push(request);
    shared.request_times.lock().unwrap().entry(uri.path().to_owned()).or_default().push(Instant::now());
    if shared.is_unreachable.load(Ordering::SeqCst) {
        return Body::from_stream(futures::stream::once(async { connection_lost() })).into_response();
    }
    if shared.forbidden.lock().unwrap().iter().any(|path| *path == uri.path()) {
        let status = json!({ "kind": "Status", "status": "Failure", "code": 403, "message": "no", "reason": "Forbidden" });
        return (StatusCode::FORBIDDEN, axum::Json(status)).into_response();
    }
    let query = uri.query().unwrap_or_default();
    let not_found = shared
        .not_found
        .lock()
        .unwrap()
        .extract_if(.., |path| *path == uri.path() && query.contains("watch=true"))
        .count();
    if not_found > 0 {
        let status = json!({ "kind": "Status", "status": "Failure", "code": 404, "message": "no", "reason": "NotFound" });
        return (StatusCode::NOT_FOUND, axum::Json(status)).into_response();
    }
    if query.contains("watch=true") && !query.contains(&format!("resourceVersion={}", server.version())) {
        let gone = json!({ "kind": "Status", "status": "Failure", "code": 410, "message": "gone", "reason": "Expired" });
        return axum::Json(json!({ "type": "ERROR", "object": gone })).into_response();
    }
    if query.contains("watch=true") {
        let ended = async move {
            shared.end_watches.notified().await;
            connection_lost()
        };
        return Body::from_stream(futures::stream::once(ended)).into_response();
    }
    axum::Json(server.list(uri.path())).into_response()
}

/// The error of a connection whose peer has vanished.
fn connection_lost() -> std::io::Result<&'static str> {
    Err(std::io::ErrorKind::ConnectionReset.into())
}

/// A spec for serving all namespaces, on an unknown node.
fn serve_all() -> WatchSpec {
    let (scope, routing) = (WatchScope::Cluster, routing::Config::default());
    WatchSpec { scope, routing, node: None, purpose: Purpose::Serve, board: Arc::default() }
}

/// The Ingresses of an update: `+` for applied, `-` for deleted ones.
fn ingresses(update: &Update) -> Vec<String> {
    let changes = update.objects.iter().filter_map(|change| match change {
        Change::Apply(object) if object.reference().kind == Kind::Ingress => {
            Some(format!("+{}", object.reference().name))
        }
        Change::Delete(reference) if reference.kind == Kind::Ingress => Some(format!("-{}", reference.name)),
        _ => None,
    });
    changes.collect()
}

/// The number of kinds that an update reports as stale.
fn stale_kinds(update: Update) -> usize {
    let problems = update.problems.into_iter().flatten();
    problems.filter(|located| located.problem.reason == routing::Reason::Stale).count()
}

#[tokio::test(start_paused = true)]
async fn kind_with_an_erroneous_404_is_listed_again() {
    let server = ApiServer::default();
    let (sender, mut updates) = mpsc::channel(1);
    let (reason_tx, _reason) = watch::channel(None);
    tokio::spawn(run(server.client(), serve_all(), sender, reason_tx));
    let policies = |update: &Update| {
        let objects = update.objects.iter().map(|change| match change {
            Change::Apply(object) => (true, object.reference()),
            Change::Delete(reference) => (false, reference.clone()),
        });
        objects
            .filter(|(_, of)| of.kind == Kind::RoutePolicy)
            .map(|(is_there, _)| is_there)
            .collect::<Vec<_>>()
    };
    assert_eq!(policies(&updates.recv().await.unwrap()), [true]);
    server.0.not_found.lock().unwrap().push(POLICIES);
    server.0.end_watches.notify_waiters();
    let again = tokio::time::timeout(MAX_RETRY_INTERVAL, updates.recv()).await.unwrap().unwrap();
    assert_eq!(policies(&again), [true], "the kind was listed and sent again");
    assert!(server.0.not_found.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ten_minute_outage_removes_nothing_and_is_retried() {
    let server = ApiServer::default();
    server.set_ingresses(&["stays", "goes"]);
    let (sender, mut updates) = mpsc::channel(1);
    let (reason_tx, reason) = watch::channel(None);
    let spec = serve_all();
    tokio::spawn(run(server.client(), spec, sender, reason_tx));
    let first = updates.recv().await.unwrap();
    assert_eq!(ingresses(&first), ["+shop/goes", "+shop/stays"]);

    server.disconnect();
    let left = Instant::now();
    let mut kinds = 0;
    while let Ok(update) = tokio::time::timeout_at(left + Duration::from_secs(600), updates.recv()).await {
        let update = update.unwrap();
        assert!(update.objects.is_empty(), "only Problems are sent");
        kinds = stale_kinds(update);
    }
    assert_eq!(kinds, 9, "all kinds");
    assert_eq!(*reason.borrow(), None, "the gateway keeps serving");
    let back = Instant::now();
    let request_times = std::mem::take(&mut *server.0.request_times.lock().unwrap());
    assert_eq!(request_times.len(), 9, "{:?}", request_times.keys());
    for (path, times) in request_times {
        assert!((20..100).contains(&times.len()), "{} requests of {path}", times.len());
        let times = std::iter::once(left).chain(times).chain([back]).collect::<Vec<_>>();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest <= Some(MAX_RETRY_INTERVAL), "{path}: {longest:?}");
    }

    server.set_ingresses(&["stays", "comes"]);
    server.restart();
    let mut news = BTreeSet::new();
    loop {
        let update = tokio::time::timeout(MAX_RETRY_INTERVAL, updates.recv()).await.unwrap().unwrap();
        news.extend(ingresses(&update));
        if update.problems.is_some() && stale_kinds(update) == 0 {
            break;
        }
    }
    assert_eq!(Vec::from_iter(news), ["+shop/comes", "+shop/stays", "-shop/goes"]);
}

#[tokio::test(start_paused = true)]
async fn start_without_an_api_server_reports_the_pending_reason() {
    let server = ApiServer::default();
    server.disconnect();
    let (sender, mut updates) = mpsc::channel(1);
    let (reason_tx, mut reason) = watch::channel(None);
    let spec = serve_all();
    tokio::spawn(run(server.client(), spec, sender, reason_tx));
    let names_cause =
        |reason: &Option<String>| reason.as_ref().is_some_and(|reason| reason.contains("connection reset"));
    reason.wait_for(names_cause).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(updates.try_recv().is_err());
    server.restart();
    tokio::time::timeout(MAX_RETRY_INTERVAL, updates.recv()).await.unwrap().unwrap();
    reason.wait_for(Option::is_none).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn namespace_rights_suffice_and_missing_features_are_reported() {
    let server = ApiServer::default();
    *server.0.forbidden.lock().unwrap() = vec![
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/apis/networking.k8s.io/v1/ingressclasses",
        "/apis/wasm-gateway.dev/v1alpha1/ingressclassconfigs",
    ];
    let (sender, mut updates) = mpsc::channel(1);
    let (reason_tx, _reason) = watch::channel(None);
    let scope = WatchScope::Namespaces(vec!["shop".to_owned()]);
    let spec = WatchSpec { scope, node: Some("here".to_owned()), ..serve_all() };
    tokio::spawn(run(server.client(), spec, sender, reason_tx));
    let first = tokio::time::timeout(MAX_RETRY_INTERVAL, updates.recv()).await.unwrap().unwrap();
    let problems = first.problems.unwrap_or_default().into_iter().map(|located| located.problem);
    let reported: Vec<String> =
        problems.map(|problem| format!("{} {}", problem.object, problem.reason)).collect();
    assert_eq!(
        reported,
        [
            "IngressClass * NotPermitted",
            "IngressClassConfig * NotPermitted",
            "Namespace * NotPermitted",
            "Node * NotPermitted"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn only_metadata_of_namespaces_nodes_and_secrets_is_read() {
    let server = ApiServer::default();
    server.set_ingresses(&["a"]);
    let (sender, mut updates) = mpsc::channel(1);
    let (reason_tx, _reason) = watch::channel(None);
    let spec = WatchSpec { node: Some("here".to_owned()), ..serve_all() };
    tokio::spawn(run(server.client(), spec, sender, reason_tx));
    updates.recv().await.unwrap();
    let is_watch = |query: &str| query.contains("watch=true");
    let watched = || {
        let requests = server.0.requests.lock().unwrap();
        requests.iter().filter(|[_, query, _]| is_watch(query)).map(|[path, ..]| path.clone()).collect()
    };
    // Each watch starts after its list.
    while BTreeSet::from_iter::<Vec<String>>(watched()).len() < 9 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let requests = server.0.requests.lock().unwrap().clone();
    for path in ["/api/v1/namespaces", "/api/v1/nodes", "/api/v1/secrets"] {
        let mut of_path = requests.iter().filter(|[requested, ..]| requested == path).peekable();
        assert!(of_path.peek().is_some(), "{requests:?}");
        assert!(of_path.all(|[.., accept]| accept.contains("as=PartialObjectMetadata")), "{requests:?}");
    }
    assert!(!requests.iter().any(|[path, ..]| path.contains("/secrets/")), "no object refers to a Secret");
    for [path, query, _] in requests.iter().filter(|[_, query, _]| is_watch(query)) {
        assert!(
            query.contains("timeoutSeconds=40") && query.contains("allowWatchBookmarks=true"),
            "{path}?{query}"
        );
    }
}

#[tokio::test]
async fn client_returns_errors_without_retries() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let reject = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::SERVICE_UNAVAILABLE }
    };
    let config = json!({
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", listener.local_addr().unwrap()) } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(reject)).await });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = build_client(Some(&file)).await.unwrap();
    client.apiserver_version().await.unwrap_err();
    assert_eq!(requests.load(Ordering::SeqCst), 1, "the retries of the library would wait for minutes");
}

#[tokio::test(start_paused = true)]
async fn config_map_of_a_plugin_is_watched_by_name() {
    let server = ApiServer::default();
    server.0.has_plugin.store(true, Ordering::SeqCst);
    let (sender, mut updates) = mpsc::channel(1);
    let (reason_tx, _reason) = watch::channel(None);
    tokio::spawn(run(server.client(), serve_all(), sender, reason_tx));
    let first = updates.recv().await.unwrap();
    let has = |kind| {
        let is_of_kind =
            |change: &&Change| matches!(change, Change::Apply(object) if object.reference().kind == kind);
        first.objects.iter().filter(is_of_kind).count() == 1
    };
    assert!(has(Kind::WasmPlugin) && has(Kind::ConfigMap), "the first update has the module too");
    let requests = server.0.requests.lock().unwrap().clone();
    let of_maps: Vec<_> = requests.iter().filter(|[path, ..]| path.contains("configmaps")).collect();
    assert!(!of_maps.is_empty());
    for [path, query, _] in of_maps {
        assert_eq!(path, CONFIG_MAPS);
        assert!(query.contains("fieldSelector=metadata.name%3Dmodule"), "{query}");
    }
}
