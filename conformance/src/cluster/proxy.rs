//! Service proxy, as kube-proxy: a TCP forwarder for each address of a Service, to its ready endpoints.
//!
//! Supports ClusterIP, NodePort on every node, and LoadBalancer with an address that this proxy assigns. As in
//! kube-proxy, serving terminating endpoints are used if none is ready. Traffic policies, session affinity and UDP are
//! not supported.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::WatchBackoff;
use super::layout::{self, API_PORT, API_SERVICE_ADDRESS, HOST_ADDRESS};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Maximum number of changes that are applied at once.
const MAX_BATCH: usize = 1024;

/// Delay after a failed accept, which usually means that file descriptors are exhausted.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Namespace and name of a Service.
type ServiceKey = (String, String);

/// A Service and the name of one of its slices.
type SliceKey = (ServiceKey, String);

/// Endpoints of one address, used in turn.
#[derive(Debug, Default)]
struct EndpointPool {
    addresses: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

struct Forwarder {
    pool: Arc<EndpointPool>,
    task: JoinHandle<()>,
}

enum WatchChange {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
}

/// Starts a task that follows Services and EndpointSlices until the process ends.
pub(super) fn start(client: Client, nodes: u8) {
    let services = watcher(Api::<Service>::all(client.clone()), Config::default());
    let slices = watcher(Api::<EndpointSlice>::all(client.clone()), Config::default());
    let mut proxy = Proxy {
        client,
        nodes,
        services: ObjectCache::default(),
        slices: ObjectCache::default(),
        served: BTreeMap::new(),
        forwarders: BTreeMap::new(),
        load_balancers: BTreeMap::new(),
    };
    tokio::spawn(async move {
        proxy.set_endpoints((API_SERVICE_ADDRESS, 443).into(), vec![(HOST_ADDRESS, API_PORT).into()]);
        let changes = futures::stream::select(
            services.backoff(WatchBackoff).map(|event| event.map(Box::new).map(WatchChange::Service)),
            slices.backoff(WatchBackoff).map(|event| event.map(Box::new).map(WatchChange::Slice)),
        );
        let mut changes = std::pin::pin!(changes.ready_chunks(MAX_BATCH));
        while let Some(changes) = changes.next().await {
            proxy.apply_changes(changes.into_iter().filter_map(Result::ok)).await;
        }
    });
}

/// Objects of one kind, updated by watch events.
struct ObjectCache<K, V> {
    current: BTreeMap<K, V>,
    /// Objects of the list in progress.
    listed: BTreeMap<K, V>,
}

impl<K, V> Default for ObjectCache<K, V> {
    fn default() -> Self {
        Self { current: BTreeMap::new(), listed: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> ObjectCache<K, V> {
    /// Applies an event. Returns the keys of objects that may have changed.
    fn handle_event(&mut self, event: Event<V>, key: impl Fn(&V) -> K) -> Vec<K> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => drop(self.listed.insert(key(&object), object)),
            Event::InitDone => {
                let before = std::mem::replace(&mut self.current, std::mem::take(&mut self.listed));
                return before.into_keys().chain(self.current.keys().cloned()).collect();
            }
            Event::Apply(object) => {
                let key = key(&object);
                self.current.insert(key.clone(), object);
                return vec![key];
            }
            Event::Delete(object) => {
                let key = key(&object);
                self.current.remove(&key);
                return vec![key];
            }
        }
        Vec::new()
    }
}

fn key(service: &Service) -> ServiceKey {
    (service.namespace().unwrap_or_default(), service.name_any())
}

fn slice_key(slice: &EndpointSlice) -> SliceKey {
    let service = slice.labels().get(SERVICE_NAME).cloned().unwrap_or_default();
    ((slice.namespace().unwrap_or_default(), service), slice.name_any())
}

struct Proxy {
    client: Client,
    nodes: u8,
    services: ObjectCache<ServiceKey, Service>,
    slices: ObjectCache<SliceKey, EndpointSlice>,
    /// Forwarded addresses of each Service.
    served: BTreeMap<ServiceKey, BTreeSet<SocketAddr>>,
    forwarders: BTreeMap<SocketAddr, Forwarder>,
    /// Numbers of assigned load balancer addresses.
    load_balancers: BTreeMap<ServiceKey, u8>,
}

impl Proxy {
    /// Applies changes and updates the forwarders of the affected Services.
    async fn apply_changes(&mut self, changes: impl Iterator<Item = WatchChange>) {
        let mut changed = BTreeSet::new();
        for change in changes {
            match change {
                WatchChange::Service(event) => changed.extend(self.services.handle_event(*event, key)),
                WatchChange::Slice(event) => {
                    changed.extend(
                        self.slices.handle_event(*event, slice_key).into_iter().map(|(service, _)| service),
                    );
                }
            }
        }
        let mut desired = Vec::new();
        for key in changed {
            let addresses = match self.services.current.get(&key).cloned() {
                Some(service) => {
                    self.assign_load_balancer(&key, &service).await;
                    self.desired(&key, &service)
                }
                None => {
                    self.load_balancers.remove(&key);
                    BTreeMap::new()
                }
            };
            desired.push((key, addresses));
        }
        // Stop forwarders first: an address may move to another Service.
        for (key, addresses) in &desired {
            let previous = self.served.remove(key).unwrap_or_default();
            for address in previous.iter().filter(|previous| !addresses.contains_key(previous)) {
                self.stop_forwarder(address).await;
            }
        }
        for (key, addresses) in desired {
            if !addresses.is_empty() {
                self.served.insert(key, addresses.keys().copied().collect());
            }
            for (address, endpoints) in addresses {
                self.set_endpoints(address, endpoints);
            }
        }
    }

    /// Returns the addresses of a Service with their endpoints.
    fn desired(&self, key: &ServiceKey, service: &Service) -> BTreeMap<SocketAddr, Vec<SocketAddr>> {
        let first = (key.clone(), String::new());
        let slices: Vec<&EndpointSlice> = self
            .slices
            .current
            .range(first..)
            .take_while(|(of, _)| of.0 == *key)
            .map(|(_, slice)| slice)
            .collect();
        addresses(service, self.nodes)
            .into_iter()
            .map(|(address, port_name)| (address, endpoints(&slices, port_name.as_deref())))
            .collect()
    }

    fn set_endpoints(&mut self, address: SocketAddr, endpoints: Vec<SocketAddr>) {
        let forwarder = self.forwarders.entry(address).or_insert_with(|| {
            let pool = Arc::<EndpointPool>::default();
            let task = tokio::spawn(listen(address, Arc::clone(&pool)));
            Forwarder { pool, task }
        });
        *forwarder.pool.addresses.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }

    async fn stop_forwarder(&mut self, address: &SocketAddr) {
        if let Some(forwarder) = self.forwarders.remove(address) {
            forwarder.task.abort();
            // The listener closes when the task ends. The address may be needed again at once.
            let _ = forwarder.task.await;
        }
    }

    /// Assigns an address to a Service of type LoadBalancer. It is released when the type changes.
    async fn assign_load_balancer(&mut self, key: &ServiceKey, service: &Service) {
        let is_balancer =
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        if !is_balancer {
            self.load_balancers.remove(key);
            return;
        }
        if load_balancer_ip(service).is_some() {
            return;
        }
        let free = || (0..=u8::MAX).find(|number| !self.load_balancers.values().any(|taken| taken == number));
        let Some(number) = self.load_balancers.get(key).copied().or_else(free) else { return };
        let Some(address) = layout::load_balancer_address(number) else { return };
        let api = Api::<Service>::namespaced(self.client.clone(), &key.0);
        let status =
            json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address, "ipMode": "VIP" }] } } });
        match api.patch_status(&key.1, &PatchParams::default(), &Patch::Merge(status)).await {
            Ok(_) => drop(self.load_balancers.insert(key.clone(), number)),
            Err(error) => tracing::warn!(%error, "cannot write a load balancer address"),
        }
    }
}

fn load_balancer_ip(service: &Service) -> Option<Ipv4Addr> {
    let status = service.status.as_ref()?.load_balancer.as_ref()?;
    status.ingress.as_ref()?.first()?.ip.as_ref()?.parse().ok()
}

/// Returns the addresses of a Service, each with the name of its port.
fn addresses(service: &Service, nodes: u8) -> Vec<(SocketAddr, Option<String>)> {
    let mut addresses = Vec::new();
    let Some(spec) = &service.spec else { return addresses };
    let cluster_ip: Option<Ipv4Addr> = spec.cluster_ip.as_ref().and_then(|ip| ip.parse().ok());
    if cluster_ip == Some(API_SERVICE_ADDRESS) {
        return addresses;
    }
    for port in spec.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP")) {
        let number = u16::try_from(port.port).unwrap_or(0);
        let service_addresses =
            [cluster_ip, load_balancer_ip(service)].into_iter().flatten().map(|ip| (ip, number));
        let on_nodes = port.node_port.and_then(|number| u16::try_from(number).ok()).into_iter();
        let on_nodes =
            on_nodes.flat_map(|number| (0..nodes).map(move |node| (layout::node_address(node), number)));
        addresses
            .extend(service_addresses.chain(on_nodes).map(|address| (address.into(), port.name.clone())));
    }
    addresses
}

/// Returns the endpoints of a Service port: the ready ones, else those that serve while they terminate.
fn endpoints(slices: &[&EndpointSlice], port_name: Option<&str>) -> Vec<SocketAddr> {
    let (mut ready, mut serving) = (Vec::new(), Vec::new());
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let port = ports
            .filter(|port| port.name.as_deref().unwrap_or_default() == port_name.unwrap_or_default())
            .find_map(|port| u16::try_from(port.port?).ok());
        let Some(port) = port else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            let addresses = addresses.map(|address| SocketAddr::new(address, port));
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.ready.unwrap_or(true) {
                ready.extend(addresses);
            } else if conditions.serving.unwrap_or(true) && conditions.terminating == Some(true) {
                serving.extend(addresses);
            }
        }
    }
    let mut chosen: Vec<SocketAddr> = if ready.is_empty() { serving } else { ready };
    chosen.sort();
    chosen.dedup();
    chosen
}

/// Accepts connections for one address until the task is aborted. Open connections outlive it, as with conntrack.
async fn listen(address: SocketAddr, pool: Arc<EndpointPool>) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%address, %error, "cannot bind the address of a Service"),
    };
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%address, %error, "accept failed, will retry");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                continue;
            }
        };
        let target = pool.next();
        tokio::spawn(async move {
            // Without an endpoint the connection is closed, which comes closest to REJECT.
            if let Some(target) = target {
                forward(client, target).await;
            }
        });
    }
}

impl EndpointPool {
    fn next(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn.checked_rem(addresses.len())?).copied()
    }
}

async fn forward(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // An error on either side ends both.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
