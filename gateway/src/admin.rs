//! The admin pages: is it alive, is it ready, what does it serve, what is wrong, what was counted.
//!
//! Read only, and never with key bytes. Not here: who may reach it; it listens on loopback unless told otherwise.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::listener::worker::Handle;
use crate::live::LiveCell;
use crate::reload::Problems;
use crate::telemetry::metrics::{self, Scrape};

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
}

impl Admin {
    /// The pages by path.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/routes", get(routes))
            .route("/problems", get(problems))
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
    let unready = |reason: &'static str| (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    if admin.draining.load(Ordering::Relaxed) {
        return unready("not ready: stopping\n");
    }
    match *admin.generation.borrow() {
        0 => unready("not ready: no routing table yet\n"),
        generation => format!("ready: generation {generation}\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut scrape = Scrape {
        workers: Vec::new(),
        problems: admin.problems.count(),
        generation: *admin.generation.borrow(),
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

/// A Problem as JSON shows it.
#[derive(Debug, Serialize)]
struct ProblemView {
    kind: String,
    namespace: String,
    name: String,
    field: String,
    reason: String,
    message: String,
}

async fn problems(State(admin): State<Admin>, Query(form): Query<Form>) -> Response {
    let all = admin.problems.all();
    if form.output == Output::Text {
        let mut text = String::new();
        for problem in &all {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{problem}");
        }
        return text.into_response();
    }
    let views: Vec<_> = all
        .into_iter()
        .map(|problem| ProblemView {
            kind: problem.object.kind.to_string(),
            namespace: problem.object.name.namespace.to_string(),
            name: problem.object.name.name.to_string(),
            field: problem.field,
            reason: problem.reason.to_string(),
            message: problem.message,
        })
        .collect();
    axum::Json(views).into_response()
}
