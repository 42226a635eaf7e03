//! Lingering close: closes a connection so that the client can read the response.
//!
//! A socket that is closed with unread input, or that receives more afterwards, sends a reset. The reset may overtake
//! the response. Not here: which connections linger (`h1`, `h2`).

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;
use crate::data::wire::clock::{Timer, WaitError};

/// Maximum time without a byte from the client before a lingering connection is closed.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum time for which a client may go on sending. It is bounded by time, not by bytes: a client that sends a large
/// body before it reads the response has megabytes in flight, and discarding them costs little.
const MAX_LINGER: Duration = Duration::from_secs(10);

/// Closes the outgoing direction, then discards input until the client closes its own direction.
///
/// # Cancellation
/// Dropping the future ends the wait. The caller's drop of `transport` then closes the socket.
pub(super) async fn linger(transport: &mut Transport, timer: &Timer) {
    timer.clear();
    timer.set_total_deadline(MAX_LINGER);
    timer.set(LINGER_TIMEOUT);
    let shutdown = timer.limit(std::future::poll_fn(|cx| Pin::new(&mut *transport).poll_shutdown(cx)));
    match shutdown.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::debug!(%error, "connection lost while closing it"),
        Err(_elapsed) => return,
    }
    let drained = timer.limit(std::future::poll_fn(|cx| {
        // On the stack, and not part of the connection's future.
        let mut scratch = [const { MaybeUninit::uninit() }; 16 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut *transport).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => timer.set(LINGER_TIMEOUT),
                // Closed by the client, in order or by a reset.
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }));
    let _: Result<(), WaitError> = drained.await;
}
