//! What kube-proxy does: a TCP forwarder for each address of a Service, over its ready endpoints.
//!
//! ClusterIP, NodePort on every node, and LoadBalancer with an address that it writes into the status. Endpoints
//! are chosen as kube-proxy does: ready ones, else those that serve while they terminate. Traffic policies, session
//! affinity and UDP are not known.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::layout::{self, API_PORT, API_SERVICE, HOST};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where the connections of one address go.
#[derive(Debug, Default)]
struct Targets {
    addresses: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

struct Forwarder {
    targets: Arc<Targets>,
    task: JoinHandle<()>,
}

/// Follows Services and EndpointSlices for as long as the process lives.
pub(super) fn start(client: &Client, nodes: u8) {
    let client = client.clone();
    tokio::spawn(async move {
        let (services, service_writer) = reflector::store::<Service>();
        let (slices, slice_writer) = reflector::store::<EndpointSlice>();
        let all_services = Api::<Service>::all(client.clone());
        let all_slices = Api::<EndpointSlice>::all(client.clone());
        let services_change =
            watcher(all_services, watcher::Config::default()).default_backoff().reflect(service_writer);
        let slices_change =
            watcher(all_slices, watcher::Config::default()).default_backoff().reflect(slice_writer);
        let changes = futures::stream::select(
            services_change.map(|change| change.is_ok()),
            slices_change.map(|change| change.is_ok()),
        );
        let mut changes = std::pin::pin!(changes.ready_chunks(1024));
        let mut proxy = Proxy { client, nodes, forwarders: BTreeMap::new(), balancers: 0 };
        while changes.next().await.is_some() {
            proxy.follow(&services, &slices).await;
        }
    });
}

struct Proxy {
    client: Client,
    nodes: u8,
    forwarders: BTreeMap<SocketAddr, Forwarder>,
    /// How many load balancer addresses were given.
    balancers: u8,
}

impl Proxy {
    /// Brings the forwarders in step with what the API says.
    async fn follow(&mut self, services: &Store<Service>, slices: &Store<EndpointSlice>) {
        let mut wanted: BTreeMap<SocketAddr, Vec<SocketAddr>> = BTreeMap::new();
        wanted.insert((API_SERVICE, 443).into(), vec![(HOST, API_PORT).into()]);
        for service in services.state() {
            self.give_balancer(&service).await;
            for (address, port_name) in addresses(&service, self.nodes) {
                wanted.insert(address, endpoints(&service, port_name.as_deref(), slices));
            }
        }
        self.forwarders.retain(|address, forwarder| {
            let stays = wanted.contains_key(address);
            if !stays {
                forwarder.task.abort();
            }
            stays
        });
        for (address, endpoints) in wanted {
            let forwarder = self.forwarders.entry(address).or_insert_with(|| {
                let targets = Arc::<Targets>::default();
                let task = tokio::spawn(listen(address, Arc::clone(&targets)));
                Forwarder { targets, task }
            });
            let mut targets =
                forwarder.targets.addresses.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            *targets = endpoints;
        }
    }

    /// Gives a Service of type LoadBalancer its address, once.
    async fn give_balancer(&mut self, service: &Service) {
        let is_balancer =
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        if !is_balancer || balancer(service).is_some() {
            return;
        }
        let Some(address) = layout::balancer_address(self.balancers) else { return };
        let api = Api::<Service>::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
        let status =
            json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address, "ipMode": "VIP" }] } } });
        match api.patch_status(&service.name_any(), &PatchParams::default(), &Patch::Merge(status)).await {
            Ok(_) => self.balancers += 1,
            Err(error) => tracing::warn!(%error, "load balancer address not written"),
        }
    }
}

fn balancer(service: &Service) -> Option<Ipv4Addr> {
    let status = service.status.as_ref()?.load_balancer.as_ref()?;
    status.ingress.as_ref()?.first()?.ip.as_ref()?.parse().ok()
}

/// The addresses that a Service is reached at, each with the name of its port.
fn addresses(service: &Service, nodes: u8) -> Vec<(SocketAddr, Option<String>)> {
    let mut addresses = Vec::new();
    let Some(spec) = &service.spec else { return addresses };
    let cluster_ip: Option<Ipv4Addr> = spec.cluster_ip.as_ref().and_then(|ip| ip.parse().ok());
    if cluster_ip == Some(API_SERVICE) {
        return addresses;
    }
    for port in spec.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP")) {
        let number = u16::try_from(port.port).unwrap_or(0);
        let own = [cluster_ip, balancer(service)].into_iter().flatten().map(|ip| (ip, number));
        let on_nodes = port.node_port.and_then(|number| u16::try_from(number).ok()).into_iter();
        let on_nodes =
            on_nodes.flat_map(|number| (0..nodes).map(move |node| (layout::node_address(node), number)));
        addresses.extend(own.chain(on_nodes).map(|address| (address.into(), port.name.clone())));
    }
    addresses
}

/// The endpoints of a Service's port: the ready ones, else those that serve while they terminate.
fn endpoints(service: &Service, port_name: Option<&str>, slices: &Store<EndpointSlice>) -> Vec<SocketAddr> {
    let (mut ready, mut serving) = (Vec::new(), Vec::new());
    for slice in slices.state() {
        let is_of_service = slice.namespace() == service.namespace()
            && slice.labels().get(SERVICE_NAME) == Some(&service.name_any());
        if !is_of_service {
            continue;
        }
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

/// Accepts connections for one address until it is taken back. Connections in flight outlive it, as conntrack has it.
async fn listen(address: SocketAddr, targets: Arc<Targets>) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%address, %error, "cannot serve a Service's address"),
    };
    while let Ok((client, _)) = listener.accept().await {
        let target = targets.next();
        tokio::spawn(async move {
            // Nobody there: the connection is closed, which is the nearest thing to a REJECT.
            if let Some(target) = target {
                forward(client, target).await;
            }
        });
    }
}

impl Targets {
    fn next(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn.checked_rem(addresses.len())?).copied()
    }
}

async fn forward(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // Either side's failure ends both; there is nobody to tell.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
