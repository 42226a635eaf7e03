//! Callouts that wait for their answers. An answer whose callout does not wait is dropped.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use crate::pairs::Fields;

thread_local! {
    /// Callouts by token.
    static CALLS: RefCell<Vec<(u32, Call)>> = const { RefCell::new(Vec::new()) };
}

/// A callout.
enum Call {
    Waiting(Option<Waker>),
    Answered(Answer),
}

/// The answer to a callout.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A whole response.
    Http { headers: Fields, body: Vec<u8>, trailers: Fields },
    /// A message of a gRPC call.
    #[cfg(feature = "grpc")]
    GrpcMessage(Vec<u8>),
    /// The end of a gRPC call that had no message.
    #[cfg(feature = "grpc")]
    GrpcStatus(u32, String),
    /// There is none.
    Failed,
}

/// Forgets the callout when it is dropped.
struct Registration(u32);

impl Drop for Registration {
    fn drop(&mut self) {
        let call = CALLS.with_borrow_mut(|calls| {
            let at = calls.iter().position(|(token, _)| *token == self.0)?;
            Some(calls.swap_remove(at))
        });
        // A waker is dropped outside of the borrow.
        drop(call);
    }
}

/// Waits for the answer to a callout.
pub(crate) async fn wait(token: u32) -> Answer {
    CALLS.with_borrow_mut(|calls| calls.push((token, Call::Waiting(None))));
    let registration = Registration(token);
    poll_fn(move |context| poll(registration.0, context)).await
}

fn poll(token: u32, context: &Context<'_>) -> Poll<Answer> {
    CALLS.with_borrow_mut(|calls| match calls.iter_mut().find(|(known, _)| *known == token) {
        Some((_, Call::Waiting(waker))) => {
            *waker = Some(context.waker().clone());
            Poll::Pending
        }
        Some((_, Call::Answered(answer))) => Poll::Ready(mem::replace(answer, Answer::Failed)),
        None => Poll::Ready(Answer::Failed),
    })
}

/// Returns whether a callout waits for its answer.
pub(crate) fn is_waiting(token: u32) -> bool {
    CALLS.with_borrow(|calls| {
        calls.iter().any(|(known, call)| *known == token && matches!(call, Call::Waiting(_)))
    })
}

/// Delivers the answer to a callout. Only the first one counts.
pub(crate) fn complete(token: u32, answer: Answer) {
    let waker = CALLS.with_borrow_mut(|calls| {
        let (_, call) = calls.iter_mut().find(|(known, _)| *known == token)?;
        match call {
            Call::Waiting(waker) => {
                let waker = waker.take();
                *call = Call::Answered(answer);
                waker
            }
            Call::Answered(_) => None,
        }
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}
