//! Names that documents use in inline code: each flag, key, variable, metric, page, reason and identifier exists.

use std::collections::BTreeSet;

use gateway::cli::config::Config;
use gateway::data::exchange::abort::Abort;
use gateway::settings::Settings;
use routing::ledger::DIALECTS;

use crate::{markdown, pages, schema, tables};

/// Names of other projects, and paths that are examples.
const FOREIGN: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/api",
    "/health",
    "FuturesUnordered",
    "GATEWAY_PORT",
    "GATEWAY_SERVICE_HOST",
    "abortonclose",
    "gzip_proxied",
    "newuidmap",
];

/// What the code has.
struct Known {
    flags: BTreeSet<String>,
    keys: BTreeSet<String>,
    sections: BTreeSet<String>,
    variables: BTreeSet<String>,
    metrics: BTreeSet<String>,
    /// Names of annotations of other controllers, without their prefixes.
    annotations: BTreeSet<&'static str>,
    /// All identifiers of sources, manifests and scripts.
    identifiers: BTreeSet<String>,
    /// The source of the admin pages.
    admin: String,
}

impl Known {
    fn collect() -> Self {
        let settings = tables::settings(Settings::default());
        let mut keys: BTreeSet<_> = settings.into_iter().map(|setting| setting.key).collect();
        let variables = keys.iter().filter_map(|key| Config::variable(key)).collect();
        for kind in ["routepolicies", "ingressclassconfigs", "wasmplugins"] {
            keys.extend(schema::fields(kind).into_iter().map(|field| field.path));
        }
        keys.extend(chart_values());
        let section = |key: &String| key.split_once('.').map(|(section, _)| section.to_owned());
        let commands = tables::commands();
        let arguments = commands.iter().flat_map(|(_, command)| command.get_arguments());
        let mut identifiers = BTreeSet::new();
        for (_, text) in pages::sources() {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            identifiers.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
        Self {
            flags: arguments.filter_map(|argument| argument.get_long().map(str::to_owned)).collect(),
            sections: keys.iter().filter_map(section).collect(),
            keys,
            variables,
            annotations: DIALECTS.iter().flat_map(|dialect| dialect.rows).map(|row| row.name).collect(),
            metrics: tables::metrics().into_iter().map(|metric| metric.name).collect(),
            identifiers,
            admin: pages::read("gateway/src/cli/process/admin.rs"),
        }
    }

    /// Returns what is wrong with a piece of inline code.
    fn fault(&self, code: &str) -> Option<String> {
        let word = code.split([' ', '=', '?', '{', '(']).next().unwrap_or_default().trim_end_matches(',');
        let has_identifier = |name: &str| self.identifiers.contains(name);
        if FOREIGN.contains(&word) || self.annotations.contains(word) {
            return None;
        }
        let is_known = if let Some(flag) = word.strip_prefix("--") {
            // The fields of conformance's arguments are the names of its flags.
            self.flags.contains(flag) || has_identifier(&flag.replace('-', "_"))
        } else if word.starts_with("GATEWAY_") {
            self.variables.contains(word) || has_identifier(word)
        } else if word.starts_with("gateway_") {
            self.metrics.contains(word) || Abort::ALL.iter().any(|abort| abort.as_str() == word)
        } else if word.starts_with('/') && word.chars().skip(1).all(|c| c.is_ascii_lowercase()) {
            self.admin.contains(&format!("\"{word}\""))
        } else if let Some((section, name)) = word.split_once('.')
            && self.sections.contains(section)
        {
            let name = name.trim_end_matches(':');
            name == "*" || self.keys.contains(&format!("{section}.{name}"))
        } else {
            identifiers(word).all(has_identifier)
        };
        (!is_known).then(|| format!("`{code}`: the code has no {word}"))
    }
}

/// Returns the parts of a word if it looks like an identifier: it has a `_`, a `::` or capitals inside.
fn identifiers(word: &str) -> impl Iterator<Item = &str> {
    let is_name = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        && word.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let has_capital = word.chars().skip(1).any(|c| c.is_ascii_uppercase());
    let has_small = word.chars().any(|c| c.is_ascii_lowercase());
    let is_identifier = is_name && has_small && (word.contains('_') || word.contains("::") || has_capital);
    let parts = word.split("::").filter(move |_| is_identifier);
    parts.flat_map(|part| part.split(':')).filter(|part| !part.is_empty())
}

/// Returns the values of the chart, from the table in its README, which a test of the chart generates.
fn chart_values() -> Vec<String> {
    let page = pages::read("charts/gateway/README.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned));
    rows.filter(|name| name.contains('.') && !name.contains(['=', ' '])).collect()
}

#[test]
fn names_in_documents_exist() {
    let known = Known::collect();
    let mut found = Vec::new();
    for page in pages::documents() {
        let code = markdown::inline_code(&pages::read(&page));
        found.extend(code.iter().filter_map(|code| Some(format!("{page}: {}", known.fault(code)?))));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn names_that_do_not_exist_are_found() {
    let known = Known::collect();
    for code in [
        concat!("--no-such", "-flag"),
        concat!("GATEWAY_NO_", "SUCH_KEY"),
        concat!("gateway_no_", "such_total"),
        concat!("timeouts.no", "Such"),
        "/nosuchpage",
        concat!("upstream_un", "asked"),
        concat!("table::No", "Such"),
    ] {
        assert!(known.fault(code).is_some(), "{code}");
    }
    for code in ["--files DIR", "GATEWAY_LOG=debug", "timeouts.*", "/readyz", "no_rule", "nginx", "a: b"] {
        assert_eq!(known.fault(code), None, "{code}");
    }
}
