//! Services of type ExternalName: names are resolved by a real name server over UDP, and requests follow its responses.

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

use support::{ANY_PORT, Origin, TestGateway, ingress, until};

/// How the name server fills its response to a query.
type Says = fn(&Query, &mut Message);

/// The address of an origin, with a TTL of 0 s, so that the gateway resolves it as often as it can.
fn here(query: &Query, answer: &mut Message) {
    v4(query, answer, Ipv4Addr::LOCALHOST);
}

/// An address without a listener.
fn moved(query: &Query, answer: &mut Message) {
    v4(query, answer, Ipv4Addr::new(127, 0, 0, 2));
}

fn v4(query: &Query, answer: &mut Message, address: Ipv4Addr) {
    if query.query_type() == RecordType::A {
        answer.add_answer(Record::from_rdata(query.name().clone(), 0, RData::A(A(address))));
    }
}

fn fails(_query: &Query, answer: &mut Message) {
    answer.metadata.response_code = ResponseCode::ServFail;
}

fn gone(_query: &Query, answer: &mut Message) {
    answer.metadata.response_code = ResponseCode::NXDomain;
}

/// A name server on loopback.
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    fn start(says: Says) -> Self {
        let socket = UdpSocket::bind(ANY_PORT).unwrap();
        let address = socket.local_addr().unwrap();
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::<Mutex<Vec<_>>>::default());
        let (now, names) = (Arc::clone(&says), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                names.lock().unwrap().push(question.queries[0].name().to_string());
                let says = *now.lock().unwrap();
                let _ = socket.send_to(&answer(&question, says).to_vec().unwrap(), peer);
            }
        });
        Self { address, says, asked }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// The number of queries for a name, of both families.
    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }

    fn dns(&self, loopback: Loopback) -> DnsSettings {
        DnsSettings { servers: vec![self.address], loopback }
    }

    fn settings(&self, loopback: Loopback) -> Settings {
        Settings { dns: self.dns(loopback), ..Settings::default() }
    }
}

fn answer(question: &Message, says: Says) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.iter().cloned());
    says(&question.queries[0], &mut answer);
    answer
}

/// Returns the results of one lookup at a name server.
async fn look_up(says: Says) -> FamilyResults {
    let server = NameServer::start(says);
    Resolver::new(server.dns(Loopback::Allowed)).lookup("db.example".into()).await
}

fn localhost(seconds: u64) -> Result<Addresses, LookupError> {
    let list = vec![Ipv4Addr::LOCALHOST.into()];
    Ok(Addresses { list, time_to_live: Duration::from_secs(seconds) })
}

#[tokio::test]
async fn alias_chain_uses_its_shortest_ttl() {
    let found = look_up(|query, answer| {
        let real = Name::from_ascii("real.example.").unwrap();
        if *query.name() != real {
            answer.add_answer(Record::from_rdata(query.name().clone(), 7, RData::CNAME(CNAME(real.clone()))));
        }
        if query.query_type() == RecordType::A {
            answer.add_answer(Record::from_rdata(real, 600, RData::A(A(Ipv4Addr::LOCALHOST))));
        }
    });
    assert_eq!(found.await, [localhost(7), Err(LookupError::NoAddresses)]);

    // The same if the name server does not follow the alias itself.
    let found = look_up(|query, answer| {
        let real = Name::from_ascii("real.example.").unwrap();
        if *query.name() != real {
            answer.add_answer(Record::from_rdata(query.name().clone(), 7, RData::CNAME(CNAME(real))));
        } else if query.query_type() == RecordType::A {
            answer.add_answer(Record::from_rdata(real, 600, RData::A(A(Ipv4Addr::LOCALHOST))));
        }
    });
    assert_eq!(found.await, [localhost(7), Err(LookupError::NoAddresses)]);
}

#[tokio::test]
async fn address_families_are_resolved_independently() {
    let found = look_up(|query, answer| match query.query_type() {
        RecordType::A => here(query, answer),
        _ => fails(query, answer),
    });
    let [v4, v6] = found.await;
    assert_eq!(v4, localhost(0));
    assert!(matches!(v6, Err(LookupError::Failed(_))), "{v6:?}");
}

#[tokio::test]
async fn failed_lookup_differs_from_empty_result() {
    assert_eq!(look_up(gone).await, [Err(LookupError::NoAddresses), Err(LookupError::NoAddresses)]);
    assert_eq!(look_up(|_, _| {}).await, [Err(LookupError::NoAddresses), Err(LookupError::NoAddresses)]);
    let refuses: Says = |_, answer| answer.metadata.response_code = ResponseCode::Refused;
    for says in [fails as Says, refuses] {
        let found = look_up(says).await;
        assert!(found.iter().all(|one| matches!(one, Err(LookupError::Failed(_)))), "{found:?}");
    }
}

/// A class that allows ExternalName Services.
const CLASS: &str = "---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: gateway, annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}}
spec:
  controller: wasm-gateway.dev/ingress-controller
  parameters: {apiGroup: wasm-gateway.dev, kind: IngressClassConfig, name: open}
---
apiVersion: wasm-gateway.dev/v1alpha1
kind: IngressClassConfig
metadata: {name: open}
spec: {externalNames: Allow}
";

/// Host `<service>.example` at an ExternalName Service. The rule has the port of the origin.
fn at_name(service: &str, name: &str, origin: SocketAddr) -> String {
    let port = origin.port();
    let host = format!("{service}.example");
    let ingress = ingress(service, &host, &[("/", service)]);
    let spec = format!(
        "  type: ExternalName\n  externalName: {name}\n  ports: [{{port: 80, name: http}}, {{port: {port}, name: other}}]\n"
    );
    ingress.replace("number: 80", &format!("number: {port}"))
        + &format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}}}\nspec:\n{spec}")
}

fn yaml(origin: SocketAddr) -> String {
    CLASS.to_owned() + &at_name("a", "db.example", origin)
}

fn status(gateway: &TestGateway) -> u16 {
    gateway.get("a.example", "/").status()
}

#[test]
fn addresses_follow_dns_and_survive_failed_lookups() {
    let (one, other) = (Origin::named("one"), NameServer::start(here));
    let gateway = TestGateway::with(&yaml(one.address), other.settings(Loopback::Allowed));
    until("the name is resolved", || status(&gateway) == 200);
    assert_eq!(one.last().field("host"), Some("a.example"), "the client's Host goes on");
    assert_eq!(gateway.admin("/problems").1, "");
    let (_, explanation) = gateway.admin("/explain?url=http://a.example/");
    let port = one.address.port();
    let service = format!("\n  stands for db.example:{port}\n  dialled: 127.0.0.1:{port}\n");
    assert!(explanation.contains(&service), "{explanation}");

    // The addresses stay while the name server fails, and there is a Problem.
    other.say(fails);
    until("the failure is reported", || gateway.admin("/problems").1.contains("NameNotResolved"));
    assert_eq!(status(&gateway), 200);
    assert!(gateway.admin("/problems").1.contains("last addresses stay in use"));

    // The name moves to an address without a listener.
    other.say(moved);
    until("the move is followed", || status(&gateway) == 502);
    // Addresses are dialled shortly before the Problems are published.
    until("nothing is wrong any more", || gateway.admin("/problems").1.is_empty());

    // The zone loses the name.
    other.say(gone);
    until("the name's end is followed", || status(&gateway) == 503);
    assert_eq!(gateway.get("a.example", "/").field("gateway-reason"), Some("no_ready_endpoint"));
    until("it is reported", || gateway.admin("/problems").1.contains("db.example has no addresses"));
    let (_, explanation) = gateway.admin("/explain?url=http://a.example/");
    assert!(explanation.contains("NameNotResolved"), "{explanation}");

    // An unresolved name does not make the gateway unready.
    assert_eq!(gateway.admin("/readyz").0, 200);

    // No Service has the name any more.
    gateway.replace("all.yaml", "");
    assert_eq!(gateway.admin("/problems").1, "");
}

#[test]
fn services_with_one_name_share_its_resolution() {
    let (origin, server) = (Origin::named("one"), NameServer::start(gone));
    let gateway = TestGateway::with(&yaml(origin.address), server.settings(Loopback::Allowed));
    let problems = || gateway.admin("/problems").1;
    until("the Problem is reported", || problems().contains("NameNotResolved"));
    gateway.replace("b.yaml", &at_name("b", "db.example", origin.address));
    assert_eq!(problems().matches("Service default/").count(), 2, "{}", problems());
    std::fs::remove_file(gateway.path("b.yaml")).unwrap();
    until("one Service is gone", || problems().matches("Service default/").count() == 1);

    server.say(here);
    until("the name is back", || status(&gateway) == 200);
    assert_eq!(problems(), "");
    // A known resolution serves a new Service at once.
    gateway.replace("b.yaml", &at_name("b", "db.example", origin.address));
    assert_eq!(gateway.get("b.example", "/").status(), 200);
}

#[test]
fn unused_name_is_no_longer_looked_up() {
    let (origin, server) = (Origin::named("one"), NameServer::start(here));
    let gateway = TestGateway::with(&yaml(origin.address), server.settings(Loopback::Allowed));
    gateway.replace("b.yaml", &at_name("b", "other.example", origin.address));
    let asked = || (server.asked("db.example."), server.asked("other.example."));
    until("both are asked for", || asked().0 >= 2 && asked().1 >= 2);
    std::fs::remove_file(gateway.path("b.yaml")).unwrap();
    until("it is gone", || gateway.get("b.example", "/").status() == 404);
    // A lookup has two queries, one for each family. At most the queries of one started lookup follow.
    let (round, before) = asked();
    until("two more rounds have passed", || asked().0 >= round + 4);
    assert!(asked().1 <= before + 2, "{before} → {:?}", asked());
    let (round, before) = asked();
    until("and one more", || asked().0 >= round + 2);
    assert_eq!(asked().1, before);
}

#[test]
fn ip_address_as_external_name_is_a_problem() {
    let (origin, server) = (Origin::named("one"), NameServer::start(here));
    let yaml = CLASS.to_owned() + &at_name("a", "127.0.0.1", origin.address);
    let gateway = TestGateway::with(&yaml, server.settings(Loopback::Allowed));
    until("the Problem is reported", || gateway.admin("/problems").1.contains("is not a DNS name"));
    assert_eq!(status(&gateway), 503);
    assert_eq!(server.asked.lock().unwrap().len(), 0);
}

#[test]
fn loopback_address_is_dialled_only_if_allowed() {
    let (origin, server) = (Origin::named("one"), NameServer::start(here));
    let gateway = TestGateway::with(&yaml(origin.address), server.settings(Loopback::Refused));
    until("the Problem is reported", || {
        gateway.admin("/problems").1.contains("addresses only that are not dialled")
    });
    assert_eq!(status(&gateway), 503);
    assert_eq!(origin.count(), 0);
}
