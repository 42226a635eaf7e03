//! A class handler: five annotations of Traefik (`traefik.ingress.kubernetes.io/…`).

use plugin_sdk::class::AnnotationVerdict;
use plugin_sdk::class::ClassIngress;
use plugin_sdk::class::ClassInput;
use plugin_sdk::class::ClassOutput;
use plugin_sdk::class::api::PathMatchType;
use plugin_sdk::class::api::RoutePolicySpec;
use plugin_sdk::class::api::policy::HttpsRedirect;
use plugin_sdk::class::api::policy::Redirect;

/// Begin of all keys of the dialect.
const DIALECT: &str = "traefik.ingress.kubernetes.io/";

const ENTRY_POINTS: &str = "traefik.ingress.kubernetes.io/router.entrypoints";
const MIDDLEWARES: &str = "traefik.ingress.kubernetes.io/router.middlewares";
const PATH_MATCHER: &str = "traefik.ingress.kubernetes.io/router.pathmatcher";
const PRIORITY: &str = "traefik.ingress.kubernetes.io/router.priority";
const TLS: &str = "traefik.ingress.kubernetes.io/router.tls";

plugin_sdk::class_handler!(translate);

/// Translates the Ingresses of one host.
fn translate(input: &ClassInput) -> ClassOutput {
    let mut output = ClassOutput::default();
    for ingress in input.ingresses() {
        translate_paths(ingress, &mut output);
        for (key, value) in ingress.annotations(DIALECT) {
            translate_annotation(ingress, key, value, &mut output);
        }
    }
    output
}

/// Emits a rule for each path. Without `router.pathmatcher`, the gateway matches by path elements.
fn translate_paths(ingress: &ClassIngress, output: &mut ClassOutput) {
    let is_exact = ingress.annotation(PATH_MATCHER) == Some("Path");
    let rules = ingress.paths().map(|path| {
        let mut rule = path.rule();
        for condition in rule.matches.iter_mut().filter(|_| is_exact) {
            condition.path.kind = PathMatchType::Exact;
        }
        rule
    });
    output.route(ingress, rules.collect(), if is_exact { &[PATH_MATCHER] } else { &[] });
}

fn translate_annotation(ingress: &ClassIngress, key: &str, value: &str, output: &mut ClassOutput) {
    use AnnotationVerdict::{Differs, Exact, Ignored, Refused};

    match (key, value) {
        (ENTRY_POINTS, "websecure") | (TLS, "true") => {
            let redirect = Redirect { https: Some(HttpsRedirect::Always), ..Redirect::default() };
            output.policy(
                ingress,
                RoutePolicySpec { redirect: Some(redirect), ..Default::default() },
                &[key],
            );
            let message = "plaintext requests are redirected to HTTPS; Traefik answers them with a 404";
            output.result(ingress, key, Differs, message);
        }
        (ENTRY_POINTS, "web") => {
            let message = "HTTPS is served, too; Traefik answers it with a 404";
            output.result(ingress, key, Differs, message);
        }
        (ENTRY_POINTS, "web,websecure" | "websecure,web") | (PATH_MATCHER, "Path") | (TLS, "false") => {
            output.result(ingress, key, Exact, "");
        }
        (ENTRY_POINTS, _) => {
            let message = "only the entry points web and websecure exist here; write one of them";
            output.result(ingress, key, Refused, message).close();
        }
        (PATH_MATCHER, "PathPrefix") => {
            let message = "/a matches /a and /a/b, but not /ab, which it does in Traefik";
            output.result(ingress, key, Differs, message);
        }
        (PATH_MATCHER, _) => {
            let message = "only Path and PathPrefix are supported; write one of them";
            output.result(ingress, key, Refused, message).close();
        }
        (PRIORITY, _) => {
            let message = "the longest path takes precedence, whatever the priority is";
            output.result(ingress, key, Ignored, message);
        }
        (MIDDLEWARES, _) => {
            let message =
                "Middlewares are not read, and one of them may be an authentication; use a RoutePolicy";
            output.result(ingress, key, Refused, message).close();
        }
        _ => {
            output.result(ingress, key, Refused, "the annotation is not supported").close();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn cases_pass() {
        plugin_sdk::class::run_cases("cases", super::translate);
    }
}
