//! `haproxy.org/`: the HAProxy Kubernetes Ingress Controller of HAProxy Technologies.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "HAProxy Kubernetes Ingress Controller",
    prefixes: &["haproxy.org/"],
    rows: ROWS,
    inherited: &[],
};

const OFF: &[&str] = &["false", "off", "disabled"];

const ROWS: &[LedgerRow] = &[
    closes("allow-list", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    harmless("auth-realm", "it only names the realm of auth-type"),
    closes("auth-*", "clients must log in; use a plugin of phase AUTHN"),
    closes(
        "backend-config-snippet",
        "it is HAProxy configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes("blacklist", "some client addresses may not pass; use a plugin of phase AUTHZ"),
    closes("client-ca", "clients must prove a certificate, which is not supported yet"),
    closes("deny-list", "some client addresses may not pass; use a plugin of phase AUTHZ"),
    closes(
        "frontend-config-snippet",
        "it is HAProxy configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes("rate-limit-*", "requests of a client are limited; use a plugin"),
    closes("server-proto", "endpoints are reached by plaintext HTTP/1.1 only").except(&["h1", "http/1.1"]),
    closes("server-ssl", "endpoints are reached by plaintext HTTP/1.1 only").except(OFF),
    closes("ssl-passthrough", "endpoints end TLS themselves, which is not supported yet").except(OFF),
    closes("whitelist", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    ignored("check*", "endpoints are probed by the kubelet, and ejected when they fail").except(OFF),
    ignored("cookie-persistence*", "there is no session affinity yet"),
    ignored("cors-*", "write spec.cors in a RoutePolicy").except(OFF),
    ignored("ingress.class", "the class is read from spec.ingressClassName"),
    ignored("load-balance", "write spec.loadBalancing in a RoutePolicy").except(&["roundrobin"]),
    ignored(
        "path-rewrite",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored("pod-maxconn", "write spec.limits.upstreamConnections in a RoutePolicy, for all Pods together"),
    ignored("request-redirect*", "write spec.redirect in a RoutePolicy"),
    ignored("request-set-header", "write spec.requestHeaders in a RoutePolicy"),
    ignored("response-set-header", "write spec.responseHeaders in a RoutePolicy"),
    ignored("send-proxy-protocol", "endpoints get no PROXY protocol").except(OFF),
    ignored("server-c*", "endpoints are reached by plaintext HTTP/1.1 only"),
    ignored("set-host", "endpoints get the Host of the client; use a plugin that sets :authority"),
    ignored("src-ip-header", "the setting requests.trustedProxies decides which addresses are believed"),
    ignored("ssl-redirect", "write \"redirect: {https: TlsHosts}\" in a RoutePolicy").except(OFF),
    ignored("ssl-redirect-*", "write spec.redirect in a RoutePolicy"),
    ignored("timeout-*", "write spec.timeouts in a RoutePolicy"),
    harmless("abortonclose", "the request of a client that goes away is cancelled"),
    harmless("forwarded-for", "X-Forwarded-For is always written"),
    harmless("request-capture*", "the access log has its own fields"),
    harmless("scale-server-slots", "endpoints change without a limit"),
    harmless("standalone-backend", "it has no effect on requests"),
];
