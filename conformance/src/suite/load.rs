//! Requests that are repeated while a step changes objects. Each of them must succeed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use super::backends::CaseBackends;
use super::case::ExpectedResponse;
use super::case::LoadSpec;
use super::case::RequestSpec;
use super::case::WireProtocol;
use super::client;
use super::client::Addresses;
use super::verdict::Expectation;

/// Clients that send at the same time.
const CLIENTS: usize = 2;

/// Pause of a client between two requests. It limits the load on a shared cluster.
const PAUSE: Duration = Duration::from_millis(5);

/// Minimum number of requests. Fewer would prove nothing.
const MIN_REQUESTS: usize = 20;

/// Running clients. They stop when this is dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Result<usize, String>>,
}

impl Load {
    /// Starts the clients.
    pub fn start(addresses: Addresses, spec: &LoadSpec, backends: &CaseBackends) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stop, backends, expect) = (Arc::clone(&stop), backends.clone(), spec.expect.clone());
            let request = request(spec);
            clients.spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) || sent < MIN_REQUESTS / CLIENTS {
                    let received = client::send(&addresses, &request).await;
                    sent += 1;
                    let certificates = BTreeMap::new();
                    let expectation =
                        Expectation { expect: &expect, backends: &backends, certificates: &certificates };
                    let compared = expectation.compare(&received);
                    compared.map_err(|difference| format!("request {sent} under load: {difference}"))?;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(sent)
            });
        }
        Self { stop, clients }
    }

    /// Stops the clients and returns the number of requests.
    ///
    /// # Errors
    /// A response did not match. Returns the difference.
    ///
    /// # Cancellation
    /// Dropping the future stops the clients.
    pub async fn finish(mut self) -> Result<usize, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = 0;
        while let Some(client) = self.clients.join_next().await {
            total += client.map_err(|error| error.to_string())??;
        }
        Ok(total)
    }
}

/// Returns the request of a load.
pub fn request(spec: &LoadSpec) -> RequestSpec {
    RequestSpec {
        url: spec.url.clone(),
        method: "GET".to_owned(),
        host: None,
        sni: None,
        headers: BTreeMap::new(),
        body_bytes: 0,
        protocol: WireProtocol::Http,
        count: 1,
        immediately: true,
        expect: ExpectedResponse::default(),
    }
}
