//! A class handler: annotations of ingress-nginx (`nginx.ingress.kubernetes.io/…`).
//!
//! A call is about one host, because several annotations affect all Ingresses of a host. The modules: `host` (what holds for
//! the whole host), `paths` (conditions of paths), `canary`, then one module for each group of settings, and `keys` (the
//! verdict on every other annotation).

pub mod keys;

mod annotations;
mod canary;
mod cors;
mod host;
mod paths;
mod pattern;
mod redirects;
mod ruling;
mod upstream;

use plugin_sdk::class::ClassIngress;
use plugin_sdk::class::ClassInput;
use plugin_sdk::class::ClassOutput;
use plugin_sdk::class::EmittedItem;

use annotations::Annotations;
use host::Host;
use ruling::Settings;

/// Begin of all keys of the dialect.
pub const DIALECT: &str = "nginx.ingress.kubernetes.io/";

/// Keys that shape the routes of their Ingress.
const ROUTE_KEYS: [&str; 4] = ["app-root", "rewrite-target", "server-alias", "use-regex"];

plugin_sdk::class_handler!(translate);

/// Translates the Ingresses of one host.
pub fn translate(input: &ClassInput) -> ClassOutput {
    let mut output = ClassOutput::default();
    let host = Host::new(input);
    for (index, ingress) in host.mains.iter().enumerate() {
        let mut settings = Settings::default();
        host.judge(index, &mut settings);
        redirects::translate(&host, ingress, &mut settings);
        cors::translate(&ingress.annotations, &mut settings);
        upstream::translate(&ingress.annotations, &mut settings);
        emit_routes(&host, index, &mut settings, &mut output);
        for (spec, keys) in std::mem::take(&mut settings.policies) {
            let keys: Vec<String> = keys.iter().map(|key| format!("{DIALECT}{key}")).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            output.policy(ingress.object, spec, &keys);
        }
        emit_results(ingress.object, &ingress.annotations, settings, &mut output);
    }
    canary::judge(&host, &mut output);
    output
}

/// Emits the routes of an Ingress, on the host and its aliases.
fn emit_routes(host: &Host<'_>, index: usize, settings: &mut Settings, output: &mut ClassOutput) {
    let Some(ingress) = host.mains.get(index) else { return };
    let hostnames = host.hostnames();
    let keys = ROUTE_KEYS.iter().filter(|key| ingress.annotations.get(key).is_some());
    let keys: Vec<String> = keys.map(|key| format!("{DIALECT}{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for rules in paths::translate(host, ingress, settings) {
        output.route(ingress.object, rules, &keys);
        set_hostnames(output, &hostnames);
    }
    if let Some((name, rule)) = host.www_redirect(index) {
        output.route(ingress.object, vec![rule], &[&format!("{DIALECT}from-to-www-redirect")]);
        set_hostnames(output, &[name]);
    }
}

/// Sets the hosts of the last item. Empty: the host of the call alone.
fn set_hostnames(output: &mut ClassOutput, hostnames: &[String]) {
    if let Some(EmittedItem::HttpRoute(route)) = output.items.last_mut() {
        route.spec.hostnames = hostnames.to_vec();
    }
}

/// Emits a verdict on each annotation of the dialect.
fn emit_results(
    ingress: &ClassIngress,
    annotations: &Annotations<'_>,
    mut settings: Settings,
    output: &mut ClassOutput,
) {
    for (name, value) in annotations.all() {
        let ruling = settings.rulings.remove(name).unwrap_or_else(|| keys::ruling(name, value, annotations));
        ruling.emit(ingress, name, output);
    }
}

#[cfg(test)]
mod tests;
