//! The configuration: a YAML file, the environment and the command line become one [`Settings`].
//!
//! A flag overrides the environment, the environment overrides the file, and the file overrides the defaults. All
//! mistakes are reported at once, each with its file and line, its variable or its flag. Not here: which settings
//! exist (`keys`), how values are written (`value`), and what the program does with them (`settings`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use routing::suggest::{self, most_similar};

use crate::control::source::files::{Node, Value, for_each_document};
use crate::settings::Settings;

pub mod error;
mod keys;
pub mod origin;
mod value;

use error::{ConfigError, Mistake, Shown};
use keys::Key;
use origin::Origin;
pub(crate) use value::{read_service_name, read_time};

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name of the flag, with its dashes.
    pub name: String,
    /// Key of the setting in the file.
    pub key: String,
    /// Text of the value.
    pub value: String,
}

/// The effective configuration, and the source of each value.
#[derive(Clone, Debug)]
pub struct Config {
    /// The effective settings.
    pub settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// Merges a file, the environment and flags into the defaults.
    ///
    /// # Errors
    /// Returns all mistakes as one [`ConfigError`].
    pub fn load(
        defaults: Settings,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Self, ConfigError> {
        let mut loading = Loading {
            keys: keys::all(),
            config: Self { settings: defaults, origins: BTreeMap::new() },
            mistakes: Vec::new(),
        };
        if let Some(path) = file {
            loading.file(path);
        }
        loading.environment(environment);
        for flag in flags {
            loading.set(&flag.key, &flag.value, Origin::Flag(flag.name.clone()));
        }
        loading.check_together();
        if loading.mistakes.is_empty() { Ok(loading.config) } else { Err(ConfigError(loading.mistakes)) }
    }

    /// Prints the configuration as a file that yields the same configuration.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in keys::all() {
            let (parent, name) = key.path.split_once('.').unwrap_or(("", key.path));
            if parent != section && !parent.is_empty() {
                let _ = writeln!(text, "{parent}:");
            }
            section = parent;
            let indent = if parent.is_empty() { "" } else { "  " };
            let value = quoted(key.write(&self.settings));
            let origin = self.origins.get(key.path).unwrap_or(&Origin::Default);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{indent}# {}", key.about);
            let _ = writeln!(text, "{indent}{name}: {value} # {origin}");
        }
        text
    }

    /// Returns the environment variable of a setting, or `None` if no setting has this key.
    pub fn variable(path: &str) -> Option<String> {
        keys::all().iter().find(|key| key.path == path).map(Key::variable)
    }
}

/// Quotes a text that YAML might read as another type.
fn quoted(text: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/' | '_');
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("{text:?}") }
}

/// A configuration while its sources are merged.
struct Loading {
    keys: Vec<Key>,
    config: Config,
    mistakes: Vec<Mistake>,
}

impl Loading {
    fn file(&mut self, path: &Path) {
        let path = path.to_owned();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return self.mistakes.push(Mistake::Unreadable { path, error }),
        };
        let mut count = 0;
        let read = for_each_document(&text, |document| {
            count += 1;
            if count == 1 {
                self.section(&path, "", document);
            }
        });
        match read {
            Err(fault) => {
                self.mistakes.push(Mistake::NotYaml { path, line: fault.line, message: fault.to_string() });
            }
            Ok(()) if count > 1 => self.mistakes.push(Mistake::Documents { path, count }),
            Ok(()) => {}
        }
    }

    /// Reads a map of the file. `section` is its key, empty for the whole file.
    fn section(&mut self, path: &Path, section: &str, node: &Node) {
        let Value::Map(entries) = &node.value else {
            let what = if section.is_empty() { "the file" } else { section }.to_owned();
            let origin = Origin::File(path.to_owned(), node.line);
            self.mistakes.push(Mistake::NotAMap { origin, what });
            return;
        };
        for entry in entries {
            let origin = Origin::File(path.to_owned(), entry.line);
            let dot = if section.is_empty() { "" } else { "." };
            let key = format!("{section}{dot}{}", entry.key);
            let is_section = self.keys.iter().filter_map(section_of).any(|known| known == key);
            if is_section {
                self.section(path, &key, &entry.value);
                continue;
            }
            match scalar(&entry.value.value) {
                Some(text) => self.set(&key, &text, origin),
                None if self.find(&key).is_some() => {
                    self.mistakes.push(Mistake::NotAValue { origin, key });
                }
                // An unknown key is the more important mistake.
                None => self.set(&key, "", origin),
            }
        }
    }

    fn environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let variables: BTreeMap<_, _> = self.keys.iter().map(|key| (key.variable(), key.path)).collect();
        // Charts and shells write empty variables for settings that are not set.
        let is_given = |(name, value): &(String, String)| name.starts_with(PREFIX) && !value.is_empty();
        let mut given: Vec<_> = environment.into_iter().filter(is_given).collect();
        given.sort();
        for (name, value) in given {
            if let Some(path) = variables.get(&name) {
                self.set(path, &value, Origin::Environment(name));
                continue;
            }
            let is_ours = has_section(&name, variables.keys()) || is_misspelled(&name, variables.keys());
            if is_ours && !is_of_service(&name) {
                let similar = most_similar(&name, variables.keys().map(String::as_str)).map(str::to_owned);
                self.mistakes.push(Mistake::UnknownVariable { name, similar });
            }
        }
    }

    fn find(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    fn set(&mut self, path: &str, text: &str, origin: Origin) {
        let Some(key) = self.keys.iter().find(|key| key.path == path) else {
            let sections = self.keys.iter().filter_map(section_of);
            let similar = most_similar(path, self.keys.iter().map(|key| key.path).chain(sections));
            let similar = similar.map(str::to_owned);
            self.mistakes.push(Mistake::UnknownKey { origin, key: path.to_owned(), similar });
            return;
        };
        match key.read(&mut self.config.settings, text) {
            Ok(()) => {
                self.config.origins.insert(key.path, origin);
            }
            Err(error) => self.mistakes.push(Mistake::Value { origin, key: path.to_owned(), error }),
        }
    }

    /// Checks the settings that depend on each other.
    fn check_together(&mut self) {
        let all = &self.config.settings;
        let pairs = [
            ("timeouts.connect", "timeouts.connectTotal", all.timeouts.connect <= all.timeouts.connect_total),
            ("drain.delay", "drain.limit", all.drain.delay <= all.drain.limit),
            (
                "limits.targetBytes",
                "limits.headBytes",
                all.limits.head.target_bytes <= all.limits.head.head_bytes,
            ),
        ];
        for (small, large, is_ordered) in pairs {
            if !is_ordered {
                let (small, large) = (self.shown(small), self.shown(large));
                self.mistakes.push(Mistake::Order { small, large });
            }
        }
    }

    fn shown(&self, key: &'static str) -> Shown {
        Shown {
            key,
            value: self.find(key).map(|key| key.write(&self.config.settings)).unwrap_or_default(),
            origin: self.config.origins.get(key).cloned().unwrap_or(Origin::Default),
        }
    }
}

fn section_of(key: &Key) -> Option<&'static str> {
    key.path.split_once('.').map(|(section, _)| section)
}

/// Returns the text of a scalar, or of a list of scalars separated by commas. Returns `None` for anything else.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Signed(value) => Some(value.to_string()),
        Value::Unsigned(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Text(value) => Some(value.to_string()),
        Value::List(items) => {
            let texts: Option<Vec<_>> = items.iter().map(|item| scalar(&item.value)).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Map(_) => None,
    }
}

/// The start of all variables that set something.
const PREFIX: &str = "GATEWAY_";

/// Returns true if Kubernetes creates the variable for a Service. For one named `gateway`, it creates `GATEWAY_PORT` and
/// others.
fn is_of_service(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT")
}

/// Returns true if an unknown variable is nearly that of a setting.
fn is_misspelled<'a>(name: &str, variables: impl Iterator<Item = &'a String>) -> bool {
    let setting = |name: &'a str| name.strip_prefix(PREFIX).unwrap_or(name);
    let Some(name) = name.strip_prefix(PREFIX) else { return false };
    let known: Vec<_> = variables.map(|known| setting(known)).collect();
    let is_plural = |known: &&str| known.strip_prefix(name).is_some_and(|rest| ["S", "ES"].contains(&rest));
    known.iter().any(is_plural) || !suggest::did_you_mean(name, known.into_iter()).is_empty()
}

/// Returns true if an unknown variable begins with the name of a section.
fn has_section<'a>(name: &str, mut variables: impl Iterator<Item = &'a String>) -> bool {
    let section = |name: &str| name.split('_').nth(1).map(str::to_owned);
    variables.any(|known| section(known) == section(name))
}

#[cfg(test)]
mod tests;
