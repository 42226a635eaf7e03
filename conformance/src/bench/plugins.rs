//! `--case plugins`: CPU time that Wasm plugins add to a request, beside Envoy with the same modules, and the memory of
//! an instance.
//!
//! All routes are in one gateway process. Each has an Envoy process of its own, with the same chain. One leg of each
//! follows the other in every round.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::backend::{MEDIUM_BODY_BYTES, MEDIUM_PATH};
use super::case::BenchCase;
use super::figure::{Figure, Goal, Spread};
use super::gateway_load::{GatewayLoad, LoadedProxy, ScriptedLoad};
use super::http;
use super::objects;
use super::peer::{self, PeerKind};
use super::process::{self, ChildProcess, PinnedProgram};
use super::report::Report;

#[path = "../../../gateway/plugin-host/guests/envoy.rs"]
mod envoy;
#[path = "../../../gateway/plugin-host/guests/modules.rs"]
mod modules;

/// Time for compiling the modules, on a busy machine and in a debug build.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Plugins whose memory is measured, beside one.
const MORE_PLUGINS: usize = 20;

/// A module of a chain.
#[derive(Clone, Copy)]
enum Module {
    /// A guest with the public SDK, which exports every callback.
    Guest(&'static str),
    /// The guest in Go.
    Go,
    /// [`BARE`].
    Bare,
}

/// A module that exports no callback of a request.
const BARE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024)))"#;

/// A route with a chain of plugins, and the load on it.
struct PluginRoute {
    /// First label of the host, and name of the Ingress.
    name: &'static str,
    what: &'static str,
    /// Modules and configurations, in order.
    chain: &'static [(Module, &'static str)],
    path: &'static str,
    /// Maximum of the added CPU time in µs.
    target: Goal,
}

const SET: (Module, &str) = (Module::Guest("headers"), "response set x-frame-options DENY");
const BODIES: (Module, &str) = (Module::Guest("body"), "response buffer");

/// Plugins whose memory is measured, and the name of each.
const MEMORY: [(&str, (Module, &str)); 4] = [
    ("a module without callbacks", (Module::Bare, "")),
    ("empty callbacks", (Module::Guest("noop"), "")),
    ("one response field set", SET),
    ("a guest in Go", (Module::Go, "x-go yes")),
];

/// Routes without plugins are first of those with their path.
const ROUTES: [PluginRoute; 7] = [
    PluginRoute { name: "plain", what: "no plugin", chain: &[], path: "/", target: Goal::None },
    PluginRoute {
        name: "bare",
        what: "a module without callbacks",
        chain: &[(Module::Bare, "")],
        path: "/",
        target: Goal::AtMost(0.5),
    },
    PluginRoute {
        name: "noop",
        what: "empty callbacks",
        chain: &[(Module::Guest("noop"), "")],
        path: "/",
        target: Goal::None,
    },
    PluginRoute {
        name: "set",
        what: "one response field set",
        chain: &[SET],
        path: "/",
        target: Goal::AtMost(2.0),
    },
    PluginRoute {
        name: "five",
        what: "five plugins that set one field each",
        chain: &[SET, SET, SET, SET, SET],
        path: "/",
        target: Goal::None,
    },
    PluginRoute {
        name: "medium",
        what: "no plugin, a body of 64 KiB",
        chain: &[],
        path: MEDIUM_PATH,
        target: Goal::None,
    },
    PluginRoute {
        name: "body",
        what: "a body of 64 KiB buffered and rewritten",
        chain: &[BODIES],
        path: MEDIUM_PATH,
        target: Goal::None,
    },
];

/// Measures the rounds and the memory.
///
/// # Errors
/// A guest cannot be built, a program cannot be started or exits, or a response does not come from the backend.
pub(crate) fn measure(load: &GatewayLoad<'_>, report: &mut Report) -> Result<Vec<Figure>> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/plugin-host/guests");
    match modules::module(&guests, "noop") {
        Ok(_) => {}
        Err(modules::NoModule::Missing(reason)) => {
            report.skip(format!("bench case {:?}: {reason}", BenchCase::Plugins));
            return Ok(Vec::new());
        }
        Err(modules::NoModule::Failed(reason)) => bail!(reason),
    }
    let envoy = envoy::program();
    if envoy.is_none() {
        report.skip(
            "bench case Plugins beside Envoy: it is not installed (conformance/test installs it)".to_owned(),
        );
    }
    let case = PluginsCase { load, guests, dir: load.dir.join("plugins"), envoy };
    let mut figures = case.cpu()?;
    for (number, (what, plugin)) in MEMORY.into_iter().enumerate() {
        let dir = case.dir.join(format!("memory-{number}"));
        match case.memory(&dir, what, plugin) {
            Ok(figure) => figures.push(figure),
            Err(error) if matches!(error.downcast_ref(), Some(modules::NoModule::Missing(_))) => {
                report.skip(format!("memory of {what}: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(figures)
}

/// Inputs of the case.
struct PluginsCase<'a> {
    load: &'a GatewayLoad<'a>,
    /// Folder of the guests' sources.
    guests: PathBuf,
    /// Folder for files.
    dir: PathBuf,
    /// Envoy's program.
    envoy: Option<PathBuf>,
}

impl PluginsCase<'_> {
    fn cpu(&self) -> Result<Vec<Figure>> {
        let dir = self.dir.join("cpu");
        let mut gateway = self.start_gateway(&dir, &ROUTES)?;
        let mut envoys = Vec::new();
        for route in &ROUTES {
            let host = format!("wrk.headers[\"Host\"] = \"{}.example\"", route.name);
            fs::write(dir.join(route.name), format!("{host}\nwrk.path = \"{}\"\n", route.path))?;
            envoys.extend(self.start_envoy(&dir.join(format!("envoy-{}", route.name)), route.chain)?);
        }
        check_effect(&gateway)?;
        let script = |route: &PluginRoute| dir.join(route.name);
        let own = ROUTES.iter().map(|route| ScriptedLoad { proxy: &gateway, script: script(route) });
        let peers = ROUTES.iter().zip(&envoys);
        let peers = peers.map(|(route, proxy)| ScriptedLoad { proxy, script: script(route) });
        let cpu = self.load.rounds(&own.chain(peers).collect::<Vec<_>>())?;
        gateway.process.check_alive()?;
        let (own, peers) = cpu.split_at_checked(ROUTES.len()).context("a leg of each route")?;
        Ok(ROUTES.iter().enumerate().filter_map(|(index, route)| figure(route, index, own, peers)).collect())
    }

    /// Measures the memory that further plugins take, with one instance of the same module each, after a request.
    fn memory(&self, dir: &Path, what: &str, plugin: (Module, &'static str)) -> Result<Figure> {
        let chain = |count: usize| vec![plugin; count];
        let many = MORE_PLUGINS + 1;
        let each = |one: u64, more: u64| more.saturating_sub(one) as f64 / MORE_PLUGINS as f64 / 1024.0;
        let mut values = Vec::new();
        let own = |count: usize| {
            let dir = dir.join(format!("gateway-{count}"));
            let route = PluginRoute { chain: chain(count).leak(), ..MEMORY_ROUTE };
            self.start_gateway(&dir, &[route])?.process.settled_rss()
        };
        values.push((PeerKind::Gateway, each(own(1)?, own(many)?)));
        let peer = |count: usize| -> Result<Option<u64>> {
            let envoy = self.start_envoy(&dir.join(format!("envoy-{count}")), &chain(count))?;
            envoy.map(|mut envoy| envoy.process.settled_rss()).transpose()
        };
        if let (Some(one), Some(more)) = (peer(1)?, peer(many)?) {
            values.push((PeerKind::Envoy, each(one, more)));
        }
        let spread = |(kind, value): (PeerKind, f64)| Some((kind, Spread::from_rounds(&[value])?));
        Ok(Figure {
            what: format!("{what}: memory of each plugin with one instance, 2 to {many}"),
            unit: "KiB RSS",
            values: values.into_iter().filter_map(spread).collect(),
            ratio: None,
            target: Goal::None,
        })
    }

    /// Starts a gateway with these routes, and waits until their plugins serve.
    fn start_gateway(&self, dir: &Path, routes: &[PluginRoute]) -> Result<LoadedProxy> {
        let files = dir.join("files");
        fs::create_dir_all(&files)?;
        let mut yaml = objects::service("svc", self.load.backend.ports());
        for route in routes {
            yaml += &objects::ingress(route.name, &format!("{}.example", route.name), "svc");
            for (number, (module, config)) in route.chain.iter().enumerate() {
                let name = format!("{}-{number}", route.name);
                fs::copy(self.module(*module)?, files.join(format!("{name}.wasm")))?;
                let spec = format!(
                    "{{url: 'file://{name}.wasm', pluginConfig: {config:?}, limits: {{callTimeout: 1s}}}}"
                );
                yaml += &objects::about_ingress("WasmPlugin", &name, route.name, &spec);
            }
        }
        fs::write(files.join("all.yaml"), yaml)?;
        let mut proxy = self.load.start(dir, READY_TIMEOUT)?;
        let port = proxy.http;
        let serves =
            |host: &str| Ok::<_, anyhow::Error>(http::status(&mut http::connect(port)?, host)? == 200);
        for route in routes {
            let host = format!("{}.example", route.name);
            proxy.process.wait_at_most(READY_TIMEOUT, || serves(&host).is_ok_and(|serves| serves))?;
        }
        Ok(proxy)
    }

    /// Starts an Envoy with this chain. `None` if it is not installed.
    fn start_envoy(&self, dir: &Path, chain: &[(Module, &str)]) -> Result<Option<LoadedProxy>> {
        let Some(path) = &self.envoy else { return Ok(None) };
        fs::create_dir_all(dir)?;
        let plugin = |(module, config): &(Module, &str)| {
            Ok(envoy::Plugin {
                module: self.module(*module)?,
                config: (*config).to_owned(),
                holds_head: false,
            })
        };
        let [endpoint, _] = self.load.backend.ports();
        process::with_free_ports(|[port]| {
            let setup = envoy::Setup {
                port,
                endpoint: ([127, 0, 0, 1], endpoint).into(),
                plugins: chain.iter().map(plugin).collect::<Result<_>>()?,
                clusters: Vec::new(),
            };
            let file = dir.join("envoy.json");
            fs::write(&file, envoy::config(&setup))?;
            let mut command = PinnedProgram { path, core: self.load.gateway.core }.command();
            command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart"]);
            let mut process = ChildProcess::spawn("envoy", command, dir)?;
            process.wait_at_most(READY_TIMEOUT, || peer::is_ok(port, "/"))?;
            Ok(Some(LoadedProxy { process, http: port }))
        })
    }

    fn module(&self, module: Module) -> Result<PathBuf> {
        match module {
            Module::Guest(name) => modules::module(&self.guests, name).map_err(anyhow::Error::new),
            Module::Go => modules::go_module(&self.guests).map_err(anyhow::Error::new),
            Module::Bare => {
                let path = self.dir.join("bare.wasm");
                fs::write(&path, wat::parse_str(BARE)?)?;
                Ok(path)
            }
        }
    }
}

const MEMORY_ROUTE: PluginRoute =
    PluginRoute { name: "memory", what: "", chain: &[], path: "/", target: Goal::None };

/// Checks that the plugins have an effect.
fn check_effect(gateway: &LoadedProxy) -> Result<()> {
    let get = |host, path| http::get_of(&mut http::connect(gateway.http)?, host, path);
    let is_set = get("set.example", "/")?.field("X-Frame-Options") == Some("DENY");
    ensure!(is_set, "the plugin of set.example has no effect");
    // With its framing, if the body is chunked.
    let length = get("body.example", MEDIUM_PATH)?.body.len() as u64;
    ensure!(length >= MEDIUM_BODY_BYTES, "the body of body.example has {length} bytes");
    Ok(())
}

/// Returns the figure of a route: the CPU time, or what its plugins add to that of the route without any.
fn figure(route: &PluginRoute, index: usize, own: &[Vec<f64>], peers: &[Vec<f64>]) -> Option<Figure> {
    let base = ROUTES.iter().position(|other| other.path == route.path)?;
    let is_base = base == index;
    let added = |cpu: &[Vec<f64>]| {
        let rounds = cpu.get(base)?.iter().zip(cpu.get(index)?);
        let rounds = rounds.map(|(base, own)| if is_base { *own } else { own - base });
        Spread::from_rounds(&rounds.collect::<Vec<_>>())
    };
    let ratios = own.get(base)?.iter().zip(own.get(index)?).map(|(base, own)| own / base);
    let values = [(PeerKind::Gateway, added(own)), (PeerKind::Envoy, added(peers))];
    Some(Figure {
        what: if is_base { route.what.to_owned() } else { format!("{}: added; ratio to none", route.what) },
        unit: "µs CPU/request",
        values: values.into_iter().filter_map(|(kind, spread)| Some((kind, spread?))).collect(),
        ratio: Spread::from_rounds(&ratios.collect::<Vec<_>>()).filter(|_| !is_base),
        target: route.target,
    })
}
