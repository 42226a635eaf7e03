//! `higress.io/`: Higress, which has most annotations of ingress-nginx under its own prefix too.

use super::Dialect;
use super::LedgerRow;
use super::closes;
use super::ignored;
use super::nginx_ingress;

pub(super) const DIALECT: Dialect =
    Dialect { controller: "Higress", prefixes: &["higress.io/"], rows: ROWS, inherited: nginx_ingress::ROWS };

const ROWS: &[LedgerRow] = &[
    closes(
        "domain-blacklist-source-range",
        "some client addresses may not pass; use a plugin of phase AUTHZ",
    ),
    closes(
        "domain-whitelist-source-range",
        "only some client addresses may pass; use a plugin of phase AUTHZ",
    ),
    closes("blacklist-source-range", "some client addresses may not pass; use a plugin of phase AUTHZ"),
    closes("exact-match-*", "only requests that meet the condition match; the rule would serve all"),
    closes("match-method", "only requests with these methods match; the rule would serve all"),
    closes("prefix-match-*", "only requests that meet the condition match; the rule would serve all"),
    closes("regex-match-*", "only requests that meet the condition match; the rule would serve all"),
    closes("route-limit-*", "requests are limited; use a plugin"),
    ignored("destination", "write spec.backends in a RoutePolicy"),
    ignored("request-header-control-*", "write spec.requestHeaders in a RoutePolicy"),
    ignored("response-header-control-*", "write spec.responseHeaders in a RoutePolicy"),
    ignored("timeout", "write spec.timeouts.request in a RoutePolicy"),
];
