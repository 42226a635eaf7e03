//! Closing so that the client can read what it was sent.
//!
//! A socket that is closed with unread input, or that gets more of it afterwards, answers by a reset, which may overtake
//! the answer. Not here: whose connection deserves it (`h1`, `h2`).

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;
use crate::data::wire::clock::{Timer, WaitError};

/// How long a client may take to see that we closed; while it goes on sending, from its last byte.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The most that a client may take that goes on sending. Time bounds it and not bytes: those who send a large body
/// before they look for an answer have megabytes on their way, and reading what is thrown away costs little.
const MAX_LINGER: Duration = Duration::from_secs(10);

/// Closes the outgoing direction, and reads on until the client has closed its own.
pub(super) async fn linger(transport: &mut Transport, timer: &Timer) {
    timer.clear();
    timer.set_total_deadline(MAX_LINGER);
    timer.set(LINGER_TIMEOUT);
    let shutdown = timer.limit(std::future::poll_fn(|cx| Pin::new(&mut *transport).poll_shutdown(cx)));
    if !matches!(shutdown.await, Ok(Ok(()))) {
        return;
    }
    let drained = timer.limit(std::future::poll_fn(|cx| {
        // On the stack while it is read into, and not in the connection's future.
        let mut scratch = [const { MaybeUninit::uninit() }; 16 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut *transport).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => timer.set(LINGER_TIMEOUT),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }));
    let _: Result<(), WaitError> = drained.await;
}
