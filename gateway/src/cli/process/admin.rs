//! The admin pages: liveness, readiness, metrics, routes, Problems, and the explanation of a request.
//!
//! The pages are read-only and never show key bytes. Not here: access control. The default address is a loopback
//! address.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use routing::object::{Name, ResourceVersion};
use serde::Deserialize;
use tokio::sync::watch;

use crate::cli::config::error::ValueError;
use crate::cli::config::read_service_name;
use crate::cli::ejections;
use crate::cli::explain::request::{RequestSpec, RequestSpecError};
use crate::cli::explain::{self, ExplainContext};
use crate::cli::output::OutputFormat;
use crate::cli::style::Palette;
use crate::cli::wait::IngressStatus;
use crate::control::handler::HandlerBoard;
use crate::control::plugin::{PluginContext, plugin_metrics};
use crate::control::reload::{Problems, Reload, ReloadHandle};
use crate::control::source::kube::WatchBoard;
use crate::control::status::ReportStats;
use crate::data::listener::worker::Handle;
use crate::data::upstream::SharedUpstreams;
use crate::live::LiveCell;
use crate::observe::metrics::{self, Scrape};
use crate::observe::process_metrics::ProcessSample;
use crate::observe::text_format;

/// Maximum time that a scrape waits for the control plane. Compiling many objects takes seconds.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that the pages show.
#[derive(Clone)]
pub struct Admin {
    /// The live state.
    pub live: LiveCell,
    /// All present Problems.
    pub problems: Arc<Problems>,
    /// The workers, which have the counters.
    pub workers: Arc<[Handle]>,
    /// Generation of the live table. 0 before the first update.
    pub generation: watch::Receiver<u64>,
    /// Whether the gateway is shutting down.
    pub is_draining: Arc<AtomicBool>,
    /// What the first update of the source waits for.
    pub pending: watch::Receiver<Option<String>>,
    /// Handle for queries about objects.
    pub reload: ReloadHandle,
    /// Restarts of the control plane after a panic.
    pub restarts: Arc<AtomicU64>,
    /// The plugins.
    pub plugins: Arc<PluginContext>,
    /// The class handlers.
    pub handlers: Arc<HandlerBoard>,
    /// Lines of the access log that were dropped.
    pub access_log_dropped: Arc<AtomicU64>,
    /// The Service that exposes the gateway.
    pub status_service: Option<Name>,
    /// The health of endpoints.
    pub upstreams: Arc<SharedUpstreams>,
    /// The age and health of each watch of the API server.
    pub watches: Arc<WatchBoard>,
    /// Counts of reports to the API. `None` without an API server.
    pub reports: Option<Arc<ReportStats>>,
}

impl Admin {
    /// Returns all pages.
    pub fn router(self) -> Router {
        let further = Router::new()
            .route("/", get(index))
            .route("/routes", get(routes))
            .route("/problems", get(problems))
            .route("/plugins", get(plugins))
            .route("/handlers", get(handlers))
            .route("/explain", get(explain_page))
            .route("/ingress", get(ingress))
            .with_state(self.clone());
        self.probe_router().merge(further)
    }

    /// Returns the pages for probes and scrapers, which show nothing about hosts and backends.
    pub fn probe_router(self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

/// All pages of the admin address, with their purpose.
const PAGES: &[(&str, &str)] = &[
    ("/livez", "whether the process responds"),
    ("/readyz", "whether it serves, or why not yet"),
    ("/metrics", "counters and gauges as OpenMetrics text"),
    ("/routes", "the routing table; ?output=json"),
    ("/problems", "what is not served as written; ?output=json"),
    ("/plugins", "plugins, their versions and failures; ?output=json"),
    ("/explain", "why a request is routed to its backend: ?url=http://HOST/PATH"),
    ("/ingress", "the state of one Ingress: ?namespace=NAMESPACE&name=NAME"),
];

async fn index() -> String {
    PAGES.iter().fold("gateway: admin pages\n\n".to_owned(), |mut text, (path, about)| {
        let _ = writeln!(text, "{path:<10} {about}");
        text
    })
}

/// The query of a page that exists in several formats.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatForm {
    #[serde(default)]
    output: OutputFormat,
}

async fn live() -> &'static str {
    "alive\n"
}

async fn ready(State(admin): State<Admin>) -> Response {
    let unready =
        |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response();
    if admin.is_draining.load(Ordering::Relaxed) {
        return unready("draining");
    }
    match *admin.generation.borrow() {
        0 => unready(admin.pending.borrow().as_deref().unwrap_or("no routing table yet")),
        generation => format!("ready: generation {generation}\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    // While the control plane restarts, its gauges are absent.
    let control = admin.reload.query(Reload::sample);
    let mut control = tokio::time::timeout(CONTROL_TIMEOUT, control).await.ok().flatten().unwrap_or_default();
    control.watches = admin.watches.samples();
    let mut scrape = Scrape {
        workers: Vec::new(),
        control,
        process: ProcessSample::read(),
        control_restarts: admin.restarts.load(Ordering::Relaxed),
        access_log_dropped: admin.access_log_dropped.load(Ordering::Relaxed),
        ejections: ejections::sample(&admin.upstreams),
        plugins: plugin_metrics(&admin.plugins),
        handlers: admin.handlers.samples(),
        reports: admin.reports.as_deref().map(ReportStats::counts),
    };
    for worker in admin.workers.iter() {
        scrape.workers.extend(worker.counts().await);
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_open_metrics = accept.contains("application/openmetrics-text");
    match scrape.render() {
        Ok(text) if is_open_metrics => {
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
        }
        Ok(text) => {
            let text = text_format::from_open_metrics(&text);
            ([(header::CONTENT_TYPE, text_format::CONTENT_TYPE)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn routes(State(admin): State<Admin>, Query(form): Query<FormatForm>) -> Response {
    let live = admin.live.load_full();
    let mut view = live.table.view();
    let ejected = admin.upstreams.ejected();
    view.mark_ejected(|service, address| {
        Some(ejections::describe(ejections::find(&ejected, service, address)?))
    });
    match form.output {
        OutputFormat::Text => format!("generation {}\n{view}", live.generation).into_response(),
        OutputFormat::Json => axum::Json(view).into_response(),
    }
}

async fn problems(State(admin): State<Admin>, Query(form): Query<FormatForm>) -> Response {
    let views = admin.problems.views();
    if form.output == OutputFormat::Text {
        let mut text = String::new();
        for problem in &views {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{problem}");
        }
        let _ = writeln!(text, "{}", admin.live.load().ingresses);
        return text.into_response();
    }
    axum::Json(views).into_response()
}

async fn plugins(State(admin): State<Admin>, Query(form): Query<FormatForm>) -> Response {
    let statuses = admin.plugins.board.statuses();
    match form.output {
        OutputFormat::Text => statuses.iter().map(ToString::to_string).collect::<String>().into_response(),
        OutputFormat::Json => axum::Json(statuses).into_response(),
    }
}

async fn handlers(State(admin): State<Admin>, Query(form): Query<FormatForm>) -> Response {
    let statuses = admin.handlers.statuses();
    match form.output {
        OutputFormat::Text => statuses.iter().map(ToString::to_string).collect::<String>().into_response(),
        OutputFormat::Json => axum::Json(statuses).into_response(),
    }
}

/// The query of `/explain`: `url`, `method`, any number of `header`, `service` (the Service that exposes the gateway)
/// and `output`.
#[derive(Debug)]
struct ExplainForm {
    /// With colours for `style=ansi`, which `gateway explain` asks for in a terminal.
    palette: Palette,
    request: RequestSpec,
    service: Option<Name>,
    output: OutputFormat,
}

/// Why a query of `/explain` is wrong.
#[derive(Debug, thiserror::Error)]
enum ExplainFormError {
    #[error("?url= is missing")]
    UrlMissing,
    #[error("{name}={value} is not known")]
    Unknown { name: String, value: String },
    #[error(transparent)]
    Service(#[from] ValueError),
    #[error(transparent)]
    Request(#[from] RequestSpecError),
}

impl ExplainForm {
    fn parse(pairs: Vec<(String, String)>) -> Result<Self, ExplainFormError> {
        let (mut url, mut method, mut headers) = (None, "GET".to_owned(), Vec::new());
        let (mut service, mut output) = (None, OutputFormat::Text);
        let mut palette = Palette::default();
        for (name, value) in pairs {
            match (name.as_str(), value.as_str()) {
                ("url", _) => url = Some(value),
                ("method", _) => method = value,
                ("header", _) => headers.push(value),
                ("service", _) => service = Some(read_service_name(&value)?),
                ("output", "text") => output = OutputFormat::Text,
                ("output", "json") => output = OutputFormat::Json,
                ("style", "ansi") => palette = Palette::coloured(),
                _ => return Err(ExplainFormError::Unknown { name, value }),
            }
        }
        let url = url.ok_or(ExplainFormError::UrlMissing)?;
        let request = RequestSpec::new(&method, &url, &headers)?;
        Ok(Self { palette, request, service, output })
    }
}

async fn explain_page(State(admin): State<Admin>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let form = match ExplainForm::parse(pairs) {
        Ok(form) => form,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let ExplainForm { palette, request, service, output } = form;
    let service = service.or(admin.status_service);
    let (plugins, upstreams) = (Arc::clone(&admin.plugins), Arc::clone(&admin.upstreams));
    let explanation = admin.reload.query(move |reload| {
        let (live, problems) = (reload.live().load_full(), reload.problems());
        let context = ExplainContext {
            compiler: reload.compiler(),
            live: &live,
            problems: &problems,
            plugins: Some(&plugins.board),
            ejected: &upstreams.ejected(),
            status_service: service.as_ref(),
        };
        explain::explain(&request, context)
    });
    match (explanation.await, output) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "the source has ended\n").into_response(),
        (Some(explanation), OutputFormat::Text) => explanation.styled(palette).to_string().into_response(),
        (Some(explanation), OutputFormat::Json) => axum::Json(explanation).into_response(),
    }
}

/// The query of `/ingress`: the Ingress, and the minimum version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IngressForm {
    namespace: String,
    name: String,
    resource_version: Option<String>,
    #[serde(default)]
    output: OutputFormat,
}

/// Returns the status of an Ingress. `gateway wait` polls it.
async fn ingress(State(admin): State<Admin>, Query(form): Query<IngressForm>) -> Response {
    let version = match form.resource_version.as_deref().map(str::parse::<ResourceVersion>).transpose() {
        Ok(version) => version,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let name = Name::new(&form.namespace, &form.name);
    let status = admin.reload.query(move |reload| IngressStatus::new(&name, version, reload)).await;
    match (status, form.output) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "the source has ended\n").into_response(),
        (Some(status), OutputFormat::Text) => status.to_string().into_response(),
        (Some(status), OutputFormat::Json) => axum::Json(status).into_response(),
    }
}
