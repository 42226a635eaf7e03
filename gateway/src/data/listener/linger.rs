//! Lingering close: closes a connection so that the client can read the response.
//!
//! A socket that is closed with unread input, or that receives more afterwards, sends a reset. The reset may overtake
//! the response. Not here: which connections linger (`h1`, `h2`).

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
pub(super) async fn linger<T: AsyncRead + AsyncWrite + Unpin>(transport: &mut T, timer: &Timer) {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;
    use crate::data::wire::clock::{Clock, TICK};

    /// Lingers over a client that sends a byte after each of these pauses, and then closes its
    /// connection or keeps it open. Returns how long the connection stays open.
    async fn linger_over(pauses: &[Duration], is_closing: bool) -> Duration {
        let clock = Clock::default();
        let timer = clock.timer();
        let (mut client, mut transport) = tokio::io::duplex(64);
        let (began_at, pauses) = (Instant::now(), pauses.to_vec());
        let client = async move {
            for pause in pauses {
                tokio::time::sleep(pause).await;
                client.write_all(b"x").await.unwrap();
            }
            if !is_closing {
                assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the gateway sends nothing more");
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = linger(&mut transport, &timer) => {}
            () = async { tokio::join!(clock.run(), client); } => {}
        }
        began_at.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn linger_is_renewed_by_each_byte_up_to_its_limit() {
        let pause = Duration::from_millis(700);
        struct Case {
            bytes: usize,
            is_closing: bool,
            expected: Duration,
        }
        for Case { bytes, is_closing, expected } in [
            Case { bytes: 0, is_closing: false, expected: LINGER_TIMEOUT },
            Case { bytes: 0, is_closing: true, expected: Duration::ZERO },
            Case { bytes: 5, is_closing: false, expected: 5 * pause + LINGER_TIMEOUT },
            Case { bytes: 5, is_closing: true, expected: 5 * pause },
            Case { bytes: 100, is_closing: false, expected: MAX_LINGER },
        ] {
            let lasted = linger_over(&vec![pause; bytes], is_closing).await;
            let range = expected..=expected + 2 * TICK;
            assert!(range.contains(&lasted), "{bytes} bytes: {lasted:?}");
        }
    }
}
