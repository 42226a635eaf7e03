//! Which module may name which, and what a folder may call.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::{parse, paths};
use crate::tree::{Source, sources};

/// Which modules of `gateway` each may name; its own submodules are always allowed. The longest entry that fits a
/// module counts. A module without an entry fails. `["*"]`: it connects the others.
const MODULES: &[(&str, &[&str])] = &[
    ("observe", &[]),
    ("settings", &["observe::access_log", "observe::counters"]),
    ("message", &[]),
    ("filter", &["message"]),
    ("plan", &["settings", "filter"]),
    ("live", &["plan"]),
    ("control", &[]),
    ("control::source", &["observe::control_metrics"]),
    ("control::dns", &["settings"]),
    ("control::certificates", &["live", "control::source"]),
    ("control::module_file", &[]),
    ("control::plugin", &["control::module_file", "filter", "observe::plugin_metrics"]),
    ("control::handler", &["control::module_file", "observe::handler_metrics"]),
    (
        "control::reload",
        &[
            "live",
            "plan",
            "control::source",
            "control::dns",
            "control::certificates",
            "control::handler",
            "control::plugin",
            "observe::control_metrics",
        ],
    ),
    ("control::leader", &[]),
    ("control::status", &["control::source", "control::plugin", "control::reload", "observe::metrics"]),
    ("data", &[]),
    ("data::drain", &["data::wire"]),
    ("data::client_network", &[]),
    ("data::idle", &["data::wire", "data::client_network"]),
    ("data::pressure", &[]),
    ("data::wire", &[]),
    ("data::upstream", &["plan", "observe::counters", "data::wire", "data::client_network"]),
    (
        "data::exchange",
        &[
            "live",
            "plan",
            "filter",
            "message",
            "settings",
            "observe",
            "data::wire",
            "data::client_network",
            "data::idle",
            "data::pressure",
            "data::upstream",
            "data::drain",
        ],
    ),
    ("data::plugins", &["filter", "message", "plan", "data::wire", "data::upstream", "data::exchange"]),
    (
        "data::listener",
        &[
            "live",
            "filter",
            "message",
            "settings",
            "observe",
            "data::wire",
            "data::idle",
            "data::pressure",
            "data::upstream",
            "data::exchange",
            "data::plugins",
            "data::drain",
        ],
    ),
    ("cli", &["*"]),
];

/// Modules of `gateway` that may name the `kube` crate.
const KUBE: &[&str] = &["control::source::kube", "control::status", "control::leader", "cli"];

/// What the data plane must not name: (path, reason).
const BANNED_ON_WORKERS: &[(&str, &str)] = &[
    ("Mutex", "a worker never waits for a lock"),
    ("RwLock", "a worker never waits for a lock"),
    ("Condvar", "a worker never waits for a lock"),
    ("spawn", "no task per request"),
    ("spawn_local", "no task per request"),
    ("spawn_blocking", "no task per request"),
    ("block_on", "a worker never blocks"),
    ("fs", "a worker reads no file"),
    ("lookup_host", "nothing is resolved on a worker"),
    ("ToSocketAddrs", "nothing is resolved on a worker"),
];

/// The exceptions to [`BANNED_ON_WORKERS`]: (module, name, reason).
const ALLOWED_ON_WORKERS: &[(&str, &str, &str)] = &[
    ("data::listener::accept", "spawn_local", "one task per connection"),
    ("data::listener::worker", "spawn_local", "one task per worker for the clock, one for sweeps"),
    ("data::plugins", "spawn_local", "one task per callout, gRPC connection and tick of a plugin"),
    ("data::upstream::connect", "spawn_local", "one task per health probe of an ejected endpoint"),
    ("data::upstream::ejection", "Mutex", "taken for each ejection, never per request"),
    ("data::upstream::shared", "Mutex", "taken when a worker first sees a backend, never per request"),
];

#[test]
fn modules_name_only_allowed_modules() {
    let gateway =
        sources().into_iter().filter(|source| source.krate == "gateway" && !source.module.is_empty());
    let found: Vec<_> =
        gateway.flat_map(|source| forbidden_modules(&source.module, &source.text())).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_two_modules_import_each_other() {
    let mut by_crate: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for source in sources() {
        by_crate.entry(source.krate.clone()).or_default().push(source);
    }
    let found: Vec<_> = by_crate.into_values().flat_map(|sources| circles(&sources)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn data_plane_never_waits() {
    let workers =
        sources().into_iter().filter(|source| source.krate == "gateway" && is_within(&source.module, "data"));
    let found: Vec<_> = workers.flat_map(|source| waits(&source.module, &source.text())).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns what a module names and must not; also if the module itself has no entry.
fn forbidden_modules(module: &str, text: &str) -> Vec<String> {
    let Some((own, allowed)) = rule_of(module) else {
        return vec![format!("{module} has no entry in MODULES")];
    };
    let tokens = parse(module, text);
    let mut found = Vec::new();
    for path in paths(&tokens) {
        let Some(name) = from_root(module, &path) else { continue };
        let is_module = MODULES.iter().any(|(known, _)| is_within(&name, known));
        let is_allowed =
            allowed.iter().chain([own]).any(|allowed| *allowed == "*" || is_within(&name, allowed));
        if is_module && !is_allowed {
            found.push(format!("{module} must not name {name}"));
        }
    }
    let names_crate = |name: &str| paths(&tokens).iter().any(|path| path[0] == name);
    if names_crate("kube") && !KUBE.iter().any(|allowed| is_within(module, allowed)) {
        // A child module of that name is no crate.
        let has_child = text.contains("mod kube;") || text.contains("::kube");
        if !has_child {
            found.push(format!("{module} must not name the kube crate"));
        }
    }
    if names_crate("wasmtime") {
        found.push(format!("{module} must not name wasmtime"));
    }
    found
}

/// Returns a path from the crate's root, if it begins with `crate` or `super`.
fn from_root(module: &str, path: &[String]) -> Option<String> {
    let mut base: Vec<_> = module.split("::").map(str::to_owned).collect();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => base.clear(),
        "super" => {
            base.pop();
            while rest.get(1).is_some_and(|next| next == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    base.extend(rest[1..].iter().filter(|name| *name != "self").cloned());
    Some(base.join("::"))
}

/// Returns the entry of the longest path that a module is within.
fn rule_of(module: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    MODULES.iter().filter(|(known, _)| is_within(module, known)).max_by_key(|(known, _)| known.len())
}

/// Is a path the other one or below it?
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the pairs of modules that import each other. A parent that re-exports or calls its children is no circle
/// by itself: only siblings and strangers count.
fn circles(sources: &[Source]) -> Vec<String> {
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let deepest = |path: &str| {
        let mut path = path;
        loop {
            if modules.contains(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let mut imports = BTreeSet::new();
    for source in sources {
        for path in paths(&parse(&source.path, &source.text())) {
            let absolute = from_root(&source.module, &path).or_else(|| {
                let child =
                    if source.module.is_empty() { String::new() } else { format!("{}::", source.module) };
                modules
                    .contains(format!("{child}{}", path[0]).as_str())
                    .then(|| format!("{child}{}", path.join("::")))
            });
            if let Some(target) = absolute.and_then(|path| deepest(&path)) {
                imports.insert((source.module.clone(), target));
            }
        }
    }
    let is_circle = |(from, to): &&(String, String)| {
        from < to
            && imports.contains(&(to.clone(), from.clone()))
            && !is_within(to, from)
            && !is_within(from, to)
    };
    imports.iter().filter(is_circle).map(|(from, to)| format!("{from} and {to} import each other")).collect()
}

/// Returns what a module of the data plane names and must not.
fn waits(module: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths(&parse(module, text)) {
        for (name, reason) in BANNED_ON_WORKERS {
            let is_named = path.iter().any(|part| part == name);
            let is_allowed =
                ALLOWED_ON_WORKERS.iter().any(|(of, allowed, _)| is_within(module, of) && allowed == name);
            if is_named && !is_allowed {
                found.push(format!("{module} names {}: {reason}", path.join("::")));
            }
        }
    }
    found
}

#[test]
fn forbidden_modules_are_found_however_they_are_written() {
    let files = "control::source::files";
    for (module, text, count) in [
        (files, "use crate::control::reload::Reload;", 1),
        (files, "use crate::{control::source::Update, control::reload::Reload, data::listener};", 2),
        (files, "fn f() { crate::control::reload::now() }", 1),
        (files, "use super::super::reload::Reload;", 1),
        ("control::source", "use super::{reload::Reload};", 1),
        (files, "use super::Update; // crate::control::reload\n", 0),
        ("data::upstream", "use crate::observe::counters::Counters;", 0),
        ("data::upstream", "use crate::observe::metrics;", 1),
        ("data::exchange", "use crate::control::reload::Reload;", 1),
        ("observe::counters", "use crate::live::Live;", 1),
        ("observe::metrics", "use crate::{live::Live, observe::counters};", 1),
        ("cli::process::admin", "use crate::{live::Live, observe::counters};", 0),
        ("newcomer", "", 1),
        ("data::exchange", "use kube::Client;", 1),
        ("data::exchange", "fn f() { let e: wasmtime::Engine; }", 1),
        ("control::source::kube", "use kube::Client;", 0),
    ] {
        assert_eq!(forbidden_modules(module, text).len(), count, "{module}: {text}");
    }
}

#[test]
fn waits_of_the_data_plane_are_found() {
    for (text, count) in [
        ("use std::sync::Mutex;", 1),
        ("use std::sync::{Arc, RwLock};", 1),
        ("fn f() { tokio::task::spawn_local(async {}); }", 1),
        ("fn f() { tokio::spawn(async {}); }", 1),
        ("use std::sync::Arc;", 0),
        ("#[cfg(test)] mod tests { use std::sync::Mutex; }", 0),
    ] {
        assert_eq!(waits("data::exchange", text).len(), count, "{text}");
    }
}
