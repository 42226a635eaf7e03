//! The addresses of nodes, for a Service of type NodePort. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::addresses::{AddressList, sorted};

/// The label that takes a node out of load balancers.
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Returns the external addresses of all ready nodes, or the internal ones if no node has an external one.
pub(super) fn addresses(nodes: &[Node]) -> AddressList {
    let usable: Vec<_> = nodes.iter().filter(|node| is_usable(node)).collect();
    let of_type = |kind: &str| sorted(usable.iter().flat_map(|node| addresses_of(node, kind)));
    let external = of_type("ExternalIP");
    if external.is_empty() { of_type("InternalIP") } else { external }
}

fn addresses_of<'a>(node: &'a Node, kind: &str) -> impl Iterator<Item = Arc<str>> + use<'a> {
    let kind = kind.to_owned();
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.filter(move |address| address.type_ == kind).map(|address| Arc::from(&*address.address))
}

fn is_usable(node: &Node) -> bool {
    let is_excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED_LABEL));
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    is_ready && !is_excluded && node.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, labels: &Value, addresses: &[(&str, &str)]) -> Node {
        let address = |(kind, address): &(&str, &str)| json!({ "type": kind, "address": address });
        serde_json::from_value(json!({
            "metadata": { "labels": labels },
            "status": {
                "conditions": [{ "type": "Ready", "status": ready }],
                "addresses": addresses.iter().map(address).collect::<Vec<_>>(),
            },
        }))
        .unwrap()
    }

    #[test]
    fn external_addresses_of_ready_nodes_come_first() {
        let (internal, external) = (("InternalIP", "10.0.0.2"), ("ExternalIP", "192.0.2.1"));
        let other = ("InternalIP", "10.0.0.1");
        let excluded = json!({ EXCLUDED_LABEL: "" });
        for (case, nodes, expected) in [
            ("none", vec![], &[][..]),
            (
                "internal",
                vec![node("True", &json!({}), &[internal]), node("True", &json!({}), &[other])],
                &["10.0.0.1", "10.0.0.2"],
            ),
            (
                "external",
                vec![node("True", &json!({}), &[internal, external]), node("True", &json!({}), &[other])],
                &["192.0.2.1"],
            ),
            ("not ready", vec![node("Unknown", &json!({}), &[internal])], &[]),
            ("excluded", vec![node("True", &excluded, &[internal])], &[]),
            ("host name", vec![node("True", &json!({}), &[("Hostname", "node-1"), internal])], &["10.0.0.2"]),
        ] {
            let expected: AddressList = expected.iter().map(|address| Arc::from(*address)).collect();
            assert_eq!(addresses(&nodes), expected, "{case}");
        }
    }
}
