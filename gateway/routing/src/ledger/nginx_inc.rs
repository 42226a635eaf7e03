//! `nginx.org/`, `nginx.com/` and `appprotect.f5.com/`: the NGINX Ingress Controller of F5.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "NGINX Ingress Controller (F5)",
    prefixes: &["nginx.org/", "nginx.com/", "appprotect.f5.com/", "appprotectdos.f5.com/"],
    rows: ROWS,
    inherited: &[],
};

const OFF: &[&str] = &["false", "off"];

const ROWS: &[LedgerRow] = &[
    closes("app-protect-*", "a web application firewall inspects requests; use a plugin").except(OFF),
    closes("basic-auth-*", "clients must log in; use a plugin of phase AUTHN"),
    closes("jwt-*", "clients must show a token; use a plugin of phase AUTHN"),
    closes("limit-req-*", "requests of a client are limited; use a plugin"),
    closes(
        "location-snippets",
        "it is nginx configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes("policies", "the policies may restrict access; use a RoutePolicy or a plugin"),
    closes(
        "server-snippets",
        "it is nginx configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes("ssl-services", "endpoints are reached by plaintext HTTP/1.1 only"),
    closes("grpc-services", "endpoints are reached by plaintext HTTP/1.1 only"),
    ignored("client-max-body-size", "write spec.bodySize in a RoutePolicy; without one there is no limit")
        .except(&["0"]),
    ignored("health-checks*", "endpoints are probed by the kubelet, and ejected when they fail"),
    ignored("hsts*", "write spec.responseHeaders in a RoutePolicy").except(OFF),
    ignored("http-redirect-code", "write spec.redirect.status in a RoutePolicy"),
    ignored("lb-method", "write spec.loadBalancing in a RoutePolicy").except(&["round_robin"]),
    ignored("listen-ports*", "the listeners are settings of the gateway"),
    ignored("path-regex", "paths are no patterns; write each prefix as a path"),
    ignored("proxy-connect-timeout", "write spec.timeouts.connect in a RoutePolicy"),
    ignored("proxy-hide-headers", "write spec.responseHeaders.remove in a RoutePolicy"),
    ignored("proxy-next-upstream*", "write spec.retries in a RoutePolicy"),
    ignored("proxy-read-timeout", "write spec.timeouts.firstByte and stall in a RoutePolicy"),
    ignored("proxy-send-timeout", "write spec.timeouts.stall in a RoutePolicy"),
    ignored("proxy-set-headers", "write spec.requestHeaders in a RoutePolicy"),
    ignored("redirect-to-https", "write \"redirect: {https: Always}\" in a RoutePolicy").except(OFF),
    ignored(
        "rewrite-target",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored(
        "rewrites",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored("slow-start", "new endpoints get their whole share at once"),
    ignored("ssl-redirect", "write \"redirect: {https: TlsHosts}\" in a RoutePolicy").except(OFF),
    ignored("sticky-cookie-services", "there is no session affinity yet"),
    ignored("use-cluster-ip", "endpoints are reached directly, not by the cluster IP").except(OFF),
    harmless("fail-timeout", "endpoints that fail are ejected"),
    harmless("keepalive", "idle connections to endpoints are kept"),
    harmless("max-conns", "the setting limits.upstreamConnections holds for each Service port"),
    harmless("max-fails", "endpoints that fail are ejected"),
    harmless("mergeable-ingress-type", "the rules of several Ingresses for one host are merged"),
    harmless("proxy-buffer-size", "bodies are streamed"),
    harmless("proxy-buffering", "bodies are streamed"),
    harmless("proxy-buffers", "bodies are streamed"),
    harmless("proxy-busy-buffers-size", "bodies are streamed"),
    harmless("proxy-max-temp-file-size", "bodies are streamed"),
    harmless("server-tokens", "the gateway names no version"),
    harmless("upstream-zone-size", "it is a size of nginx's memory"),
    harmless("websocket-services", "WebSockets need no setting"),
];
