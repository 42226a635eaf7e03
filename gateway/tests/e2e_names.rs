//! Services of type ExternalName whose class allows them: names are asked of a real name server over UDP, and requests
//! follow its answers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use gateway::names::dns::Loopback;
use gateway::settings::Settings;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use support::{ANY_PORT, Origin, TestGateway, ingress, until};

/// What the name server says of every name: an address, or a code without one.
type Says = Result<Ipv4Addr, ResponseCode>;

/// A name server on loopback. All its answers hold for 0 s, so they are asked for as often as the gateway does.
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

impl NameServer {
    fn start(says: Says) -> Self {
        let socket = UdpSocket::bind(ANY_PORT).unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let now = Arc::clone(&says);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let answer = answer(&Message::from_vec(&buffer[..length]).unwrap(), *now.lock().unwrap());
                let _ = socket.send_to(&answer.to_vec().unwrap(), peer);
            }
        });
        Self { address, says }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn settings(&self, loopback: Loopback) -> Settings {
        let names = gateway::names::dns::Settings { servers: vec![self.address], loopback };
        Settings { names, ..Settings::default() }
    }
}

fn answer(question: &Message, says: Says) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.iter().cloned());
    match says {
        Ok(address) => {
            let query = &question.queries[0];
            if query.query_type() == RecordType::A {
                answer.add_answer(Record::from_rdata(query.name().clone(), 0, RData::A(A(address))));
            }
        }
        Err(code) => answer.metadata.response_code = code,
    }
    answer
}

/// Host `a.example` at a Service that stands for `db.example`, of a class that allows that.
fn yaml(origin: SocketAddr) -> String {
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: gateway\n  annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}\nspec:\n  controller: wasm-gateway.dev/ingress-controller\n  parameters: {apiGroup: wasm-gateway.dev, kind: IngressClassConfig, name: open}\n";
    let config = "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: IngressClassConfig\nmetadata: {name: open}\nspec: {externalNames: Allow}\n";
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec:\n  type: ExternalName\n  externalName: db.example\n  ports: [{{port: 80, name: http}}, {{port: {}, name: other}}]\n",
        origin.port()
    );
    let port = origin.port();
    let ingress = ingress("a", "a.example", &[("/", "a")]).replace("number: 80", &format!("number: {port}"));
    [class, config, &service, &ingress].concat()
}

fn status(gateway: &TestGateway) -> u16 {
    gateway.get("a.example", "/").status()
}

#[test]
fn a_name_is_resolved_followed_and_kept_while_nobody_can_say() {
    let (one, other) = (Origin::named("one"), NameServer::start(Ok(Ipv4Addr::LOCALHOST)));
    let gateway = TestGateway::with(&yaml(one.address), other.settings(Loopback::Allowed));
    until("the name is resolved", || status(&gateway) == 200);
    assert_eq!(one.last().field("host"), Some("a.example"), "the client's Host goes on");
    assert_eq!(gateway.admin("/problems").1, "");

    // Its addresses stay while the name server fails, and that is told.
    other.say(Err(ResponseCode::ServFail));
    until("the failure is told", || gateway.admin("/problems").1.contains("NameNotResolved"));
    assert_eq!(status(&gateway), 200);
    assert!(gateway.admin("/problems").1.contains("last addresses stay in use"));

    // It moves to an address where nobody listens on that port.
    other.say(Ok(Ipv4Addr::new(127, 0, 0, 2)));
    until("the move is followed", || status(&gateway) == 502);
    assert_eq!(gateway.admin("/problems").1, "");

    // The name is gone.
    other.say(Err(ResponseCode::NXDomain));
    until("the name's end is followed", || status(&gateway) == 503);
    assert!(gateway.admin("/problems").1.contains("db.example has no addresses"));

    // Nobody names it any more.
    gateway.replace("all.yaml", "");
    assert_eq!(gateway.admin("/problems").1, "");
}

#[test]
fn a_name_may_not_lead_to_this_machine_unless_that_is_allowed() {
    let (origin, server) = (Origin::named("one"), NameServer::start(Ok(Ipv4Addr::LOCALHOST)));
    let gateway = TestGateway::with(&yaml(origin.address), server.settings(Loopback::Refused));
    until("the refusal is told", || {
        gateway.admin("/problems").1.contains("addresses only that are not dialled")
    });
    assert_eq!(status(&gateway), 503);
    assert_eq!(origin.count(), 0);
}
