//! Connections to real sockets of this machine, at instants that the tests give.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use routing::object::{Name, PortRef};
use routing::table::{Endpoints, Policy};

use super::health::HealthStatus;
use super::queue::ConnectionQueue;
use super::*;
use crate::settings::{Settings, TimeoutSettings};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const SHORT: Duration = Duration::from_millis(50);

fn upstreams() -> Upstreams {
    let connector = Arc::new(TransportConnector::new(None));
    Upstreams::new(connector, Clock::default(), Rc::default(), Arc::default(), HeadLimits::default())
}

/// A request that may take `once` for one connect and `total` for all of them.
fn retry(once: Duration, total: Duration) -> RetryState {
    let timeouts = TimeoutSettings { connect: once, connect_total: total, ..TimeoutSettings::default() };
    let settings = Settings { timeouts, ..Settings::default() };
    RetryState::new(UpstreamPolicy::new(&Policy::default(), &settings), Resend::Forbidden)
}

/// An address that swallows attempts to connect, for as long as the rest lives: one connection fills a queue of length
/// 0, and the kernel then ignores further ones.
fn blackhole() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&ANY_PORT.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filling = [(); 3].map(|()| TcpStream::connect_timeout(&address, Duration::from_millis(100)));
    assert!(filling.iter().any(Result::is_err), "the queue is full");
    (address, (socket, filling))
}

/// How much memory a request holds while it is opening a connection. The closure is never called.
fn size_of_opening<'a, F: Future>(
    _: impl FnOnce(&'a Upstreams, &'a Arc<Backend>, &'a mut RetryState) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn a_request_that_opens_a_connection_holds_less_than_a_kilobyte_for_it() {
    let size = size_of_opening(|upstreams, backend, retry| upstreams.connect(backend, retry));
    assert!(size < 1024, "{size} bytes: dialling is to be boxed");
}

#[tokio::test]
async fn a_connect_that_had_but_the_rest_of_the_time_ejects_nobody_and_one_that_had_all_of_it_does() {
    let (address, _filling) = blackhole();
    let (upstreams, endpoint) = (upstreams(), Endpoint::new(address, Arc::default()));
    let mut late = retry(20 * SHORT, 60 * SHORT);
    // It has waited for the right to connect.
    late.connect_time_left = SHORT;
    assert_eq!(upstreams.connect_to(&endpoint, &mut late).await.unwrap_err(), ConnectError::TimedOut);
    assert_eq!(late.connect_time_left, Duration::ZERO);
    assert_eq!(endpoint.health.status(0), HealthStatus::Healthy);
    // All of it is what one connect may take, or all may take together.
    for (once, total) in [(SHORT, 60 * SHORT), (60 * SHORT, SHORT), (Duration::ZERO, SHORT)] {
        let endpoint = Endpoint::new(address, Arc::default());
        let error = upstreams.connect_to(&endpoint, &mut retry(once, total)).await.unwrap_err();
        assert_eq!(error, ConnectError::TimedOut);
        assert_eq!(
            endpoint.health.status(0),
            HealthStatus::Ejected(EjectionCause::Unreachable),
            "{once:?} of {total:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_connect_ejects_however_little_time_it_had() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (upstreams, endpoint) = (upstreams(), Endpoint::new(address, Arc::default()));
    let mut late = retry(60 * SHORT, 60 * SHORT);
    late.connect_time_left = 20 * SHORT;
    assert_eq!(upstreams.connect_to(&endpoint, &mut late).await.unwrap_err(), ConnectError::Refused);
    assert_eq!(endpoint.health.status(0), HealthStatus::Ejected(EjectionCause::Unreachable));
}

#[tokio::test]
async fn an_idle_connection_carries_any_request_for_4_s_and_then_only_what_can_be_sent_again() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let (upstreams, queue) = (upstreams(), ConnectionQueue::new(Arc::default()));
    let endpoint = Endpoint::new(listener.local_addr().unwrap(), Arc::default());
    let second = |seconds| Some(Duration::from_secs(seconds));
    // What the endpoint says of itself; milliseconds for which it is surely open, and for which it may be.
    for (said, surely, perhaps) in [
        (None, 4_000, 60_000),
        (second(5), 4_000, 5_000),
        (second(2), 1_000, 2_000),
        (second(120), 4_000, 120_000),
    ] {
        for (reuse, age, is_given) in [
            (Reuse::Recent, surely, true),
            (Reuse::Recent, surely + 1, false),
            (Reuse::Any, surely + 1, true),
            (Reuse::Any, perhaps, true),
            (Reuse::Any, perhaps + 1, false),
            (Reuse::Never, 0, false),
        ] {
            let connection =
                upstreams.connect_to(&endpoint, &mut retry(60 * SHORT, 60 * SHORT)).await.unwrap();
            endpoint.put_idle(connection, queue.try_acquire(1).unwrap(), said, 7_000);
            let taken = endpoint.take_idle(reuse, 7_000 + age);
            assert_eq!(taken.is_some(), is_given, "{reuse:?} after {age} ms of {said:?}");
            endpoint.close_idle();
        }
        let connection = upstreams.connect_to(&endpoint, &mut retry(60 * SHORT, 60 * SHORT)).await.unwrap();
        endpoint.put_idle(connection, queue.try_acquire(1).unwrap(), said, 7_000);
        endpoint.sweep(7_000 + perhaps);
        assert!(queue.try_acquire(1).is_none(), "it is kept, and counts");
        endpoint.sweep(7_000 + perhaps + 1);
        assert!(queue.try_acquire(1).is_some(), "it is closed");
    }
}

#[test]
fn a_request_takes_an_old_connection_only_if_it_is_sure_to_bear_being_sent_again() {
    let reuse = |resend| RetryState::new(retry(SHORT, SHORT).policy, resend).reuse;
    assert_eq!((reuse(Resend::Possible), reuse(Resend::Forbidden)), (Reuse::Any, Reuse::Recent));
}

#[test]
fn each_workers_turns_and_shares_begin_at_a_place_of_their_own() {
    let backend = Arc::new(Backend {
        id: 1,
        service: Name::new("default", "a"),
        port: PortRef::Name("http".into()),
        endpoints: arc_swap::ArcSwap::from_pointee(Endpoints::NoneReady),
        app_protocol: Default::default(),
        external_name: Default::default(),
    });
    let shared = SharedUpstreams::default();
    let pools: Vec<_> = (0..16).map(|_| BackendPool::new(&backend, &shared)).collect();
    // Of three endpoints 16 workers have the same one first with the chance 3^-15, one in 14 million.
    for begins in [BackendPool::next_endpoint_turn, BackendPool::next_backend_turn] {
        let first: Vec<_> = pools.iter().map(|pool| begins(pool) % 3).collect();
        assert!(first.iter().any(|place| Some(place) != first.first()), "{first:?}");
    }
}
