//! The demo's own requests, and whether each reaches the endpoint that the routing table names.
//!
//! Not here: sending them (`client`) and printing them (`report`).

use std::time::Duration;

use routing::RoutingTable;
use routing::table::{PlainRequest, Route};
use routing::{host, path};
use tokio::sync::mpsc::Receiver;

use super::apps::{self, Echo};
use super::client::{Client, Request, Response};
use super::log::ServedRequest;
use crate::data::exchange;
use crate::message::Scheme::{Http, Https};

/// Time for the access log to report the last sample. Workers hand records over every 100 ms.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// The host that no Ingress names.
pub(super) const UNKNOWN_HOST: &str = "unknown.example.com";

/// A sample request and its result.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// What the access log says. `None`: it has no record.
    pub(super) record: Option<ServedRequest>,
    /// Why the result is not the expected one. `None`: it is.
    pub(super) failure: Option<String>,
}

/// Returns the requests: two apps with the same path, over both protocols; one host with two Services; ten further
/// apps; and a host that no Ingress names.
fn requests() -> Vec<Request> {
    let mut requests = Vec::new();
    let mut add = |scheme, host: &str, path| {
        let user_agent = format!("gateway-demo/{}", requests.len());
        requests.push(Request { scheme, host: host.to_owned(), path, user_agent });
    };
    for scheme in [Http, Http, Https] {
        for host in ["app1.example.com", "app2.example.com"] {
            add(scheme, host, "/api/products");
        }
    }
    add(Http, "shop.example.com", "/catalog/hats");
    add(Https, "shop.example.com", "/checkout/pay");
    for name in apps::numbered_names() {
        add(Http, &format!("{name}.example.com"), "/");
    }
    add(Http, UNKNOWN_HOST, "/");
    requests
}

/// Sends all samples, one after another, and collects their records. Also returns records of other requests that
/// arrived meanwhile.
///
/// # Cancellation
/// Dropping the future stops after the current request. Its record is lost.
pub(super) async fn send(
    client: &Client,
    table: &RoutingTable,
    log: &mut Receiver<ServedRequest>,
) -> (Vec<Sample>, Vec<ServedRequest>) {
    let requests = requests();
    let mut samples = Vec::with_capacity(requests.len());
    for request in &requests {
        let failure = check(table, request, client.send(request).await).err();
        samples.push(Sample { record: None, failure });
    }
    let mut others = Vec::new();
    let collect = async {
        while samples.iter().any(|sample| sample.record.is_none() && sample.failure.is_none()) {
            let Some(record) = log.recv().await else { return };
            let is_of = |request: &Request| record.user_agent.as_deref() == Some(&*request.user_agent);
            match requests.iter().zip(&mut samples).find(|(request, _)| is_of(request)) {
                Some((_, sample)) => sample.record = Some(record),
                None => others.push(record),
            }
        }
    };
    if tokio::time::timeout(LOG_TIMEOUT, collect).await.is_err() {
        tracing::error!("the access log does not report all samples");
    }
    for (sample, request) in samples.iter_mut().zip(&requests) {
        if sample.record.is_none() && sample.failure.is_none() {
            sample.failure = Some(format!("{}: no record in the access log", client.url(request)));
        }
    }
    (samples, others)
}

/// Compares a response with the table.
fn check(table: &RoutingTable, request: &Request, response: anyhow::Result<Response>) -> Result<(), String> {
    let response = response.map_err(|error| format!("{error:#}"))?;
    let unexpected = |text: String| Err(format!("{}{}: {text}", request.host, request.path));
    let Some(route) = matching_route(table, request) else {
        return match response.gateway_reason {
            Some(_) => Ok(()),
            None => unexpected(format!("a response {} although no Ingress has a rule", response.status)),
        };
    };
    if let Some(reason) = response.gateway_reason {
        return unexpected(format!("the gateway itself responds {} ({reason})", response.status));
    }
    match serde_json::from_slice::<Echo>(&response.body) {
        Ok(echo) if is_endpoint_of(route, &echo) => Ok(()),
        Ok(echo) => unexpected(format!("{} is not an endpoint of the Ingress's Service", echo.pod)),
        Err(error) => unexpected(format!("the response is not from a sample app: {error}")),
    }
}

/// Returns the Route that the data plane chooses for a request.
fn matching_route<'a>(table: &'a RoutingTable, request: &Request) -> Option<&'a Route> {
    let host = host::normalise(request.host.as_bytes())?;
    let path = path::canonical(request.path.as_bytes()).ok()?;
    exchange::find_route(table, &host, &path, &PlainRequest).ok().map(AsRef::as_ref)
}

/// Returns whether the sender of an echo is a ready endpoint of one of the Route's Services.
fn is_endpoint_of(route: &Route, echo: &Echo) -> bool {
    route.backends.iter().any(|weighted| {
        let endpoints = weighted.backend.endpoints.load();
        *weighted.backend.service.name == *echo.service
            && endpoints.ready().iter().any(|endpoint| endpoint.address == echo.endpoint)
    })
}
