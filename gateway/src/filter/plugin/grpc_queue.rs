//! What a guest does with a gRPC call, on its way to the task of the call.

use std::cell::Cell;
use std::rc::Rc;

use plugin_host::GuestAction;
use tokio::sync::mpsc;

/// Maximum bytes that wait until an endpoint takes them. A call with more of them ends.
const MAX_QUEUED_BYTES: usize = 4 << 20;

/// Bytes that an action counts beside its message.
const ACTION_BYTES: usize = 256;

/// The guest's end of a call.
#[derive(Clone, Debug)]
pub struct GrpcSender {
    actions: mpsc::UnboundedSender<GuestAction>,
    bytes: Rc<Cell<usize>>,
}

/// The task's end of a call.
#[derive(Debug)]
pub struct GrpcReceiver {
    actions: mpsc::UnboundedReceiver<GuestAction>,
    bytes: Rc<Cell<usize>>,
}

/// The endpoint takes fewer messages than the guest sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueFull;

/// Creates both ends of a call.
pub fn grpc_queue() -> (GrpcSender, GrpcReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let bytes = Rc::new(Cell::new(0));
    (GrpcSender { actions: sender, bytes: Rc::clone(&bytes) }, GrpcReceiver { actions: receiver, bytes })
}

impl GrpcSender {
    /// Queues an action. Does nothing if the call has ended.
    pub(super) fn send(&self, action: GuestAction) -> Result<(), QueueFull> {
        let bytes = self.bytes.get() + size(&action);
        if bytes > MAX_QUEUED_BYTES {
            return Err(QueueFull);
        }
        if self.actions.send(action).is_ok() {
            self.bytes.set(bytes);
        }
        Ok(())
    }
}

impl GrpcReceiver {
    /// Waits for the next action. Returns `None` once the instance has dropped the call. Its bytes count until
    /// [`Self::on_sent`].
    ///
    /// # Cancellation
    /// No action is lost.
    pub async fn recv(&mut self) -> Option<GuestAction> {
        self.actions.recv().await
    }

    /// Records that the endpoint has taken an action.
    pub fn on_sent(&self, action: &GuestAction) {
        self.bytes.set(self.bytes.get().saturating_sub(size(action)));
    }
}

fn size(action: &GuestAction) -> usize {
    ACTION_BYTES
        + match action {
            GuestAction::GrpcSend { message, .. } => message.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use plugin_host::CallToken;

    use super::*;

    fn message(bytes: usize) -> GuestAction {
        GuestAction::GrpcSend { token: CallToken(1), message: vec![0; bytes].into(), is_end: false }
    }

    #[test]
    fn queue_takes_bytes_up_to_its_limit_and_again_once_sent() {
        let (sender, mut receiver) = grpc_queue();
        let half = MAX_QUEUED_BYTES / 2 - ACTION_BYTES;
        sender.send(message(half)).unwrap();
        sender.send(message(half)).unwrap();
        assert!(sender.send(message(0)).is_err());
        let first = receiver.actions.try_recv().unwrap();
        assert!(sender.send(message(0)).is_err(), "received is not sent");
        receiver.on_sent(&first);
        sender.send(message(half)).unwrap();
    }
}
