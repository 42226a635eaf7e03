//! The generated tables. Each sentence in them comes from the code: from a description that the program prints itself,
//! or from a doc comment.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::CommandFactory as _;
use gateway::cli::Cli;
use gateway::cli::config::Config;
use gateway::data::exchange::abort::Abort;
use gateway::data::exchange::reply_reason::ReplyReason;
use gateway::data::upstream::ConnectError;
use gateway::filter::plugin::PluginReply;
use gateway::observe::access_log::Field;
use gateway::observe::control_metrics::{ControlSample, WatchSample};
use gateway::observe::counters::{CounterSnapshot, IngressRequests, ServiceRequests};
use gateway::observe::ejection_metrics::EjectionSample;
use gateway::observe::handler_metrics::HandlerSample;
use gateway::observe::metrics::{ReportCounts, Scrape};
use gateway::observe::plugin_metrics::{GuestSample, GuestValue, PluginSample, PluginScrape};
use gateway::settings::Settings;
use routing::ledger::{DIALECTS, LedgerVerdict};
use routing::object::Name;
use routing::problem::Reason;

use crate::{enums, pages, schema};

/// All generated parts.
pub(crate) const NAMES: &[&str] = &[
    "configuration",
    "RoutePolicy",
    "IngressClassConfig",
    "WasmPlugin",
    "local replies",
    "plugin replies",
    "aborts",
    "access log",
    "metrics",
    "problems",
    "annotations",
    "command line",
    "ingress-nginx",
];

/// Returns a generated part, or `None` if there is none of this name.
pub(crate) fn generate(name: &str) -> Option<String> {
    Some(match name {
        "configuration" => configuration(),
        "RoutePolicy" => kind("routepolicies"),
        "IngressClassConfig" => kind("ingressclassconfigs"),
        "WasmPlugin" => kind("wasmplugins"),
        "local replies" => local_replies(),
        "plugin replies" => plugin_replies(),
        "aborts" => aborts(),
        "access log" => access_log(),
        "metrics" => metrics_table(),
        "problems" => problems(),
        "annotations" => annotations(),
        "command line" => command_line(),
        "ingress-nginx" => ingress_nginx(),
        _ => return None,
    })
}

/// Formats a table. A `|` in a cell is escaped.
fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    for row in rows {
        let row: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn code(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { format!("`{text}`") }
}

// ===== annotations of ingress-nginx =====

fn ingress_nginx() -> String {
    let rows = class_nginx::keys::KEYS.iter().map(|key| {
        let scope = match key.scope {
            class_nginx::keys::Scope::Host => "host",
            class_nginx::keys::Scope::Path => "paths",
        };
        let off: Vec<_> = key.off.iter().map(|value| code(value)).collect();
        let off = if off.is_empty() {
            String::new()
        } else {
            format!(" Nothing is asked for by {}.", off.join(", "))
        };
        let note = format!("{}{off}", key.note);
        vec![code(key.name), scope.to_owned(), key.support.as_str().to_owned(), note.trim().to_owned()]
    });
    table(&["annotation", "affects", "verdict", "here"], rows)
}

// ===== configuration =====

/// A setting as `gateway config` prints it.
pub(crate) struct Setting {
    pub(crate) key: String,
    default: String,
    about: String,
}

/// Returns all settings with the defaults of a folder or of a cluster.
pub(crate) fn settings(defaults: Settings) -> Vec<Setting> {
    let config = Config::load(defaults, None, [], &[]).unwrap();
    let (mut found, mut section, mut about) = (Vec::new(), String::new(), String::new());
    for line in config.to_yaml().lines() {
        let is_inside = line.starts_with("  ");
        let line = line.trim();
        if let Some(text) = line.strip_prefix("# ") {
            about = text.to_owned();
        } else if let Some((name, value)) = line.split_once(": ") {
            let value = value.rsplit_once(" # ").unwrap().0;
            let key = if is_inside { format!("{section}.{name}") } else { name.to_owned() };
            let default = value.trim_matches('"').to_owned();
            found.push(Setting { key, default, about: std::mem::take(&mut about) });
        } else {
            section = line.trim_end_matches(':').to_owned();
        }
    }
    found
}

fn configuration() -> String {
    let in_cluster = settings(Settings::in_cluster("gateway-system"));
    let rows = settings(Settings::default()).into_iter().zip(in_cluster).map(|(folder, cluster)| {
        let variable = Config::variable(&folder.key).unwrap();
        let default = if folder.default == cluster.default {
            code(&folder.default)
        } else {
            format!("{}; in a cluster {}", code(&folder.default), code(&cluster.default))
        };
        vec![code(&folder.key), default, code(&variable), folder.about]
    });
    table(&["key", "default", "environment variable", "meaning"], rows)
}

// ===== kinds =====

fn kind(plural: &str) -> String {
    let rows = schema::fields(plural).into_iter().map(|field| {
        let required = if field.is_required { " (required)" } else { "" };
        vec![format!("{}{required}", code(&field.path)), field.form, field.about]
    });
    table(&["field of `spec`", "type", "meaning"], rows)
}

// ===== reasons =====

const REPLY_REASON: &str = "gateway/src/data/exchange/reply_reason.rs";

const PLUGIN_REPLY: &str = "gateway/src/filter/plugin/reply_reason.rs";

/// Returns the doc comment of a reason of a local reply.
fn about_reply(reason: ReplyReason) -> String {
    let (path, name, variant) = match reason {
        ReplyReason::InvalidHead(error) => ("gateway/http1/src/parse.rs", "HeadError", format!("{error:?}")),
        ReplyReason::Open(error) => ("gateway/src/data/upstream.rs", "ConnectError", format!("{error:?}")),
        other => (REPLY_REASON, "ReplyReason", format!("{other:?}")),
    };
    let variant = variant.split('(').next().unwrap();
    let variants = enums::variants(path, name);
    variants.into_iter().find(|(name, _)| name == variant).unwrap().1
}

fn local_replies() -> String {
    let mut rows: BTreeMap<(u16, &str), Vec<String>> = BTreeMap::new();
    for reason in ReplyReason::ALL {
        let about = about_reply(*reason).replace("`HeadLimits::head_bytes`", "`limits.headBytes`");
        let about = about.replace("`HeadLimits::fields`", "`limits.fields`");
        let about = about.replace("`HeadLimits::target_bytes`", "`limits.targetBytes`");
        rows.entry((reason.status(), reason.as_str())).or_default().push(about);
    }
    let rows = rows.into_iter();
    let rows = rows.map(|((status, reason), about)| vec![status.to_string(), code(reason), about.join(" ")]);
    table(&["status", "reason", "meaning"], rows)
}

fn plugin_replies() -> String {
    let rows = PluginReply::ALL.iter().zip(enums::variants(PLUGIN_REPLY, "PluginReply")).map(
        |(reason, (_, about))| {
            let status =
                reason.status().map_or_else(|| "the plugin's".to_owned(), |status| status.to_string());
            vec![status, code(reason.as_str()), about]
        },
    );
    table(&["status", "reason", "meaning"], rows)
}

fn aborts() -> String {
    let variants = enums::variants("gateway/src/data/exchange/abort.rs", "Abort");
    let rows = Abort::ALL.iter().zip(variants).map(|(abort, (_, about))| vec![code(abort.as_str()), about]);
    table(&["abort", "meaning"], rows)
}

fn problems() -> String {
    let variants = enums::variants("gateway/routing/src/problem.rs", "Reason");
    let mut rows: Vec<_> = Reason::ALL
        .iter()
        .zip(variants)
        .map(|(reason, (_, about))| vec![code(&reason.to_string()), reason.severity().to_string(), about])
        .collect();
    rows.sort();
    table(&["reason", "severity", "meaning"], rows)
}

/// Returns one table a dialect, with its own rows only.
fn annotations() -> String {
    let mut text = String::new();
    for dialect in DIALECTS {
        let prefixes: Vec<_> = dialect.prefixes.iter().map(|prefix| code(prefix)).collect();
        let _ = writeln!(text, "## {}\n\n{}\n", dialect.controller, prefixes.join(", "));
        let rows = dialect.rows.iter().map(|row| {
            let verdict = match row.verdict {
                LedgerVerdict::Harmless => "harmless",
                LedgerVerdict::NotHonoured => "note",
                LedgerVerdict::Closes => "**503**",
                LedgerVerdict::LeavesOut => "**not served**",
            };
            let except: Vec<_> = row.except.iter().map(|value| code(value)).collect();
            vec![code(row.name), verdict.to_owned(), except.join(", "), row.about.to_owned()]
        });
        let _ = writeln!(
            text,
            "{}",
            table(&["annotation", "verdict", "harmless values", "why, and what to use"], rows)
        );
    }
    text
}

#[test]
fn lists_of_reasons_are_complete() {
    let names = |path: &str, name: &str| -> Vec<String> {
        enums::variants(path, name).into_iter().map(|(name, _)| name).collect()
    };
    let outer = |text: String| text.split('(').next().unwrap().to_owned();
    let aborts: Vec<_> = Abort::ALL.iter().map(|abort| format!("{abort:?}")).collect();
    assert_eq!(aborts, names("gateway/src/data/exchange/abort.rs", "Abort"));
    let problems: Vec<_> = Reason::ALL.iter().map(|reason| format!("{reason:?}")).collect();
    assert_eq!(problems, names("gateway/routing/src/problem.rs", "Reason"));
    let plugins: Vec<_> = PluginReply::ALL.iter().map(|reason| format!("{reason:?}")).collect();
    assert_eq!(plugins, names(PLUGIN_REPLY, "PluginReply"));
    let (mut replies, mut heads, mut connects) = (Vec::new(), Vec::new(), Vec::new());
    for reason in ReplyReason::ALL {
        replies.push(outer(format!("{reason:?}")));
        match reason {
            ReplyReason::InvalidHead(error) => heads.push(outer(format!("{error:?}"))),
            ReplyReason::Open(error) => connects.push(outer(format!("{:?}", ConnectError::clone(error)))),
            _ => {}
        }
    }
    replies.dedup();
    assert_eq!(replies, names(REPLY_REASON, "ReplyReason"));
    assert_eq!(heads, names("gateway/http1/src/parse.rs", "HeadError"));
    assert_eq!(connects, names("gateway/src/data/upstream.rs", "ConnectError"));
}

// ===== access log and metrics =====

fn access_log() -> String {
    let path = "gateway/src/observe/access_log/format.rs";
    let docs = enums::fields(path);
    let entries = enums::macro_fields(&pages::read(path));
    assert_eq!(entries.len(), Field::ALL.len());
    let rows = entries.into_iter().map(|(comment, name)| {
        // A link to a field is replaced by that field's sentence.
        let about = match comment.strip_prefix("[`").and_then(|rest| rest.split_once("`]")) {
            Some((field, unit)) => format!("{}{unit}", docs[field].trim_end_matches('.')) + ".",
            None => comment,
        };
        vec![code(&name), about]
    });
    table(&["field", "meaning"], rows)
}

/// Returns a scrape in which each metric has a sample.
fn scrape() -> String {
    let worker = CounterSnapshot {
        requests: vec![IngressRequests {
            ingress: Some(Name::new("a", "b")),
            by_code: [1; 5],
            services: vec![ServiceRequests::new(Some(Name::new("a", "c")), None)],
        }],
        local_replies: [("a", 1)].into(),
        aborts: [("a", 1)].into(),
        ..CounterSnapshot::default()
    };
    let guest = |value| GuestSample { plugin: "a/b".to_owned(), metric: "c".to_owned(), value };
    let plugins = PluginScrape {
        plugins: vec![PluginSample { plugin: "a/b".to_owned(), ..PluginSample::default() }],
        guests: vec![guest(GuestValue::Counter(1)), guest(GuestValue::Gauge(1))],
    };
    let watch = WatchSample {
        kind: "a".to_owned(),
        namespace: "b".to_owned(),
        age: Duration::ZERO,
        is_healthy: true,
    };
    let control = ControlSample {
        problems: [("a".to_owned(), 1)].into(),
        certificates: vec![(Name::new("a", "b"), 1)],
        endpoints: [("a", 1)].into(),
        watches: vec![watch],
        ..ControlSample::default()
    };
    Scrape {
        workers: vec![worker],
        control,
        ejections: EjectionSample {
            totals: vec![(Name::new("a", "b"), "c", 1)],
            present: vec![(Name::new("a", "b"), 1)],
        },
        plugins,
        handlers: vec![HandlerSample { class: "a".to_owned(), ..HandlerSample::default() }],
        reports: Some(ReportCounts::default()),
        ..Scrape::default()
    }
    .render()
    .unwrap()
}

/// A metric as it is scraped.
pub(crate) struct Metric {
    pub(crate) name: String,
    kind: String,
    help: String,
    labels: String,
}

/// Returns all metrics in the order of the page.
pub(crate) fn metrics() -> Vec<Metric> {
    let text = scrape();
    let mut found: Vec<Metric> = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                let (name, help) = (name.to_owned(), help.trim_end_matches('.').to_owned() + ".");
                found.push(Metric { name, kind: String::new(), help, labels: String::new() });
            }
            ["#", "TYPE", name, kind] => {
                let metric = found.iter_mut().find(|metric| metric.name == name).unwrap();
                metric.kind = kind.to_owned();
            }
            ["#", ..] => {}
            _ => {
                let metric = found.last_mut().unwrap();
                let (name, labels) = line.split_once('{').unwrap_or((words[0], ""));
                metric.name = name.to_owned();
                let labels = labels.split_once('}').map_or("", |(labels, _)| labels).split(',');
                let labels = labels.filter_map(|label| Some(code(label.split_once('=')?.0)));
                metric.labels = labels.collect::<Vec<_>>().join(", ");
            }
        }
    }
    found
}

fn metrics_table() -> String {
    let rows =
        metrics().into_iter().map(|metric| vec![code(&metric.name), metric.kind, metric.labels, metric.help]);
    table(&["metric", "type", "labels", "meaning"], rows)
}

// ===== command line =====

fn command_line() -> String {
    let (mut text, mut previous) = (String::new(), String::new());
    for (name, command) in commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "## {name}\n\n{}.\n", about.trim_end_matches('.'));
        let rows: Vec<_> = command.get_arguments().map(argument).collect();
        let has_arguments = !rows.is_empty();
        let arguments = table(&["argument", "default", "meaning"], rows);
        if arguments == previous {
            let _ = writeln!(text, "It has the arguments of the previous command.\n");
        } else if has_arguments {
            let _ = writeln!(text, "{arguments}");
        }
        previous = arguments;
        if let Some(end) = command.get_after_help() {
            let _ = writeln!(text, "{end}\n");
        }
    }
    text
}

/// Returns all commands that can be run, by name.
pub(crate) fn commands() -> Vec<(String, clap::Command)> {
    let mut found = Vec::new();
    for command in Cli::command().get_subcommands() {
        let name = format!("gateway {}", command.get_name());
        if command.has_subcommands() {
            let inner = command.get_subcommands();
            found.extend(inner.map(|inner| (format!("{name} {}", inner.get_name()), inner.clone())));
        } else {
            found.push((name, command.clone()));
        }
    }
    found
}

fn argument(argument: &clap::Arg) -> Vec<String> {
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let takes_value = argument.get_action().takes_values();
    let shown = match argument.get_long() {
        Some(long) if takes_value => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    };
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    let mut about = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = argument.get_possible_values().iter().map(|value| code(value.get_name())).collect();
    if takes_value && !values.is_empty() {
        about = format!("{}. One of {}.", about.trim_end_matches('.'), values.join(", "));
    }
    let is_said = about.contains("repeated") || about.contains("several times");
    let is_repeated = matches!(argument.get_action(), clap::ArgAction::Append) && !is_said;
    let about =
        format!("{}.{}", about.trim_end_matches('.'), if is_repeated { " May be repeated." } else { "" });
    vec![code(&shown), defaults.join(", "), about]
}
