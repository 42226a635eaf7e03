//! The zone of the node that the gateway runs on, read once: a pod never changes its node.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use routing::object::{Kind, Name, ObjectRef};
use routing::problem::{Problem, Reason};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// How long to wait between tries.
const WAIT: Duration = Duration::from_secs(2);

/// The zone of a node; nothing if no node is named, or it has none.
///
/// # Errors
/// The gateway may not read nodes: topology hints are off then.
pub(super) async fn of(client: Client, node: Option<String>) -> Result<Option<String>, Problem> {
    let Some(node) = node else { return Ok(None) };
    let nodes = Api::<Node>::all(client);
    loop {
        match nodes.get_metadata_opt(&node).await {
            Ok(found) => return Ok(found.and_then(|node| node.metadata.labels?.remove(ZONE_LABEL))),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let message =
                    format!("topology hints are off: the gateway may not read its node: {}", status.message);
                return Err(Problem {
                    object: ObjectRef { kind: Kind::Node, name: Name::new("", &node) },
                    field: String::new(),
                    reason: Reason::NotPermitted,
                    message,
                });
            }
            Err(error) => tracing::debug!(%error, "reading the node failed"),
        }
        tokio::time::sleep(WAIT).await;
    }
}
