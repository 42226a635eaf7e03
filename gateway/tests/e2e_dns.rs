//! ExternalName Services: a name server on UDP resolves their names, and requests go to the addresses it returns.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::control::dns::resolver::Resolver;
use gateway::control::dns::{Addresses, FamilyResults, Lookup as _, LookupError};
use gateway::settings::{DnsSettings, Loopback, Settings};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use support::fixtures::{Manifests, ingress, ingress_class, ingress_class_config, service};
use support::{ANY_PORT, Origin, TestGateway, until};

/// A function that fills the response of the name server to a query.
type Script = fn(&Query, &mut Message);

/// Adds the address of the origins. A TTL of 0 s makes the gateway resolve it at its minimum interval.
fn loopback_address(query: &Query, response: &mut Message) {
    v4(query, response, Ipv4Addr::LOCALHOST);
}

/// Adds an address on which no endpoint listens.
fn address_without_listener(query: &Query, response: &mut Message) {
    v4(query, response, Ipv4Addr::new(127, 0, 0, 2));
}

fn v4(query: &Query, response: &mut Message, address: Ipv4Addr) {
    if query.query_type() == RecordType::A {
        response.add_answer(Record::from_rdata(query.name().clone(), 0, RData::A(A(address))));
    }
}

fn server_failure(_query: &Query, response: &mut Message) {
    response.metadata.response_code = ResponseCode::ServFail;
}

fn nx_domain(_query: &Query, response: &mut Message) {
    response.metadata.response_code = ResponseCode::NXDomain;
}

/// A name server on loopback.
struct NameServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    queried_names: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    fn start(script: Script) -> Self {
        let socket = UdpSocket::bind(ANY_PORT).unwrap();
        let address = socket.local_addr().unwrap();
        let (script, queried_names) = (Arc::new(Mutex::new(script)), Arc::<Mutex<Vec<_>>>::default());
        let (current, names) = (Arc::clone(&script), Arc::clone(&queried_names));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let request = Message::from_vec(&buffer[..length]).unwrap();
                names.lock().unwrap().push(request.queries[0].name().to_string());
                let script = *current.lock().unwrap();
                let _ = socket.send_to(&respond(&request, script).to_vec().unwrap(), peer);
            }
        });
        Self { address, script, queried_names }
    }

    fn set_script(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// Returns the number of queries for a name, both address families counted.
    fn query_count(&self, name: &str) -> usize {
        self.queried_names.lock().unwrap().iter().filter(|queried| *queried == name).count()
    }

    fn dns(&self, loopback: Loopback) -> DnsSettings {
        DnsSettings { servers: vec![self.address], loopback }
    }

    fn settings(&self, loopback: Loopback) -> Settings {
        Settings { dns: self.dns(loopback), ..Settings::default() }
    }
}

/// Returns the response to a query, filled by the script.
fn respond(request: &Message, script: Script) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    script(&request.queries[0], &mut response);
    response
}

/// Returns the results of one lookup at a name server.
async fn look_up(script: Script) -> FamilyResults {
    let server = NameServer::start(script);
    Resolver::new(server.dns(Loopback::Allowed)).lookup("db.example".into()).await
}

fn localhost(seconds: u64) -> Result<Addresses, LookupError> {
    let list = vec![Ipv4Addr::LOCALHOST.into()];
    Ok(Addresses { list, time_to_live: Duration::from_secs(seconds) })
}

#[tokio::test]
async fn alias_chain_uses_its_shortest_ttl() {
    let found = look_up(|query, response| {
        let real = Name::from_ascii("real.example.").unwrap();
        if *query.name() != real {
            response.add_answer(Record::from_rdata(
                query.name().clone(),
                7,
                RData::CNAME(CNAME(real.clone())),
            ));
        }
        if query.query_type() == RecordType::A {
            response.add_answer(Record::from_rdata(real, 600, RData::A(A(Ipv4Addr::LOCALHOST))));
        }
    });
    assert_eq!(found.await, [localhost(7), Err(LookupError::NoAddresses)]);

    // The same if the name server does not follow the alias itself.
    let found = look_up(|query, response| {
        let real = Name::from_ascii("real.example.").unwrap();
        if *query.name() != real {
            response.add_answer(Record::from_rdata(query.name().clone(), 7, RData::CNAME(CNAME(real))));
        } else if query.query_type() == RecordType::A {
            response.add_answer(Record::from_rdata(real, 600, RData::A(A(Ipv4Addr::LOCALHOST))));
        }
    });
    assert_eq!(found.await, [localhost(7), Err(LookupError::NoAddresses)]);
}

#[tokio::test]
async fn address_families_are_resolved_independently() {
    let found = look_up(|query, response| match query.query_type() {
        RecordType::A => loopback_address(query, response),
        _ => server_failure(query, response),
    });
    let [v4, v6] = found.await;
    assert_eq!(v4, localhost(0));
    assert!(matches!(v6, Err(LookupError::Failed(_))), "{v6:?}");
}

#[tokio::test]
async fn failed_lookup_differs_from_empty_result() {
    assert_eq!(look_up(nx_domain).await, [Err(LookupError::NoAddresses), Err(LookupError::NoAddresses)]);
    assert_eq!(look_up(|_, _| {}).await, [Err(LookupError::NoAddresses), Err(LookupError::NoAddresses)]);
    let refuses: Script = |_, response| response.metadata.response_code = ResponseCode::Refused;
    for script in [server_failure as Script, refuses] {
        let found = look_up(script).await;
        assert!(found.iter().all(|one| matches!(one, Err(LookupError::Failed(_)))), "{found:?}");
    }
}

/// Returns the default IngressClass, which allows ExternalName Services.
fn class() -> Manifests {
    ingress_class("gateway").default_class().config("open")
        + ingress_class_config("open").spec("externalNames: Allow")
}

/// Returns host `<service>.example` at an ExternalName Service. The rule has the port of the origin.
fn external_route(service_name: &str, external_name: &str, origin: SocketAddr) -> Manifests {
    let (host, port) = (format!("{service_name}.example"), origin.port());
    ingress(service_name).host(&host).path("/", service_name).port(port)
        + service(service_name).external_name(external_name).named_port("http", 80).named_port("other", port)
}

/// Returns the class and host `a.example` at `db.example`.
fn objects(origin: SocketAddr) -> Manifests {
    class() + external_route("a", "db.example", origin)
}

fn status(gateway: &TestGateway) -> u16 {
    gateway.get("a.example", "/").status()
}

#[test]
fn addresses_follow_dns_and_survive_failed_lookups() {
    let (origin, server) = (Origin::named("one"), NameServer::start(loopback_address));
    let gateway = TestGateway::with(&objects(origin.address), server.settings(Loopback::Allowed));
    until("the name is resolved", || status(&gateway) == 200);
    assert_eq!(origin.last().field("host"), Some("a.example"), "the client's Host is forwarded");
    assert_eq!(gateway.admin("/problems").1, "1 Ingress served\n");
    let (_, explanation) = gateway.admin("/explain?url=http://a.example/");
    let port = origin.address.port();
    let service = format!("\n            name db.example:{port}\n            sends to 127.0.0.1:{port}\n");
    assert!(explanation.contains(&service), "{explanation}");

    // The addresses stay while the name server fails, and there is a Problem.
    server.set_script(server_failure);
    until("the failure is reported", || gateway.admin("/problems").1.contains("NameNotResolved"));
    assert_eq!(status(&gateway), 200);
    assert!(gateway.admin("/problems").1.contains("last addresses stay in use"));

    // The name moves to an address without a listener.
    server.set_script(address_without_listener);
    until("the move is followed", || status(&gateway) == 502);
    // Addresses are dialled shortly before the Problems are published.
    until("the Problem is withdrawn", || gateway.admin("/problems").1 == "1 Ingress served\n");

    // The name is removed from its zone.
    server.set_script(nx_domain);
    until("the removal is followed", || status(&gateway) == 503);
    assert_eq!(gateway.get("a.example", "/").field("gateway-reason"), Some("no_ready_endpoint"));
    until("the removal is reported", || gateway.admin("/problems").1.contains("db.example has no addresses"));
    let (_, explanation) = gateway.admin("/explain?url=http://a.example/");
    assert!(explanation.contains("NameNotResolved"), "{explanation}");

    // An unresolved name does not make the gateway unready.
    assert_eq!(gateway.admin("/readyz").0, 200);

    // The Problem ends with the last Service of the name.
    gateway.replace("all.yaml", "");
    assert_eq!(gateway.admin("/problems").1, "0 Ingresses served\n");
}

#[test]
fn services_with_one_name_share_its_resolution() {
    let (origin, server) = (Origin::named("one"), NameServer::start(nx_domain));
    let gateway = TestGateway::with(&objects(origin.address), server.settings(Loopback::Allowed));
    let problems = || gateway.admin("/problems").1;
    until("the Problem is reported", || problems().contains("NameNotResolved"));
    gateway.replace("b.yaml", &external_route("b", "db.example", origin.address));
    assert_eq!(problems().matches("Service default/").count(), 2, "{}", problems());
    std::fs::remove_file(gateway.path("b.yaml")).unwrap();
    until("one Service is removed", || problems().matches("Service default/").count() == 1);

    server.set_script(loopback_address);
    until("the name is resolved", || status(&gateway) == 200);
    assert_eq!(problems(), "1 Ingress served\n");
    // A known resolution serves a new Service at once.
    gateway.replace("b.yaml", &external_route("b", "db.example", origin.address));
    assert_eq!(gateway.get("b.example", "/").status(), 200);
}

#[test]
fn unused_name_is_no_longer_looked_up() {
    let (origin, server) = (Origin::named("one"), NameServer::start(loopback_address));
    let gateway = TestGateway::with(&objects(origin.address), server.settings(Loopback::Allowed));
    gateway.replace("b.yaml", &external_route("b", "other.example", origin.address));
    let counts = || (server.query_count("db.example."), server.query_count("other.example."));
    until("both names are queried", || counts().0 >= 2 && counts().1 >= 2);
    std::fs::remove_file(gateway.path("b.yaml")).unwrap();
    until("the rule is removed", || gateway.get("b.example", "/").status() == 404);
    // A lookup has two queries, one for each family. At most the queries of one started lookup follow.
    let (round, before) = counts();
    until("two more rounds have passed", || counts().0 >= round + 4);
    assert!(counts().1 <= before + 2, "{before} → {:?}", counts());
    let (round, before) = counts();
    until("one more round has passed", || counts().0 >= round + 2);
    assert_eq!(counts().1, before);
}

#[test]
fn ip_address_as_external_name_is_a_problem() {
    let (origin, server) = (Origin::named("one"), NameServer::start(loopback_address));
    let objects = class() + external_route("a", "127.0.0.1", origin.address);
    let gateway = TestGateway::with(&objects, server.settings(Loopback::Allowed));
    until("the Problem is reported", || gateway.admin("/problems").1.contains("is not a DNS name"));
    assert_eq!(status(&gateway), 503);
    assert_eq!(server.queried_names.lock().unwrap().len(), 0);
}

#[test]
fn loopback_address_is_dialled_only_if_allowed() {
    let (origin, server) = (Origin::named("one"), NameServer::start(loopback_address));
    let gateway = TestGateway::with(&objects(origin.address), server.settings(Loopback::Refused));
    until("the Problem is reported", || {
        gateway.admin("/problems").1.contains("addresses only that are not dialled")
    });
    assert_eq!(status(&gateway), 503);
    assert_eq!(origin.count(), 0);
}
