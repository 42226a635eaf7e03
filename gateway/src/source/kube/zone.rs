//! The zone of the node that the gateway runs on, read until it is known: a pod never changes its node.

use std::time::Duration;

use futures::Stream;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use routing::object::{Kind, Name, ObjectRef};
use routing::problem::{Problem, Reason};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// How long to wait between tries, while there is no answer and while it may not be read.
const WAIT: Duration = Duration::from_secs(2);
const WAIT_REFUSED: Duration = Duration::from_secs(10);

/// What was found out.
pub(super) type Found = Result<Option<String>, Problem>;

/// The zone of a node, once it is known; nothing if no node is named, or it has none. Before that, as often as it may
/// not be read, a Problem: topology hints are off meanwhile. An API server that starts anew refuses for a moment what
/// it allows.
pub(super) fn of(client: Client, node: Option<String>) -> impl Stream<Item = Found> {
    futures::stream::unfold(Some((client, node, Duration::ZERO)), |left| async {
        let (client, node, wait) = left?;
        tokio::time::sleep(wait).await;
        let Some(node) = node else { return Some((Ok(None), None)) };
        let found = read(&client, &node).await;
        let next = found.is_err().then_some((client, Some(node), WAIT_REFUSED));
        Some((found, next))
    })
}

/// Asks until the API server answers.
async fn read(client: &Client, node: &str) -> Found {
    let nodes = Api::<Node>::all(client.clone());
    loop {
        match nodes.get_metadata_opt(node).await {
            Ok(found) => return Ok(found.and_then(|node| node.metadata.labels?.remove(ZONE_LABEL))),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let message =
                    format!("topology hints are off: the gateway may not read its node: {}", status.message);
                return Err(Problem {
                    object: object(node),
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

/// What Problems of reading this node are about.
pub(super) fn object(node: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Node, name: Name::new("", node) }
}
