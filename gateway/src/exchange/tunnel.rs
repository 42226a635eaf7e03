//! What becomes of a connection after 101: bytes in both directions until both have ended.
//!
//! Nothing of the request is kept, and no buffer while nothing moves: an idle tunnel costs two sockets.
//! Not here: whether there is a switch at all (`upgrade`).

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http1::BodyLength;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Worker;
use crate::telemetry::counters::Gauge;
use crate::upstream::Opened;
use crate::wire::buffers::Buffers;
use crate::wire::clock::Timer;
use crate::wire::h1::Connection;
use crate::wire::{Pump, PumpError};

/// The endpoint's side of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// On the heap: whoever passes it on is smaller for it.
    opened: Box<Opened>,
    /// How long it may be silent in both directions.
    idle: Duration,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides have ended their direction, and each knows it of the other.
    Whole,
    /// One side was lost, or nothing moved for too long.
    Broken,
}

impl Tunnel {
    /// Takes over a connection on which the endpoint has switched protocols; `idle` bounds the time between pieces.
    pub(super) fn new(opened: Opened, idle: Duration) -> Self {
        Self { opened: Box::new(opened), idle }
    }

    /// Moves bytes until both directions have ended; what either side sent ahead goes first.
    ///
    /// A side that ends its direction ends that direction only. A slow reader holds back the other side: at most
    /// 64 KiB and a buffer wait in each direction. The deadline is between two pieces, whichever way they go.
    pub async fn run<T>(mut self, worker: &Worker, down: &mut Connection<T>, timer: &Timer) -> End
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let _open = Gauge::raise(&worker.counters, |counters| &counters.tunnels);
        join((down, &mut self.opened.connection), &worker.buffers, (timer, self.idle)).await
    }
}

async fn join<D, U>(
    (down, up): (&mut Connection<D>, &mut Connection<U>),
    buffers: &Buffers,
    (timer, idle): (&Timer, Duration),
) -> End
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    down.receive_body(BodyLength::UntilClose);
    down.send_body(BodyLength::UntilClose);
    up.receive_body(BodyLength::UntilClose);
    up.send_body(BodyLength::UntilClose);
    timer.set(idle);
    let (mut there, mut back) = (Direction::default(), Direction::default());
    let ended = timer.limit(std::future::poll_fn(|cx| {
        down.lend(buffers);
        up.lend(buffers);
        let first = there.poll((&mut *down, &mut *up), || timer.set(idle), cx)?;
        let second = back.poll((&mut *up, &mut *down), || timer.set(idle), cx)?;
        down.reclaim(buffers);
        up.reclaim(buffers);
        if first.is_ready() && second.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }));
    match ended.await {
        Ok(Ok(())) => End::Whole,
        Ok(Err(PumpError::Read(error) | PumpError::Write(error))) => {
            tracing::debug!(%error, "tunnel broken");
            End::Broken
        }
        Err(_elapsed) => End::Broken,
    }
}

/// How far one direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Open(Pump),
    /// All is sent, and the end is still to be told.
    Ending,
    Ended,
}

impl Default for Direction {
    fn default() -> Self {
        Self::Open(Pump::default())
    }
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        (from, to): (&mut Connection<R>, &mut Connection<W>),
        moved: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PumpError>>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncRead + AsyncWrite + Unpin,
    {
        if let Self::Open(pump) = self {
            ready!(pump.poll((from, to), moved, cx))?;
            *self = Self::Ending;
        }
        if *self == Self::Ending {
            ready!(to.poll_shutdown(cx)).map_err(|error| PumpError::Write(error.into()))?;
            *self = Self::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http1::Limits;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::wire::clock::Clock;

    #[tokio::test]
    async fn an_idle_tunnel_is_a_future_below_1_kib_and_owns_no_buffer() {
        let ((mut client, down), (mut endpoint, up)) =
            (tokio::io::duplex(1 << 10), tokio::io::duplex(1 << 10));
        let (mut down, mut up) =
            (Connection::new(down, Limits::default()), Connection::new(up, Limits::default()));
        let (buffers, timer) = (Buffers::default(), Clock::default().timer());
        let mut tunnel = Box::pin(join((&mut down, &mut up), &buffers, (&timer, Duration::from_secs(60))));
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
        assert_eq!(buffers.kept(), 4, "each side has given back both");
        // And nothing is left behind at the end.
        drop((client, endpoint));
        assert_eq!(tunnel.await, End::Whole);
        assert_eq!(buffers.kept(), 4);
    }
}
