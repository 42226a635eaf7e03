//! `k8s.apisix.apache.org/`: the APISIX Ingress Controller.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "APISIX Ingress Controller",
    prefixes: &["k8s.apisix.apache.org/"],
    rows: ROWS,
    inherited: &[],
};

const OFF: &[&str] = &["false"];

const ROWS: &[LedgerRow] = &[
    closes("allowlist-source-range", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    closes("auth-*", "clients must log in; use a plugin of phase AUTHN"),
    closes("blocklist-source-range", "some client addresses may not pass; use a plugin of phase AUTHZ"),
    closes("csrf-key", "requests must carry a token against forgery; use a plugin"),
    closes("enable-csrf", "requests must carry a token against forgery; use a plugin").except(OFF),
    closes("http-allow-methods", "only some methods may pass; use a plugin of phase AUTHZ"),
    closes("http-block-methods", "some methods may not pass; use a plugin of phase AUTHZ"),
    closes(
        "plugin-config-name",
        "a plugin may authenticate clients, restrict addresses or limit rates; use a WasmPlugin",
    ),
    closes("upstream-scheme", "endpoints are reached by plaintext HTTP/1.1 only").except(&["http"]),
    ignored("cors-*", "write spec.cors in a RoutePolicy"),
    ignored("enable-cors", "write spec.cors in a RoutePolicy").except(OFF),
    ignored("http-redirect*", "write spec.redirect in a RoutePolicy"),
    ignored("http-to-https", "write \"redirect: {https: Always}\" in a RoutePolicy").except(OFF),
    ignored("response-rewrite*", "write spec.responseHeaders in a RoutePolicy").except(OFF),
    ignored("enable-response-rewrite", "write spec.responseHeaders in a RoutePolicy").except(OFF),
    ignored(
        "rewrite-target*",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored("svc-namespace", "Services are read from the namespace of the Ingress"),
    ignored("upstream-*", "write spec.timeouts or spec.retries in a RoutePolicy"),
    ignored("use-regex", "paths are no patterns; write each prefix as a path").except(OFF),
    harmless("enable-websocket", "WebSockets need no setting"),
];
