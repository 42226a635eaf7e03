//! The admin pages: is it alive, is it ready, what does it serve, what is wrong, why did a request go where it
//! went, what was counted.
//!
//! Read only, and never with key bytes. Not here: who may reach it; it listens on loopback unless told otherwise.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use routing::object::{Name, ResourceVersion};
use serde::Deserialize;
use tokio::sync::watch;

use crate::cli::config::read_service_name;
use crate::cli::explain::request::RequestSpec;
use crate::cli::explain::{self, ExplainContext};
use crate::cli::wait::Standing;
use crate::control::reload::{Problems, ReloadHandle};
use crate::data::listener::worker::Handle;
use crate::live::LiveCell;
use crate::observe::metrics::{self, Scrape};

/// What the pages are made from.
#[derive(Clone)]
pub struct Admin {
    /// What is being served.
    pub live: LiveCell,
    /// What is wrong.
    pub problems: Arc<Problems>,
    /// Who counts.
    pub workers: Arc<[Handle]>,
    /// The number of the live table; 0 before the first full one.
    pub generation: watch::Receiver<u64>,
    /// Whether the gateway is about to stop.
    pub draining: Arc<AtomicBool>,
    /// What stands between the source and its first table.
    pub waiting: watch::Receiver<Option<String>>,
    /// Queries the objects.
    pub reload: ReloadHandle,
    /// Times that everything was read anew after a panic.
    pub restarts: Arc<AtomicU64>,
    /// Lines of the access log that were dropped.
    pub access_log_dropped: Arc<AtomicU64>,
    /// The Service by which the outside reaches the gateway.
    pub status_service: Option<Name>,
}

impl Admin {
    /// All pages by path.
    pub fn router(self) -> Router {
        let further = Router::new()
            .route("/routes", get(routes))
            .route("/problems", get(problems))
            .route("/explain", get(explained))
            .route("/ingress", get(ingress))
            .with_state(self.clone());
        self.probes().merge(further)
    }

    /// The pages for probes and scrapers alone: they tell nothing about hosts and who serves them.
    pub fn probes(self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

/// How a page is written: text for people unless `?output=json` asks for the other.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    output: Output,
}

async fn live() -> &'static str {
    "alive\n"
}

async fn ready(State(admin): State<Admin>) -> Response {
    let unready =
        |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response();
    if admin.draining.load(Ordering::Relaxed) {
        return unready("draining");
    }
    match *admin.generation.borrow() {
        0 => unready(admin.waiting.borrow().as_deref().unwrap_or("no routing table yet")),
        generation => format!("ready: generation {generation}\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut scrape = Scrape {
        workers: Vec::new(),
        problems: admin.problems.count(),
        generation: *admin.generation.borrow(),
        control_restarts: admin.restarts.load(Ordering::Relaxed),
        access_log_dropped: admin.access_log_dropped.load(Ordering::Relaxed),
    };
    for worker in admin.workers.iter() {
        scrape.workers.extend(worker.counts().await);
    }
    match scrape.render() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn routes(State(admin): State<Admin>, Query(form): Query<Form>) -> Response {
    let live = admin.live.load_full();
    match form.output {
        Output::Text => format!("generation {}\n{}", live.generation, live.table).into_response(),
        Output::Json => axum::Json(live.table.view()).into_response(),
    }
}

async fn problems(State(admin): State<Admin>, Query(form): Query<Form>) -> Response {
    let views = admin.problems.views();
    if form.output == Output::Text {
        let mut text = String::new();
        for problem in &views {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{problem}");
        }
        return text.into_response();
    }
    axum::Json(views).into_response()
}

/// What the page is asked: `url`, `method`, any number of `header`, `service` (the one by which the outside
/// reaches the gateway) and `output`.
#[derive(Debug)]
struct ExplainForm {
    request: RequestSpec,
    service: Option<Name>,
    output: Output,
}

impl ExplainForm {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let (mut url, mut method, mut headers) = (None, "GET".to_owned(), Vec::new());
        let (mut service, mut output) = (None, Output::Text);
        for (name, value) in pairs {
            match (name.as_str(), value.as_str()) {
                ("url", _) => url = Some(value),
                ("method", _) => method = value,
                ("header", _) => headers.push(value),
                ("service", _) => {
                    service = Some(read_service_name(&value).map_err(|error| error.to_string())?)
                }
                ("output", "text") => output = Output::Text,
                ("output", "json") => output = Output::Json,
                _ => return Err(format!("{name}={value} is not known")),
            }
        }
        let url = url.ok_or("?url= is missing")?;
        let request = RequestSpec::new(&method, &url, &headers).map_err(|error| error.to_string())?;
        Ok(Self { request, service, output })
    }
}

async fn explained(State(admin): State<Admin>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let form = match ExplainForm::read(pairs) {
        Ok(form) => form,
        Err(error) => return (StatusCode::BAD_REQUEST, error + "\n").into_response(),
    };
    let ExplainForm { request, service, output } = form;
    let service = service.or(admin.status_service);
    let answer = admin.reload.query(move |reload| {
        let (live, problems) = (reload.live().load_full(), reload.problems());
        let context = ExplainContext {
            compiler: reload.compiler(),
            live: &live,
            problems: &problems,
            status_service: service.as_ref(),
        };
        explain::explain(&request, context)
    });
    match (answer.await, output) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "the source has ended\n").into_response(),
        (Some(explanation), Output::Text) => explanation.to_string().into_response(),
        (Some(explanation), Output::Json) => axum::Json(explanation).into_response(),
    }
}

/// Which Ingress the page is asked about, and in which version at least.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IngressForm {
    namespace: String,
    name: String,
    resource_version: Option<String>,
    #[serde(default)]
    output: Output,
}

/// How an Ingress stands; `gateway wait` asks this until it is live.
async fn ingress(State(admin): State<Admin>, Query(form): Query<IngressForm>) -> Response {
    let version = match form.resource_version.as_deref().map(str::parse::<ResourceVersion>).transpose() {
        Ok(version) => version,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let name = Name::new(&form.namespace, &form.name);
    let standing = admin.reload.query(move |reload| Standing::of(&name, version, reload)).await;
    match (standing, form.output) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "the source has ended\n").into_response(),
        (Some(standing), Output::Text) => standing.to_string().into_response(),
        (Some(standing), Output::Json) => axum::Json(standing).into_response(),
    }
}
