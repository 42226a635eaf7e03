//! `projectcontour.io/` and its earlier prefix: Contour.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "Contour",
    prefixes: &["projectcontour.io/", "contour.heptio.com/"],
    rows: ROWS,
    inherited: &[],
};

const ROWS: &[LedgerRow] = &[
    closes("upstream-protocol.*", "endpoints are reached by plaintext HTTP/1.1 only"),
    ignored("ingress.class", "the class is read from spec.ingressClassName"),
    ignored("max-*", "write spec.limits in a RoutePolicy"),
    ignored("num-retries", "write spec.retries in a RoutePolicy"),
    ignored("per-try-timeout", "write spec.timeouts.firstByte in a RoutePolicy"),
    ignored("response-timeout", "write spec.timeouts.request in a RoutePolicy"),
    ignored("retry-on", "write spec.retries in a RoutePolicy"),
    ignored("tls-cert-namespace", "Secrets are read from the namespace of the Ingress"),
    ignored("tls-maximum-protocol-version", "TLS 1.2 and 1.3 are offered").except(&["1.3"]),
    ignored("tls-minimum-protocol-version", "TLS 1.2 and 1.3 are offered").except(&["1.0", "1.1", "1.2"]),
    harmless("websocket-routes", "WebSockets need no setting"),
];
