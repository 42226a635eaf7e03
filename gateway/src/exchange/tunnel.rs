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
        let up = &mut self.opened.connection;
        down.receive_body(BodyLength::UntilClose);
        down.send_body(BodyLength::UntilClose);
        up.receive_body(BodyLength::UntilClose);
        up.send_body(BodyLength::UntilClose);
        let limit = self.idle;
        timer.set(limit);
        let (mut there, mut back) = (Direction::default(), Direction::default());
        let ended = timer.limit(std::future::poll_fn(|cx| {
            down.lend(&worker.buffers);
            up.lend(&worker.buffers);
            let first = there.poll((&mut *down, &mut *up), || timer.set(limit), cx)?;
            let second = back.poll((&mut *up, &mut *down), || timer.set(limit), cx)?;
            down.reclaim(&worker.buffers);
            up.reclaim(&worker.buffers);
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
