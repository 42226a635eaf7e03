//! `konghq.com/`: the Kong Ingress Controller.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "Kong Ingress Controller",
    prefixes: &["konghq.com/", "configuration.konghq.com/"],
    rows: ROWS,
    inherited: &[],
};

const ROWS: &[LedgerRow] = &[
    closes("headers*", "only requests with these fields match; the rule would serve all"),
    closes("methods", "only requests with these methods match; the rule would serve all"),
    closes("override", "the KongIngress may restrict the rule; use a RoutePolicy"),
    closes(
        "plugins",
        "a plugin may authenticate clients, restrict addresses or limit rates; use a WasmPlugin",
    ),
    closes("protocol", "endpoints are reached by plaintext HTTP/1.1 only").except(&["http"]),
    closes("snis", "only connections with these names match; the rule would serve all"),
    ignored("client-cert", "endpoints are reached by plaintext HTTP/1.1 only"),
    ignored("connect-timeout", "write spec.timeouts.connect in a RoutePolicy"),
    ignored("host-aliases", "write a rule for each further host"),
    ignored("host-header", "endpoints get the Host of the client; use a plugin that sets :authority"),
    ignored("https-redirect-status-code", "write spec.redirect.status in a RoutePolicy"),
    ignored("path", "endpoints get the path of the client; serve it there, or use a plugin that sets :path"),
    ignored("preserve-host", "endpoints get the Host of the client").except(&["true"]),
    ignored("protocols", "write \"redirect: {https: Always}\" in a RoutePolicy")
        .except(&["http,https", "https,http"]),
    ignored("read-timeout", "write spec.timeouts.firstByte and stall in a RoutePolicy"),
    ignored("regex-*", "paths are no patterns; write each prefix as a path"),
    ignored("retries", "write spec.retries in a RoutePolicy"),
    ignored(
        "rewrite",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored(
        "strip-path",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    )
    .except(&["false"]),
    ignored("upstream-policy", "write spec.loadBalancing in a RoutePolicy"),
    ignored("write-timeout", "write spec.timeouts.stall in a RoutePolicy"),
    harmless("path-handling", "it has an effect only with path"),
    harmless("request-buffering", "bodies are streamed"),
    harmless("response-buffering", "bodies are streamed"),
    harmless("tags", "tags have no effect on requests"),
];
