//! What becomes of a connection after 101: bytes in both directions until both have ended.
//!
//! Nothing of the request is info, and no buffer while nothing moves: an idle tunnel costs two sockets.
//! Not here: whether there is a switch at all (`upgrade`).

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http1::BodyLength;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Worker;
use super::abort::Abort;
use super::metered::{Meter, Metered};
use super::record::{Completion, OwnedRequestInfo, Record};
use crate::data::upstream::PooledConnection;
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::Timer;
use crate::data::wire::h1::Connection;
use crate::data::wire::{BodyCopy, CopyError};
use crate::observe::counters::GaugeGuard;

/// The endpoint's side of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// On the heap: whoever passes it on is smaller for it.
    opened: Box<PooledConnection>,
    /// How long it may be silent in both directions.
    idle: Duration,
    /// What there is to tell at its end: on the heap, and only if it is told.
    report: Option<Box<(Record, OwnedRequestInfo)>>,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both sides have ended their direction, and each knows it of the other.
    Complete,
    /// One side was lost, or nothing moved for too long.
    Broken(Abort),
}

impl Tunnel {
    /// Takes over a connection on which the endpoint has switched protocols; `idle` bounds the time between pieces.
    pub(super) fn new(
        opened: PooledConnection,
        idle: Duration,
        (record, info): (Record, Option<OwnedRequestInfo>),
    ) -> Self {
        let report = info.map(|info| Box::new((record, info)));
        Self { opened: Box::new(opened), idle, report }
    }

    /// Moves bytes until both directions have ended; what either side sent ahead goes first.
    ///
    /// A side that ends its direction ends that direction only. A slow reader holds back the other side: at most
    /// 64 KiB and a buffer wait in each direction. The deadline is between two pieces, whichever way they go.
    pub async fn run<T>(mut self, worker: &Worker, down: &mut Connection<T>, timer: &Timer) -> TunnelEnd
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let _open = GaugeGuard::increment(&worker.counters, |counters| &counters.tunnels_open);
        let mut active =
            ActiveTunnel { worker, report: self.report.take(), end: None, meters: TunnelMeters::default() };
        let sides = (down, &mut self.opened.connection);
        let end = copy_both_ways(sides, (&worker.buffers, &mut active.meters), (timer, self.idle)).await;
        active.end = Some(end);
        end
    }
}

/// What passes through a tunnel, there and back.
#[derive(Debug, Default)]
struct TunnelMeters {
    from_client: Meter,
    from_endpoint: Meter,
}

/// A tunnel in use. It is told of when this is dropped: its connection may be dropped as a whole.
struct ActiveTunnel<'a> {
    worker: &'a Worker,
    report: Option<Box<(Record, OwnedRequestInfo)>>,
    end: Option<TunnelEnd>,
    meters: TunnelMeters,
}

impl Drop for ActiveTunnel<'_> {
    fn drop(&mut self) {
        let completion = match self.end {
            Some(TunnelEnd::Complete) => Completion::Forwarded,
            Some(TunnelEnd::Broken(abort)) => Completion::Aborted(abort),
            None => Completion::Aborted(Abort::from_drop(self.worker.drain.phase())),
        };
        let (received_bytes, sent_bytes) = (self.meters.from_client.passed, self.meters.from_endpoint.passed);
        let end = |record: Record| Record { completion, received_bytes, sent_bytes, ..record };
        self.worker
            .report_tunnel(completion, self.report.as_deref().map(|(record, info)| (info, end(*record))));
    }
}

async fn copy_both_ways<D, U>(
    (down, up): (&mut Connection<D>, &mut Connection<U>),
    (buffers, meters): (&BufferPool, &mut TunnelMeters),
    (timer, idle): (&Timer, Duration),
) -> TunnelEnd
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    down.start_receiving_body(BodyLength::UntilClose);
    down.start_sending_body(BodyLength::UntilClose);
    up.start_receiving_body(BodyLength::UntilClose);
    up.start_sending_body(BodyLength::UntilClose);
    timer.set(idle);
    let (mut upload, mut download) = (Direction::default(), Direction::default());
    let ended = timer.limit(std::future::poll_fn(|cx| {
        down.acquire_buffers(buffers);
        up.acquire_buffers(buffers);
        let moved = || timer.set(idle);
        let first = upload.poll((&mut *down, &mut *up), (&mut meters.from_client, moved), cx);
        let first = first.map_err(|error| match error {
            CopyError::Read(error) => Abort::from_downstream(&error),
            CopyError::Write(error) => Abort::from_upstream(&error),
        })?;
        let second = download.poll((&mut *up, &mut *down), (&mut meters.from_endpoint, moved), cx);
        let second = second.map_err(|error| match error {
            CopyError::Read(error) => Abort::from_upstream(&error),
            CopyError::Write(error) => Abort::from_downstream(&error),
        })?;
        down.release_buffers(buffers);
        up.release_buffers(buffers);
        if first.is_ready() && second.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }));
    match ended.await {
        Ok(Ok(())) => TunnelEnd::Complete,
        Ok(Err(abort)) => TunnelEnd::Broken(abort),
        Err(_elapsed) => TunnelEnd::Broken(Abort::TunnelIdle),
    }
}

/// How far one direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Copying(BodyCopy),
    /// All is sent, and the end is still to be told.
    ShuttingDown,
    Closed,
}

impl Default for Direction {
    fn default() -> Self {
        Self::Copying(BodyCopy::default())
    }
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        (from, to): (&mut Connection<R>, &mut Connection<W>),
        (meter, moved): (&mut Meter, impl Fn()),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncRead + AsyncWrite + Unpin,
    {
        if let Self::Copying(pump) = self {
            ready!(pump.poll((&mut Metered { side: from, meter }, to), moved, cx))?;
            *self = Self::ShuttingDown;
        }
        if *self == Self::ShuttingDown {
            ready!(to.poll_shutdown(cx)).map_err(|error| CopyError::Write(error.into()))?;
            *self = Self::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http1::HeadLimits;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::data::wire::clock::Clock;

    #[tokio::test]
    async fn an_idle_tunnel_is_a_future_below_1_kib_and_owns_no_buffer() {
        let ((mut client, down), (mut endpoint, up)) =
            (tokio::io::duplex(1 << 10), tokio::io::duplex(1 << 10));
        let (mut down, mut up) =
            (Connection::new(down, HeadLimits::default()), Connection::new(up, HeadLimits::default()));
        let (buffers, timer) = (BufferPool::default(), Clock::default().timer());
        let mut meters = TunnelMeters::default();
        let idle = Duration::from_secs(60);
        let mut tunnel =
            Box::pin(copy_both_ways((&mut down, &mut up), (&buffers, &mut meters), (&timer, idle)));
        let size = std::mem::size_of_val(&*tunnel);
        assert!(size < 512, "{size} bytes");
        let mut buffer = [0; 5];
        let exchange = async {
            client.write_all(b"hello").await.unwrap();
            endpoint.read_exact(&mut buffer).await.unwrap();
            endpoint.write_all(b"hello").await.unwrap();
            client.read_exact(&mut buffer).await.unwrap();
        };
        tokio::select! {
            end = &mut tunnel => panic!("{end:?}"),
            () = exchange => {}
        }
        assert!(futures::poll!(&mut tunnel).is_pending());
        assert_eq!(buffers.free_count(), 4, "each side has given back both");
        // And nothing is left behind at the end.
        drop((client, endpoint));
        assert_eq!(tunnel.await, TunnelEnd::Complete);
        assert_eq!(buffers.free_count(), 4);
        assert_eq!((meters.from_client.passed, meters.from_endpoint.passed), (5, 5));
    }
}
