//! The whole source against an API server made of a router, under a clock that jumps.

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
use tokio::sync::Notify;

use super::*;

/// Tries are at most so far apart.
const MOST_APART: Duration = Duration::from_secs(30);

const POLICIES: &str = "/apis/wasm-gateway.dev/v1alpha1/routepolicies";

/// Answers lists with the Ingresses of these names, one policy, and with nothing of other kinds. Watches say nothing, unless they
/// ask for what happened before the last return.
#[derive(Clone, Default)]
struct ApiServer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_away: AtomicBool,
    ingresses: Mutex<Vec<&'static str>>,
    /// How often it came back: what was before is forgotten.
    version: AtomicUsize,
    /// What may not be read.
    forbidden: Mutex<Vec<&'static str>>,
    /// Of which it is said at the next watch that there is no such kind.
    denied: Mutex<Vec<&'static str>>,
    /// Ends all watches.
    end: Notify,
    /// When each path was asked.
    asked: Mutex<BTreeMap<String, Vec<Instant>>>,
    /// Path, query and `Accept` of each request.
    requests: Mutex<Vec<[String; 3]>>,
}

impl ApiServer {
    fn client(&self) -> Client {
        Client::new(Router::new().fallback(answer).with_state(self.clone()), "default")
    }

    fn set_ingresses(&self, names: &[&'static str]) {
        *self.0.ingresses.lock().unwrap() = names.to_vec();
    }

    fn leave(&self) {
        self.0.is_away.store(true, Ordering::SeqCst);
        self.0.asked.lock().unwrap().values_mut().for_each(Vec::clear);
        self.0.end.notify_waiters();
    }

    fn come_back(&self) {
        self.0.version.fetch_add(1, Ordering::SeqCst);
        self.0.is_away.store(false, Ordering::SeqCst);
    }

    fn version(&self) -> String {
        format!("{}", self.0.version.load(Ordering::SeqCst) + 1)
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
            _ => Vec::new(),
        };
        json!({ "metadata": { "resourceVersion": self.version() }, "items": items })
    }
}

async fn answer(State(server): State<ApiServer>, uri: Uri, headers: HeaderMap) -> axum::response::Response {
    let shared = Arc::clone(&server.0);
    let accept = headers.get(ACCEPT).map_or("", |value| value.to_str().unwrap());
    let request = [uri.path(), uri.query().unwrap_or_default(), accept].map(str::to_owned);
    shared.requests.lock().unwrap().push(request);
    shared.asked.lock().unwrap().entry(uri.path().to_owned()).or_default().push(Instant::now());
    if shared.is_away.load(Ordering::SeqCst) {
        return Body::from_stream(futures::stream::once(async { lost() })).into_response();
    }
    if shared.forbidden.lock().unwrap().iter().any(|path| *path == uri.path()) {
        let status = json!({ "kind": "Status", "status": "Failure", "code": 403, "message": "no", "reason": "Forbidden" });
        return (StatusCode::FORBIDDEN, axum::Json(status)).into_response();
    }
    let query = uri.query().unwrap_or_default();
    let denied = shared
        .denied
        .lock()
        .unwrap()
        .extract_if(.., |path| *path == uri.path() && query.contains("watch=true"))
        .count();
    if denied > 0 {
        let status = json!({ "kind": "Status", "status": "Failure", "code": 404, "message": "no", "reason": "NotFound" });
        return (StatusCode::NOT_FOUND, axum::Json(status)).into_response();
    }
    if query.contains("watch=true") && !query.contains(&format!("resourceVersion={}", server.version())) {
        let gone = json!({ "kind": "Status", "status": "Failure", "code": 410, "message": "gone", "reason": "Expired" });
        return axum::Json(json!({ "type": "ERROR", "object": gone })).into_response();
    }
    if query.contains("watch=true") {
        let ended = async move {
            shared.end.notified().await;
            lost()
        };
        return Body::from_stream(futures::stream::once(ended)).into_response();
    }
    axum::Json(server.list(uri.path())).into_response()
}

/// The end of a connection to a machine that is gone.
fn lost() -> std::io::Result<&'static str> {
    Err(std::io::ErrorKind::ConnectionReset.into())
}

/// All namespaces, to serve, on an unknown node.
fn everything() -> WatchSpec {
    let (scope, routing) = (WatchScope::Cluster, routing::Config::default());
    WatchSpec { scope, routing, node: None, purpose: Purpose::Serve }
}

/// The Ingresses that an Update tells of: `+` for those that are there.
fn ingresses(update: &Update) -> Vec<String> {
    let told = update.objects.iter().filter_map(|change| match change {
        Change::Apply(object) if object.reference().kind == Kind::Ingress => {
            Some(format!("+{}", object.reference().name))
        }
        Change::Delete(reference) if reference.kind == Kind::Ingress => Some(format!("-{}", reference.name)),
        _ => None,
    });
    told.collect()
}

/// How many kinds an Update says are stale.
fn stale(update: Update) -> usize {
    let problems = update.problems.into_iter().flatten();
    problems.filter(|located| located.problem.reason == routing::Reason::Stale).count()
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_denied_by_mistake_is_listed_anew_and_loses_nothing() {
    let server = ApiServer::default();
    let (sender, mut updates) = mpsc::channel(1);
    let (told, _waiting) = watch::channel(None);
    tokio::spawn(run(server.client(), everything(), sender, told));
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
    server.0.denied.lock().unwrap().push(POLICIES);
    server.0.end.notify_waiters();
    let again = tokio::time::timeout(MOST_APART, updates.recv()).await.unwrap().unwrap();
    assert_eq!(policies(&again), [true], "they were listed anew, and told of again");
    assert!(server.0.denied.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_gone_for_ten_minutes_changes_nothing_and_is_asked_every_half_minute() {
    let server = ApiServer::default();
    server.set_ingresses(&["stays", "goes"]);
    let (sender, mut updates) = mpsc::channel(1);
    let (told, waiting) = watch::channel(None);
    let wanted = everything();
    tokio::spawn(run(server.client(), wanted, sender, told));
    let first = updates.recv().await.unwrap();
    assert_eq!(ingresses(&first), ["+shop/goes", "+shop/stays"]);

    server.leave();
    let left = Instant::now();
    let mut kinds = 0;
    while let Ok(update) = tokio::time::timeout_at(left + Duration::from_secs(600), updates.recv()).await {
        let update = update.unwrap();
        assert!(update.objects.is_empty(), "nothing is told but what is wrong");
        kinds = stale(update);
    }
    assert_eq!(kinds, 8, "all of them");
    assert_eq!(*waiting.borrow(), None, "it goes on serving");
    let back = Instant::now();
    let asked = std::mem::take(&mut *server.0.asked.lock().unwrap());
    assert_eq!(asked.len(), 8, "{:?}", asked.keys());
    for (path, times) in asked {
        assert!((20..100).contains(&times.len()), "{path} was asked {} times", times.len());
        let times = std::iter::once(left).chain(times).chain([back]).collect::<Vec<_>>();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest <= Some(MOST_APART), "{path}: {longest:?}");
    }

    server.set_ingresses(&["stays", "comes"]);
    server.come_back();
    let mut news = BTreeSet::new();
    loop {
        let update = tokio::time::timeout(MOST_APART, updates.recv()).await.unwrap().unwrap();
        news.extend(ingresses(&update));
        if update.problems.is_some() && stale(update) == 0 {
            break;
        }
    }
    assert_eq!(Vec::from_iter(news), ["+shop/comes", "+shop/stays", "-shop/goes"]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_starts_without_an_api_server_says_what_it_waits_for() {
    let server = ApiServer::default();
    server.leave();
    let (sender, mut updates) = mpsc::channel(1);
    let (told, mut waiting) = watch::channel(None);
    let wanted = everything();
    tokio::spawn(run(server.client(), wanted, sender, told));
    let says_why = |why: &Option<String>| why.as_ref().is_some_and(|why| why.contains("connection reset"));
    waiting.wait_for(says_why).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(updates.try_recv().is_err());
    server.come_back();
    tokio::time::timeout(MOST_APART, updates.recv()).await.unwrap().unwrap();
    waiting.wait_for(Option::is_none).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rights_in_one_namespace_are_enough_and_what_needs_more_says_that_it_is_off() {
    let server = ApiServer::default();
    *server.0.forbidden.lock().unwrap() = vec![
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/apis/networking.k8s.io/v1/ingressclasses",
        "/apis/wasm-gateway.dev/v1alpha1/ingressclassconfigs",
    ];
    let (sender, mut updates) = mpsc::channel(1);
    let (told, _waiting) = watch::channel(None);
    let scope = WatchScope::Namespaces(vec!["shop".to_owned()]);
    let wanted = WatchSpec { scope, node: Some("here".to_owned()), ..everything() };
    tokio::spawn(run(server.client(), wanted, sender, told));
    let first = tokio::time::timeout(MOST_APART, updates.recv()).await.unwrap().unwrap();
    let problems = first.problems.unwrap_or_default().into_iter().map(|located| located.problem);
    let told: Vec<String> =
        problems.map(|problem| format!("{} {}", problem.object, problem.reason)).collect();
    assert_eq!(
        told,
        [
            "IngressClass * NotPermitted",
            "IngressClassConfig * NotPermitted",
            "Namespace * NotPermitted",
            "Node * NotPermitted"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn of_namespaces_nodes_and_secrets_the_metadata_alone_is_asked_for_and_watches_have_an_end() {
    let server = ApiServer::default();
    server.set_ingresses(&["a"]);
    let (sender, mut updates) = mpsc::channel(1);
    let (told, _waiting) = watch::channel(None);
    let wanted = WatchSpec { node: Some("here".to_owned()), ..everything() };
    tokio::spawn(run(server.client(), wanted, sender, told));
    updates.recv().await.unwrap();
    let is_watch = |query: &str| query.contains("watch=true");
    let watched = || {
        let requests = server.0.requests.lock().unwrap();
        requests.iter().filter(|[_, query, _]| is_watch(query)).map(|[path, ..]| path.clone()).collect()
    };
    // Watches follow the lists.
    while BTreeSet::from_iter::<Vec<String>>(watched()).len() < 9 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let requests = server.0.requests.lock().unwrap().clone();
    for path in ["/api/v1/namespaces", "/api/v1/nodes", "/api/v1/secrets"] {
        let mut of_path = requests.iter().filter(|[asked, ..]| asked == path).peekable();
        assert!(of_path.peek().is_some(), "{requests:?}");
        assert!(of_path.all(|[.., accept]| accept.contains("as=PartialObjectMetadata")), "{requests:?}");
    }
    assert!(!requests.iter().any(|[path, ..]| path.contains("/secrets/")), "nobody names one");
    for [path, query, _] in requests.iter().filter(|[_, query, _]| is_watch(query)) {
        assert!(
            query.contains("timeoutSeconds=40") && query.contains("allowWatchBookmarks=true"),
            "{path}?{query}"
        );
    }
}

#[tokio::test]
async fn the_client_hands_refusals_on_and_does_not_try_again_by_itself() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let refuse = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::SERVICE_UNAVAILABLE }
    };
    let config = json!({
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", listener.local_addr().unwrap()) } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = build_client(Some(&file)).await.unwrap();
    client.apiserver_version().await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the library would wait for minutes between its tries");
}
