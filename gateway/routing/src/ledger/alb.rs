//! `alb.ingress.kubernetes.io/`: the AWS Load Balancer Controller.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "AWS Load Balancer Controller",
    prefixes: &["alb.ingress.kubernetes.io/"],
    rows: ROWS,
    inherited: &[],
};

const ROWS: &[LedgerRow] = &[
    closes("auth-*", "clients must log in; use a plugin of phase AUTHN").except(&["none"]),
    harmless("auth-on-unauthenticated-request", "it has an effect only with auth-type"),
    harmless("auth-scope", "it has an effect only with auth-type"),
    harmless("auth-session-*", "it has an effect only with auth-type"),
    closes("backend-protocol", "endpoints are reached by plaintext HTTP/1.1 only").except(&["http"]),
    closes("backend-protocol-version", "endpoints are reached by plaintext HTTP/1.1 only").except(&["http1"]),
    closes("conditions.*", "only requests that meet the condition match; the rule would serve all"),
    closes("inbound-cidrs", "only some client addresses may pass; use a plugin of phase AUTHZ").except(&[
        "0.0.0.0/0",
        "0.0.0.0/0,::/0",
        "0.0.0.0/0, ::/0",
    ]),
    closes("mutual-authentication", "clients must prove a certificate, which is not supported yet"),
    closes(
        "scheme",
        "the load balancer is internal, and this gateway may be public; expose it by its own Service",
    )
    .except(&["internet-facing"]),
    closes("security-group-prefix-lists", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    closes("security-groups", "security groups restrict clients; set them at the gateway's own Service"),
    closes("waf*", "a web application firewall inspects requests; use a plugin"),
    closes("web-acl-id", "a web application firewall inspects requests; use a plugin"),
    ignored("actions.*", "an action is no Service; write spec.redirect or spec.backends in a RoutePolicy"),
    ignored("certificate-arn", "write spec.tls with a Secret"),
    ignored("healthcheck-*", "endpoints are probed by the kubelet, and ejected when they fail"),
    ignored("listen-ports", "the listeners are settings of the gateway"),
    ignored("ssl-policy", "only TLS 1.2 and 1.3 are offered"),
    ignored("ssl-redirect", "write \"redirect: {https: Always}\" in a RoutePolicy"),
    ignored("success-codes", "endpoints are probed by the kubelet, and ejected when they fail"),
    ignored("target-group-attributes", "it is an attribute of a cloud load balancer"),
    ignored(
        "transforms.*",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored("use-regex-path-match", "paths are no patterns; write each prefix as a path").except(&["false"]),
    harmless("customer-owned-ipv4-pool", "it places a cloud load balancer"),
    harmless("group.*", "Ingresses of all groups share this gateway"),
    harmless("healthy-threshold-count", "endpoints are probed by the kubelet"),
    harmless("ip-address-type", "it places a cloud load balancer"),
    harmless("ipam-ipv4-pool-id", "it places a cloud load balancer"),
    harmless("load-balancer-*", "it describes a cloud load balancer"),
    harmless("manage-backend-security-group-rules", "it describes a cloud load balancer"),
    harmless("minimum-load-balancer-capacity", "it describes a cloud load balancer"),
    harmless("multi-cluster-target-group", "it describes a cloud load balancer"),
    harmless("shield-advanced-protection", "it protects a cloud load balancer"),
    harmless("subnets", "it places a cloud load balancer"),
    harmless("tags", "tags have no effect on requests"),
    harmless("target-node-labels", "endpoints are reached directly"),
    harmless("target-type", "endpoints are reached directly"),
    harmless("unhealthy-threshold-count", "endpoints are probed by the kubelet"),
];
