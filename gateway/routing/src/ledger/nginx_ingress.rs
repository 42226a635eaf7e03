//! `nginx.ingress.kubernetes.io/`: ingress-nginx of the Kubernetes project.

use super::Dialect;
use super::LedgerRow;
use super::LedgerVerdict;
use super::closes;
use super::harmless;
use super::ignored;

pub(super) const DIALECT: Dialect = Dialect {
    controller: "ingress-nginx",
    prefixes: &["nginx.ingress.kubernetes.io/"],
    rows: ROWS,
    inherited: &[],
};

const OFF: &[&str] = &["false"];

pub(super) const ROWS: &[LedgerRow] = &[
    // Access.
    closes("allowlist-source-range", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    closes("auth-*", "it is a part of authentication; use a plugin of phase AUTHN"),
    harmless("auth-realm", "it only names the realm of auth-type"),
    closes("auth-secret", "it holds the passwords of basic authentication; use a plugin of phase AUTHN"),
    closes(
        "auth-tls-match-cn",
        "only some client certificates may pass; clients cannot prove a certificate yet",
    ),
    closes("auth-tls-secret", "clients must prove a certificate, which is not supported yet"),
    closes("auth-tls-verify-client", "clients must prove a certificate, which is not supported yet")
        .except(&["off"]),
    closes("auth-type", "clients must log in; use a plugin of phase AUTHN"),
    closes("auth-url", "an external service decides about requests; use a plugin of phase AUTHN"),
    closes("denylist-source-range", "some client addresses may not pass; use a plugin of phase AUTHZ"),
    harmless("enable-global-auth", "there is no global authentication"),
    closes("satisfy", "it combines address lists with authentication; use a plugin of phase AUTHZ"),
    closes("whitelist-source-range", "only some client addresses may pass; use a plugin of phase AUTHZ"),
    // Rates.
    closes("global-rate-limit*", "requests of a client are limited; use a plugin"),
    closes("limit-burst-multiplier", "requests of a client are limited; use a plugin"),
    closes("limit-connections", "connections of a client are limited; use a plugin"),
    closes("limit-rate", "the rate of responses is limited; use a plugin").except(&["0"]),
    closes("limit-rate-after", "the rate of responses is limited; use a plugin").except(&["0"]),
    closes("limit-rpm", "requests of a client are limited; use a plugin").except(&["0"]),
    closes("limit-rps", "requests of a client are limited; use a plugin").except(&["0"]),
    harmless("limit-whitelist", "it only exempts clients from a limit"),
    // Web application firewall, and configuration in nginx's language.
    closes(
        "configuration-snippet",
        "it is nginx configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes("enable-modsecurity", "a web application firewall inspects requests; use a plugin").except(OFF),
    closes("enable-owasp-core-rules", "a web application firewall inspects requests; use a plugin")
        .except(OFF),
    closes("enable-owasp-modsecurity-crs", "a web application firewall inspects requests; use a plugin")
        .except(OFF),
    closes("modsecurity-snippet", "a web application firewall inspects requests; use a plugin"),
    harmless("modsecurity-transaction-id", "it only names log entries"),
    closes(
        "server-snippet",
        "it is nginx configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    closes(
        "stream-snippet",
        "it is nginx configuration, which may restrict access; use a RoutePolicy or a plugin",
    ),
    // TLS.
    closes("backend-protocol", "endpoints are reached by plaintext HTTP/1.1 only")
        .except(&["http", "auto_http"]),
    closes("secure-backends", "endpoints are reached by plaintext HTTP/1.1 only").except(OFF),
    closes("ssl-passthrough", "endpoints end TLS themselves, which is not supported yet").except(OFF),
    harmless("ssl-ciphers", "only the suites of TLS 1.3 and the forward-secret ones of TLS 1.2 are offered"),
    harmless("ssl-prefer-server-ciphers", "all suites that are offered are strong"),
    ignored("proxy-ssl-*", "endpoints are reached by plaintext HTTP/1.1 only"),
    // Canaries.
    LedgerRow {
        name: "canary",
        verdict: LedgerVerdict::LeavesOut,
        except: OFF,
        about: "only a part of the requests should reach it; write spec.backends with weights in a RoutePolicy of the main \
                Ingress",
    },
    harmless("canary-*", "it has an effect only with canary"),
    // Redirects, rewrites, hosts and paths.
    ignored("app-root", "write spec.redirect of a RoutePolicy for the path /"),
    ignored("force-ssl-redirect", "write \"redirect: {https: Always}\" in a RoutePolicy").except(OFF),
    ignored(
        "from-to-www-redirect",
        "write spec.redirect.host in a RoutePolicy of an Ingress for the other host",
    )
    .except(OFF),
    ignored("permanent-redirect", "write spec.redirect in a RoutePolicy"),
    ignored("permanent-redirect-code", "write spec.redirect.status in a RoutePolicy"),
    ignored("preserve-trailing-slash", "write spec.redirect in a RoutePolicy").except(OFF),
    ignored("relative-redirects", "redirects name scheme and host").except(OFF),
    ignored(
        "rewrite-target",
        "endpoints get the path of the client; serve it there, or use a plugin that sets :path",
    ),
    ignored("server-alias", "write a rule for each further host"),
    ignored("ssl-redirect", "write \"redirect: {https: TlsHosts}\" in a RoutePolicy").except(OFF),
    ignored("temporal-redirect", "write spec.redirect in a RoutePolicy"),
    ignored("temporal-redirect-code", "write spec.redirect.status in a RoutePolicy"),
    ignored("use-regex", "paths are no patterns; write each prefix as a path").except(OFF),
    ignored("x-forwarded-prefix", "write spec.requestHeaders in a RoutePolicy"),
    // CORS and headers.
    ignored("cors-*", "write spec.cors in a RoutePolicy"),
    ignored("enable-cors", "write spec.cors in a RoutePolicy").except(OFF),
    ignored("connection-proxy-header", "the gateway writes the Connection field itself"),
    ignored("custom-headers", "write spec.responseHeaders in a RoutePolicy"),
    ignored("proxy-cookie-domain", "cookies pass as endpoints write them; use a plugin").except(&["off"]),
    ignored("proxy-cookie-path", "cookies pass as endpoints write them; use a plugin").except(&["off"]),
    ignored("proxy-redirect-from", "Location passes as endpoints write it; use a plugin")
        .except(&["off", "default"]),
    ignored("proxy-redirect-to", "Location passes as endpoints write it; use a plugin")
        .except(&["off", "default"]),
    ignored("upstream-vhost", "endpoints get the Host of the client; use a plugin that sets :authority"),
    // Limits, timeouts and retries.
    ignored("client-header-timeout", "the setting timeouts.requestHeader holds for all requests"),
    ignored("client-body-timeout", "write spec.timeouts.stall in a RoutePolicy"),
    ignored("proxy-body-size", "write spec.bodySize in a RoutePolicy; without one there is no limit")
        .except(&["0"]),
    ignored("proxy-connect-timeout", "write spec.timeouts.connect in a RoutePolicy"),
    ignored("proxy-next-upstream*", "write spec.retries in a RoutePolicy"),
    ignored("proxy-read-timeout", "write spec.timeouts.firstByte and stall in a RoutePolicy"),
    ignored("proxy-send-timeout", "write spec.timeouts.stall in a RoutePolicy"),
    // Endpoints.
    ignored("affinity*", "there is no session affinity yet"),
    ignored("custom-http-errors", "error pages of endpoints pass as they are"),
    ignored("default-backend", "write spec.defaultBackend of the Ingress"),
    ignored("load-balance", "write spec.loadBalancing in a RoutePolicy").except(&["round_robin"]),
    ignored("mirror-*", "requests are not mirrored yet"),
    ignored("service-upstream", "endpoints are reached directly, not by the cluster IP").except(OFF),
    ignored("session-cookie-*", "there is no session affinity yet"),
    ignored("upstream-hash-by*", "there is no consistent hashing yet"),
    // What needs no setting here.
    harmless("client-body-buffer-size", "bodies are streamed"),
    harmless("enable-access-log", "the access log is a setting of the gateway"),
    harmless("enable-influxdb", "metrics are on the page /metrics"),
    harmless("enable-opentelemetry", "there are no traces"),
    harmless("enable-opentracing", "there are no traces"),
    harmless("enable-rewrite-log", "there is no rewrite log"),
    harmless("http2-push-preload", "browsers have removed HTTP/2 push"),
    harmless("influxdb-*", "metrics are on the page /metrics"),
    harmless("opentelemetry-*", "there are no traces"),
    harmless("opentracing-*", "there are no traces"),
    harmless("proxy-buffer-size", "bodies are streamed"),
    harmless("proxy-buffering", "bodies are streamed"),
    harmless("proxy-buffers-number", "bodies are streamed"),
    harmless("proxy-busy-buffers-size", "bodies are streamed"),
    harmless("proxy-http-version", "endpoints are reached by HTTP/1.1"),
    harmless("proxy-max-temp-file-size", "bodies are streamed"),
    harmless("proxy-request-buffering", "bodies are streamed"),
    harmless("websocket-services", "WebSockets need no setting"),
];
