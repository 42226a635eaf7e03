//! `traefik.ingress.kubernetes.io/`: Traefik.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "Traefik",
    prefixes: &["traefik.ingress.kubernetes.io/"],
    rows: ROWS,
    inherited: &[],
};

const OFF: &[&str] = &["false"];

const ROWS: &[LedgerRow] = &[
    closes("auth-*", "clients must log in; use a plugin of phase AUTHN"),
    closes("protocol", "endpoints are reached by plaintext HTTP/1.1 only").except(&["http"]),
    closes("rate-limit", "requests of a client are limited; use a plugin"),
    closes(
        "router.middlewares",
        "a middleware may authenticate clients, restrict addresses or limit rates; use a RoutePolicy or a plugin",
    ),
    closes("router.tls.options", "the options may ask for client certificates, which are not supported yet"),
    closes("service.serversscheme", "endpoints are reached by plaintext HTTP/1.1 only").except(&["http"]),
    closes("service.serverstransport", "endpoints are reached by plaintext HTTP/1.1 only"),
    closes("whitelist-source-range", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    ignored("affinity", "there is no session affinity yet").except(OFF),
    ignored("app-root", "write spec.redirect of a RoutePolicy for the path /"),
    ignored("custom-request-headers", "write spec.requestHeaders in a RoutePolicy"),
    ignored("custom-response-headers", "write spec.responseHeaders in a RoutePolicy"),
    ignored("frontend-entry-points", "all listeners serve the rules").except(&["http,https", "https,http"]),
    ignored("redirect-*", "write spec.redirect in a RoutePolicy"),
    ignored(
        "request-modifier",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored(
        "rewrite-target",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored(
        "router.entrypoints",
        "all listeners serve the rules; redirect plaintext requests by a RoutePolicy",
    )
    .except(&["web", "web,websecure", "web, websecure", "websecure,web", "websecure, web"]),
    ignored("router.pathmatcher", "paths are no patterns; write pathType of the path")
        .except(&["path", "pathprefix"]),
    ignored("router.priority", "the longest path wins, whatever its Ingress"),
    ignored("router.rulesyntax", "rules are written as Ingress defines them"),
    ignored("router.tls.certresolver", "write spec.tls with a Secret, which cert-manager can make"),
    ignored("router.tls.domains*", "write spec.tls with a Secret, which cert-manager can make"),
    ignored("rule-type", "paths are no patterns; write pathType of the path").except(&["pathprefix", "path"]),
    ignored("service.nativelb", "endpoints are reached directly, not by the cluster IP").except(OFF),
    ignored("service.passhostheader", "endpoints get the Host of the client").except(&["true"]),
    ignored("service.sticky*", "there is no session affinity yet").except(OFF),
    harmless("preserve-host", "endpoints get the Host of the client"),
    harmless("router.observability.*", "logs and metrics are settings of the gateway"),
    harmless("router.tls", "TLS is served for each host; spec.tls names its certificate"),
];
