//! `--case filters`: CPU time per request of a route with a filter, as a ratio to a route without one.
//!
//! All routes are in one gateway process, and one leg of each follows the other in every round.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::figure::{Figure, Goal};
use super::gateway_load::{GatewayLoad, ScriptedLoad, cpu_figure};
use super::objects;

/// Time for reading and compiling, on a busy machine and in a debug build.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A route with a policy, and the load on it.
#[derive(Clone, Copy)]
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
    fs::create_dir_all(dir.join("files"))?;
    fs::write(dir.join("files/all.yaml"), yaml(load.backend.ports()))?;
    for route in &ROUTES {
        let host = format!("wrk.headers[\"Host\"] = \"{}.example\"", route.name);
        fs::write(dir.join(route.name), format!("{host}\n{}\n", route.field))?;
    }
    let mut gateway = load.start(&dir, READY_TIMEOUT)?;
    let loads = ROUTES.map(|route| ScriptedLoad { proxy: &gateway, script: dir.join(route.name) });
    let cpu = load.rounds(&loads)?;
    gateway.process.check_alive()?;
    let plain = cpu.first().cloned().unwrap_or_default();
    let figure = |(route, rounds): (&FilteredRoute, &Vec<f64>)| {
        cpu_figure(format!("{}; ratio to none", route.what), &plain, rounds, Goal::None)
    };
    Ok(ROUTES.iter().zip(&cpu).map(figure).collect())
}

fn yaml(ports: [u16; 2]) -> String {
    let route = |FilteredRoute { name, policy, .. }: &FilteredRoute| {
        let ingress = objects::ingress(name, &format!("{name}.example"), "svc");
        let has_policy = !policy.is_empty();
        let policy = has_policy.then(|| objects::about_ingress("RoutePolicy", name, name, policy));
        ingress + &policy.unwrap_or_default()
    };
    objects::service("svc", ports) + &ROUTES.iter().map(route).collect::<String>()
}
