//! How an instance reports that it has queue items to deliver.

use std::fmt;
use std::sync::Arc;

/// Called from any thread when [`Instance::deliver_queues`] has something to deliver.
///
/// [`Instance::deliver_queues`]: crate::Instance::deliver_queues
#[derive(Clone)]
pub struct Waker(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
