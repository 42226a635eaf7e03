//! `--case filters`: CPU time per request of a route with a filter, as a ratio to a route without one.
//!
//! All routes are in one gateway process, and one leg of each follows the other in every round.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::figure::{Figure, Goal, Spread};
use super::gateway_load::GatewayLoad;
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess};
use crate::terminal::print_message;

/// Time for reading and compiling, on a busy machine and in a debug build.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A route with a policy, and the load on it.
struct FilteredRoute {
    /// First label of the host, and name of the Ingress.
    name: &'static str,
    what: &'static str,
    /// Fields of the RoutePolicy; empty: no policy.
    policy: &'static str,
    /// Field of each request beside Host, as Lua.
    field: &'static str,
}

/// The first route is what the others are compared with.
const ROUTES: [FilteredRoute; 4] = [
    FilteredRoute { name: "plain", what: "no filter", policy: "", field: "" },
    FilteredRoute {
        name: "headers",
        what: "requestHeaders and responseHeaders, one field each",
        policy: "{requestHeaders: {set: [{name: x-team, value: shop}]}, \
                 responseHeaders: {set: [{name: x-frame-options, value: DENY}]}}",
        field: "",
    },
    FilteredRoute {
        name: "cors",
        what: "cors, a request with Origin",
        policy: "{cors: {allowOrigins: [\"https://shop.example\"], allowCredentials: true}}",
        field: "wrk.headers[\"Origin\"] = \"https://shop.example\"",
    },
    FilteredRoute {
        name: "redirect",
        what: "redirect, a request that passes",
        policy: "{redirect: {path: /}}",
        field: "",
    },
];

/// Measures the rounds.
///
/// # Errors
/// A program cannot be started or exits, or a response does not come from the backend.
pub(crate) fn measure(load: &GatewayLoad<'_>) -> Result<Vec<Figure>> {
    let dir = load.dir.join("filters");
    let files = dir.join("files");
    fs::create_dir_all(&files)?;
    fs::write(files.join("all.yaml"), yaml(load.backend.ports()))?;
    for route in &ROUTES {
        let host = format!("wrk.headers[\"Host\"] = \"{}.example\"", route.name);
        fs::write(dir.join(route.name), format!("{host}\n{}\n", route.field))?;
    }
    let (mut gateway, http) = process::with_free_ports(|[http, https, admin]| {
        let command = peer::gateway(load.gateway).folder(&files).listen([http, https, admin]);
        let mut process = ChildProcess::spawn("gateway", command, &dir)?;
        process.wait_at_most(READY_TIMEOUT, || peer::is_ok(admin, "/readyz"))?;
        Ok((process, http))
    })?;
    let mut cpu: [Vec<f64>; ROUTES.len()] = Default::default();
    for round in 1..=load.rounds {
        for (route, rounds) in ROUTES.iter().zip(&mut cpu) {
            rounds.push(load.cpu_per_request(&gateway, http, &dir.join(route.name))?);
        }
        let last: Vec<_> = cpu.iter().filter_map(|rounds| rounds.last()).collect();
        print_message(&format!("round {round}: {last:.2?} µs"));
    }
    gateway.check_alive()?;
    Ok(figures(&cpu))
}

fn figures(cpu: &[Vec<f64>; ROUTES.len()]) -> Vec<Figure> {
    let [plain, ..] = cpu;
    let figure = |(route, rounds): (&FilteredRoute, &Vec<f64>)| {
        let ratios: Vec<f64> = plain.iter().zip(rounds).map(|(plain, filtered)| filtered / plain).collect();
        let values = Spread::from_rounds(rounds).map(|spread| (PeerKind::Gateway, spread));
        Figure {
            what: format!("{}; ratio to none", route.what),
            unit: "µs CPU/request",
            values: values.into_iter().collect(),
            ratio: Spread::from_rounds(&ratios),
            target: Goal::None,
        }
    };
    ROUTES.iter().zip(cpu).map(figure).collect()
}

fn yaml([first, second]: [u16; 2]) -> String {
    let service = format!(
        "apiVersion: v1
kind: Service
metadata:
  name: svc
  namespace: bench
  annotations:
    wasm-gateway.dev/endpoints: \"127.0.0.1:{first},127.0.0.1:{second}\"
spec:
  ports:
    - port: 80
"
    );
    ROUTES.iter().fold(service, |all, route| all + &ingress(route) + &policy(route))
}

fn ingress(route: &FilteredRoute) -> String {
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  namespace: bench
spec:
  ingressClassName: gateway
  rules:
    - host: {name}.example
      http:
        paths:
          - {{path: /, pathType: Prefix, backend: {{service: {{name: svc, port: {{number: 80}}}}}}}}
",
        name = route.name
    )
}

fn policy(route: &FilteredRoute) -> String {
    if route.policy.is_empty() {
        return String::new();
    }
    let target = format!("{{group: networking.k8s.io, kind: Ingress, name: {}}}", route.name);
    let spec = route.policy.replacen('{', &format!("{{targetRefs: [{target}], "), 1);
    format!(
        "---
apiVersion: wasm-gateway.dev/v1alpha1
kind: RoutePolicy
metadata:
  name: {}
  namespace: bench
spec: {spec}
",
        route.name
    )
}
