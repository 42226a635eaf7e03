//! Connections to local sockets, with times that the tests set.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use api::RoutePolicySpec;
use routing::object::{Name, PortRef};
use routing::table::Endpoints;

use super::health::{EjectionCause, EndpointHealth, HealthStatus};
use super::queue::ConnectionQueue;
use super::*;
use crate::settings::{Settings, TimeoutSettings};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const SHORT: Duration = Duration::from_millis(50);

fn upstreams() -> Upstreams {
    let connector = Arc::new(TransportConnector::new(None));
    Upstreams::new(connector, Clock::default(), Rc::default(), Arc::default(), HeadLimits::default())
}

/// Creates the state of a request with these connect timeouts.
fn retry(once: Duration, total: Duration) -> RetryState {
    let timeouts = TimeoutSettings { connect: once, connect_total: total, ..TimeoutSettings::default() };
    let settings = Settings { timeouts, ..Settings::default() };
    RetryState::new(UpstreamPolicy::new(&RoutePolicySpec::default(), &settings), Resend::Forbidden)
}

/// Returns an address that accepts no connect while the second value lives. One connection fills a backlog of 0, and the
/// kernel ignores further ones.
fn blackhole() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&ANY_PORT.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filling = [(); 3].map(|()| TcpStream::connect_timeout(&address, Duration::from_millis(100)));
    assert!(filling.iter().any(Result::is_err), "the queue is full");
    (address, (socket, filling))
}

/// Returns the size of the future that opens a connection. The closure is never called.
fn connect_future_size<'a, F: Future>(
    _: impl FnOnce(&'a Upstreams, &'a Arc<Backend>, &'a mut RetryState) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn connect_future_is_below_1_kib() {
    let size = connect_future_size(|upstreams, backend, retry| upstreams.connect(backend, retry));
    assert!(size < 1024, "{size} bytes: the connect must be boxed");
}

#[tokio::test]
async fn connect_timeout_ejects_only_with_the_full_timeout() {
    let (address, _filling) = blackhole();
    let (upstreams, endpoint) = (upstreams(), Endpoint::new(address, EndpointHealth::default()));
    let mut late = retry(20 * SHORT, 60 * SHORT);
    // Waiting for a permit has used up the rest.
    late.connect_time_left = SHORT;
    assert_eq!(upstreams.connect_to(&endpoint, &mut late).await.unwrap_err(), ConnectError::TimedOut);
    assert_eq!(late.connect_time_left, Duration::ZERO);
    assert_eq!(endpoint.health.status(0), HealthStatus::Healthy);
    // The full timeout is that of one connect or of all connects, whichever is sooner.
    for (once, total) in [(SHORT, 60 * SHORT), (60 * SHORT, SHORT), (Duration::ZERO, SHORT)] {
        let endpoint = Endpoint::new(address, EndpointHealth::default());
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
async fn refused_connect_ejects_whatever_time_is_left() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (upstreams, endpoint) = (upstreams(), Endpoint::new(address, EndpointHealth::default()));
    let mut late = retry(60 * SHORT, 60 * SHORT);
    late.connect_time_left = 20 * SHORT;
    assert_eq!(upstreams.connect_to(&endpoint, &mut late).await.unwrap_err(), ConnectError::Refused);
    assert_eq!(endpoint.health.status(0), HealthStatus::Ejected(EjectionCause::Unreachable));
}

#[tokio::test]
async fn idle_connection_after_4_s_carries_only_replayable_requests() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let (upstreams, queue) = (upstreams(), ConnectionQueue::new(Arc::default()));
    let endpoint = Endpoint::new(listener.local_addr().unwrap(), EndpointHealth::default());
    let second = |seconds| Some(Duration::from_secs(seconds));
    // The announced timeout; milliseconds of idle time for any request, and for replayable requests.
    for (keep_alive, safe, total) in [
        (None, 4_000, 60_000),
        (second(5), 4_000, 5_000),
        (second(2), 1_000, 2_000),
        (second(120), 4_000, 120_000),
    ] {
        for (reuse, age, is_reused) in [
            (Reuse::Recent, safe, true),
            (Reuse::Recent, safe + 1, false),
            (Reuse::Any, safe + 1, true),
            (Reuse::Any, total, true),
            (Reuse::Any, total + 1, false),
            (Reuse::Never, 0, false),
        ] {
            let connection =
                upstreams.connect_to(&endpoint, &mut retry(60 * SHORT, 60 * SHORT)).await.unwrap();
            endpoint.put_idle(connection, queue.try_acquire(1).unwrap(), keep_alive, 7_000);
            let taken = endpoint.take_idle(reuse, 7_000 + age);
            assert_eq!(taken.is_some(), is_reused, "{reuse:?} after {age} ms of {keep_alive:?}");
            endpoint.close_idle();
        }
        let connection = upstreams.connect_to(&endpoint, &mut retry(60 * SHORT, 60 * SHORT)).await.unwrap();
        endpoint.put_idle(connection, queue.try_acquire(1).unwrap(), keep_alive, 7_000);
        endpoint.sweep(7_000 + total);
        assert!(queue.try_acquire(1).is_none(), "the kept connection holds its permit");
        endpoint.sweep(7_000 + total + 1);
        assert!(queue.try_acquire(1).is_some(), "the connection is closed");
    }
}

#[tokio::test]
async fn request_that_is_sent_once_learns_of_a_close_from_the_kernel() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let (upstreams, queue) = (upstreams(), ConnectionQueue::new(Arc::default()));
    let endpoint = Endpoint::new(listener.local_addr().unwrap(), EndpointHealth::default());
    for reuse in [Reuse::Recent, Reuse::Any] {
        let connection = upstreams.connect_to(&endpoint, &mut retry(60 * SHORT, 60 * SHORT)).await.unwrap();
        endpoint.put_idle(connection, queue.try_acquire(1).unwrap(), None, 7_000);
        drop(listener.accept().unwrap());
        // The runtime has not polled the socket since, so it still takes the connection for open.
        let taken = endpoint.take_idle(reuse, 7_000);
        assert_eq!(taken.is_some(), reuse == Reuse::Any, "{reuse:?}: a lost request is sent again");
    }
}

#[tokio::test]
async fn oldest_idle_connection_gives_its_permit() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let (upstreams, queue) = (upstreams(), ConnectionQueue::new(Arc::default()));
    let endpoint = Endpoint::new(listener.local_addr().unwrap(), EndpointHealth::default());
    assert!(endpoint.close_oldest_idle().is_none());
    for now in [7_000, 8_000] {
        let connection = upstreams.connect_to(&endpoint, &mut retry(60 * SHORT, 60 * SHORT)).await.unwrap();
        endpoint.put_idle(connection, queue.try_acquire(2).unwrap(), None, now);
    }
    assert_eq!(endpoint.oldest_idle(), Some(7_000));
    let permit = endpoint.close_oldest_idle();
    assert_eq!((permit.is_some(), endpoint.oldest_idle()), (true, Some(8_000)));
    assert!(queue.try_acquire(2).is_none(), "the permit passes on");
}

#[test]
fn only_a_replayable_request_reuses_an_old_connection() {
    let reuse = |resend| RetryState::new(retry(SHORT, SHORT).policy, resend).reuse;
    assert_eq!((reuse(Resend::Possible), reuse(Resend::Forbidden)), (Reuse::Any, Reuse::Recent));
}

#[test]
fn turns_start_at_random_in_each_worker() {
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
    // 16 workers start at the same of three endpoints with a chance of 3^-15, one in 14 million.
    for next_turn in [BackendPool::next_endpoint_turn, BackendPool::next_backend_turn] {
        let first: Vec<_> = pools.iter().map(|pool| next_turn(pool) % 3).collect();
        assert!(first.iter().any(|turn| Some(turn) != first.first()), "{first:?}");
    }
}
