//! The connection after a 101: copies bytes in both directions until both have ended.
//!
//! An idle tunnel costs two sockets: it holds no buffer, and nothing of the request but its log entry. Not here:
//! whether there is an upgrade (`upgrade`).

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http1::BodyLength;
use tokio::io::{AsyncRead, AsyncWrite};

use super::abort::Abort;
use super::metered::{BodyReadError, Meter, Metered};
use super::record::{Completion, OwnedRequestInfo, Record};
use super::worker::Worker;
use crate::data::upstream::{PooledConnection, Stream};
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::Timer;
use crate::data::wire::h1::Connection;
use crate::data::wire::{BodyCopy, CopyError};
use crate::observe::counters::GaugeGuard;

/// The endpoint's side of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// Boxed to keep the futures that pass it on small.
    opened: Box<PooledConnection>,
    /// Maximum time without a byte in either direction.
    idle: Duration,
    /// Log entry for the end of the tunnel; `None` if nothing is logged.
    log_entry: Option<Box<TunnelLogEntry>>,
}

/// What the access log reports when a tunnel ends.
#[derive(Debug)]
pub(super) struct TunnelLogEntry {
    /// The request that began the tunnel.
    pub(super) info: OwnedRequestInfo,
    /// Its record when the tunnel began.
    pub(super) record: Record,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both sides ended their direction, and both ends were passed on.
    Complete,
    /// A side disconnected, or the idle timeout elapsed.
    Broken(Abort),
}

impl Tunnel {
    /// Creates a tunnel over a connection on which the endpoint has switched protocols.
    pub(super) fn new(opened: PooledConnection, idle: Duration, log_entry: Option<TunnelLogEntry>) -> Self {
        Self { opened: Box::new(opened), idle, log_entry: log_entry.map(Box::new) }
    }

    /// Copies bytes until both directions have ended, those that arrived before the 101 first.
    ///
    /// A side that ends its direction leaves the other one open. A slow reader slows the sender: each direction holds
    /// at most 64 KiB and a buffer. The idle timeout restarts with each piece in either direction.
    ///
    /// # Cancellation
    /// Closes the endpoint's connection and reports the tunnel as aborted. Bytes in its buffers are lost.
    pub async fn run<T>(mut self, worker: &Worker, down: &mut Connection<T>, timer: &Timer) -> TunnelEnd
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let _open = GaugeGuard::increment(&worker.counters, |counters| &counters.tunnels_open);
        let log_entry = self.log_entry.take();
        let mut active = ActiveTunnel { worker, log_entry, end: None, meters: TunnelMeters::default() };
        let Stream::H1(up) = &mut self.opened.stream;
        let sides = Sides { down, up };
        let end = copy_both_ways(sides, &worker.buffers, &mut active.meters, timer, self.idle).await;
        active.end = Some(end);
        end
    }
}

/// The two connections of a tunnel.
struct Sides<'a, D, U> {
    down: &'a mut Connection<D>,
    up: &'a mut Connection<U>,
}

/// Bytes that passed through a tunnel.
#[derive(Debug, Default)]
struct TunnelMeters {
    from_client: Meter,
    from_endpoint: Meter,
}

/// Reports a tunnel when it is dropped, so that a cancelled future is reported, too.
struct ActiveTunnel<'a> {
    worker: &'a Worker,
    log_entry: Option<Box<TunnelLogEntry>>,
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
        let (received_bytes, sent_bytes) = (self.meters.from_client.bytes, self.meters.from_endpoint.bytes);
        let log_entry = self.log_entry.as_deref().map(|TunnelLogEntry { info, record }| {
            (info, Record { completion, received_bytes, sent_bytes, ..*record })
        });
        self.worker.report_tunnel(completion, log_entry);
    }
}

async fn copy_both_ways<D, U>(
    Sides { down, up }: Sides<'_, D, U>,
    buffers: &BufferPool,
    meters: &mut TunnelMeters,
    timer: &Timer,
    idle: Duration,
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
    let (mut upload, mut download) = (CopyState::default(), CopyState::default());
    let ended = timer.limit(std::future::poll_fn(|cx| {
        down.acquire_buffers(buffers);
        up.acquire_buffers(buffers);
        let on_piece = || timer.set(idle);
        let mut from_client = Metered { source: &mut *down, meter: &mut meters.from_client };
        let uploaded = upload.poll(&mut from_client, up, on_piece, cx);
        let uploaded = uploaded.map_err(|error| match error {
            CopyError::Read(error) => Abort::from_request_body(&error),
            CopyError::Write(error) => Abort::from_upstream(&error),
        })?;
        let mut from_endpoint = Metered { source: &mut *up, meter: &mut meters.from_endpoint };
        let downloaded = download.poll(&mut from_endpoint, down, on_piece, cx);
        let downloaded = downloaded.map_err(|error| match error {
            CopyError::Read(error) => Abort::from_response_body(&error),
            CopyError::Write(error) => Abort::from_downstream(&error),
        })?;
        down.release_buffers(buffers);
        up.release_buffers(buffers);
        if uploaded.is_ready() && downloaded.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }));
    match ended.await {
        Ok(Ok(())) => TunnelEnd::Complete,
        Ok(Err(abort)) => TunnelEnd::Broken(abort),
        Err(_elapsed) => TunnelEnd::Broken(Abort::TunnelIdle),
    }
}

/// Progress of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyState {
    Copying(BodyCopy),
    /// All bytes are sent, and the end is not passed on yet.
    ShuttingDown,
    Closed,
}

impl Default for CopyState {
    fn default() -> Self {
        Self::Copying(BodyCopy::default())
    }
}

impl CopyState {
    fn poll<R, W>(
        &mut self,
        from: &mut Metered<'_, Connection<R>>,
        to: &mut Connection<W>,
        on_piece: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError<BodyReadError>>>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncRead + AsyncWrite + Unpin,
    {
        if let Self::Copying(copy) = self {
            ready!(copy.poll(from, to, on_piece, cx))?;
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
    async fn idle_tunnel_is_below_512_bytes_and_owns_no_buffer() {
        let ((mut client, down), (mut endpoint, up)) =
            (tokio::io::duplex(1 << 10), tokio::io::duplex(1 << 10));
        let (mut down, mut up) =
            (Connection::new(down, HeadLimits::default()), Connection::new(up, HeadLimits::default()));
        let (buffers, timer) = (BufferPool::default(), Clock::default().timer());
        let mut meters = TunnelMeters::default();
        let idle = Duration::from_secs(60);
        let sides = Sides { down: &mut down, up: &mut up };
        let mut tunnel = Box::pin(copy_both_ways(sides, &buffers, &mut meters, &timer, idle));
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
        assert_eq!(buffers.free_count(), 4, "each side has returned both buffers");
        drop((client, endpoint));
        assert_eq!(tunnel.await, TunnelEnd::Complete);
        assert_eq!(buffers.free_count(), 4);
        assert_eq!((meters.from_client.bytes, meters.from_endpoint.bytes), (5, 5));
    }
}
