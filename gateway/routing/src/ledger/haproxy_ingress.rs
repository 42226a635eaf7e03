//! `haproxy-ingress.github.io/` and `ingress.kubernetes.io/`: HAProxy Ingress.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "HAProxy Ingress",
    prefixes: &["haproxy-ingress.github.io/", "ingress.kubernetes.io/"],
    rows: ROWS,
    inherited: &[],
};

const OFF: &[&str] = &["false", "off"];

const ROWS: &[LedgerRow] = &[
    closes("allowlist-source-*", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    closes("auth-*", "it is a part of authentication; use a plugin of phase AUTHN"),
    harmless("auth-realm", "it only names the realm of authentication"),
    closes("backend-protocol", "endpoints are reached by plaintext HTTP/1.1 only").except(&["h1", "http"]),
    closes(
        "config-*",
        "it is HAProxy configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes("denylist-source-*", "some client addresses may not pass; use a plugin of phase AUTHZ"),
    closes("limit-connections", "connections of a client are limited; use a plugin").except(&["0"]),
    closes("limit-rps", "requests of a client are limited; use a plugin").except(&["0"]),
    harmless("limit-whitelist", "it only exempts clients from a limit"),
    closes("oauth*", "clients must log in; use a plugin of phase AUTHN"),
    closes("secure-backends", "endpoints are reached by plaintext HTTP/1.1 only").except(OFF),
    closes("ssl-passthrough*", "endpoints end TLS themselves, which is not supported yet").except(OFF),
    closes("waf", "a web application firewall inspects requests; use a plugin"),
    harmless("waf-mode", "it has an effect only with waf"),
    closes("whitelist-source-range", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    ignored("affinity", "there is no session affinity yet"),
    ignored("agent-check*", "endpoints are probed by the kubelet, and ejected when they fail"),
    ignored("app-root", "write spec.redirect of a RoutePolicy for the path /"),
    ignored("balance-algorithm", "write spec.loadBalancing in a RoutePolicy").except(&["roundrobin"]),
    ignored("blue-green-*", "write spec.backends with weights in a RoutePolicy"),
    ignored("cors-*", "write spec.cors in a RoutePolicy").except(OFF),
    ignored("default-backend-redirect*", "write spec.redirect in a RoutePolicy"),
    ignored("force-ssl-redirect", "write \"redirect: {https: Always}\" in a RoutePolicy").except(OFF),
    ignored("headers", "write spec.requestHeaders in a RoutePolicy"),
    ignored("health-check-*", "endpoints are probed by the kubelet, and ejected when they fail"),
    ignored("hsts*", "write spec.responseHeaders in a RoutePolicy").except(OFF),
    ignored(
        "maxconn-server",
        "write spec.limits.upstreamConnections in a RoutePolicy, for all Pods together",
    ),
    ignored("maxqueue-server", "write spec.limits.pendingRequests in a RoutePolicy, for all Pods together"),
    ignored("path-type", "write pathType of the path").except(&["prefix", "begin"]),
    ignored("proxy-body-size", "write spec.bodySize in a RoutePolicy; without one there is no limit"),
    ignored("proxy-protocol", "endpoints get no PROXY protocol").except(&["no"]),
    ignored("redirect-*", "write spec.redirect in a RoutePolicy"),
    ignored(
        "rewrite-target",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored("secure-*", "endpoints are reached by plaintext HTTP/1.1 only"),
    ignored("server-alias*", "write a rule for each further host"),
    ignored("service-upstream", "endpoints are reached directly, not by the cluster IP").except(OFF),
    ignored("session-cookie-*", "there is no session affinity yet"),
    ignored("ssl-redirect", "write \"redirect: {https: TlsHosts}\" in a RoutePolicy").except(OFF),
    ignored("ssl-redirect-code", "write spec.redirect.status in a RoutePolicy"),
    ignored("timeout-*", "write spec.timeouts in a RoutePolicy"),
    harmless("initial-weight", "all endpoints get an equal share"),
    harmless("slots-*", "endpoints change without a limit"),
    harmless("ssl-cipher*", "only the suites of TLS 1.3 and the forward-secret ones of TLS 1.2 are offered"),
];
