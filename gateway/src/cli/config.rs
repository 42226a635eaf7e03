//! The configuration: a YAML file, the environment and the command line become one [`Settings`].
//!
//! A flag beats the environment, the environment beats the file, and the file beats the defaults. Everything that
//! is wrong is said at once, each with its file and line, its variable or its flag. Not here: which settings there
//! are (`keys`), how values are written (`value`), and what the program makes of them (`settings`).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::control::source::files::{Node, Value, for_each_document};
use crate::settings::Settings;
use keys::Key;

mod keys;
mod value;

pub(crate) use value::read_time;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file, by its path and the line.
    File(PathBuf, u64),
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, by its name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// One value on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag's name, with its dashes.
    pub name: String,
    /// The setting's place in the file.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// The effective configuration, and where each value of it comes from.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the program uses.
    pub settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// Puts a file, the environment and flags together, upon the defaults.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(
        defaults: Settings,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Self, ConfigError> {
        let mut loading = Loading {
            keys: keys::all(),
            config: Self { settings: defaults, origins: BTreeMap::new() },
            errors: Vec::new(),
        };
        if let Some(path) = file {
            loading.file(path);
        }
        loading.environment(environment);
        for flag in flags {
            loading.set(&flag.key, &flag.value, Origin::Flag(flag.name.clone()));
        }
        loading.check_together();
        if loading.errors.is_empty() { Ok(loading.config) } else { Err(ConfigError(loading.errors)) }
    }

    /// Writes the configuration as a file that gives the same one.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in keys::all() {
            let (above, name) = key.path.split_once('.').unwrap_or(("", key.path));
            if above != section && !above.is_empty() {
                let _ = writeln!(text, "{above}:");
            }
            section = above;
            let indent = if above.is_empty() { "" } else { "  " };
            let value = quoted(key.write(&self.settings));
            let origin = self.origins.get(key.path).unwrap_or(&Origin::Default);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{indent}# {}", key.about);
            let _ = writeln!(text, "{indent}{name}: {value} # {origin}");
        }
        text
    }

    /// The name of the environment variable of a setting, if there is one of this place.
    pub fn variable(path: &str) -> Option<String> {
        keys::all().iter().find(|key| key.path == path).map(Key::variable)
    }
}

/// Text that YAML would read as something else is quoted.
fn quoted(text: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/' | '_');
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("{text:?}") }
}

/// A configuration that is being put together.
struct Loading {
    keys: Vec<Key>,
    config: Config,
    errors: Vec<String>,
}

impl Loading {
    fn file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.errors.push(format!("{} cannot be read: {error}", path.display())),
        };
        let mut count = 0;
        let read = for_each_document(&text, |document| {
            count += 1;
            if count == 1 {
                self.node(path, "", document);
            }
        });
        match read {
            Err(fault) => self.errors.push(match fault.line {
                Some(line) => format!("{}:{line}: {fault}", path.display()),
                None => format!("{}: {fault}", path.display()),
            }),
            Ok(()) if count > 1 => {
                self.errors.push(format!("{}: one document is expected, not {count}", path.display()));
            }
            Ok(()) => {}
        }
    }

    /// Reads a map of the file, at a place in it.
    fn node(&mut self, path: &Path, place: &str, node: &Node) {
        let Value::Map(entries) = &node.value else {
            let what = if place.is_empty() { "the file" } else { place };
            self.errors.push(format!("{}:{}: {what} must be a map", path.display(), node.line));
            return;
        };
        for entry in entries {
            let origin = Origin::File(path.to_owned(), entry.line);
            let dot = if place.is_empty() { "" } else { "." };
            let name = format!("{place}{dot}{}", entry.key);
            let is_section =
                self.keys.iter().any(|key| key.path.split_once('.').is_some_and(|(above, _)| above == name));
            if is_section {
                self.node(path, &name, &entry.value);
                continue;
            }
            match scalar(&entry.value.value) {
                Some(text) => self.set(&name, &text, origin),
                None if self.find(&name).is_some() => {
                    self.errors.push(format!("{origin}: {name} must be one value, or a list of such"));
                }
                // That the key is unknown matters more than that its value is strange.
                None => self.set(&name, "", origin),
            }
        }
    }

    fn environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let variables: BTreeMap<_, _> = self.keys.iter().map(|key| (key.variable(), key.path)).collect();
        // An empty variable is one that is not set: charts and shells write those.
        let is_given = |(name, value): &(String, String)| name.starts_with("GATEWAY_") && !value.is_empty();
        let mut given: Vec<_> = environment.into_iter().filter(is_given).collect();
        given.sort();
        for (name, value) in given {
            if let Some(path) = variables.get(&name) {
                self.set(path, &value, Origin::Environment(name));
            } else if is_ours(&name, variables.keys()) {
                let near = nearest(&name, variables.keys().map(String::as_str));
                self.errors.push(format!("{name}: no setting has this variable{near}"));
            }
        }
    }

    fn find(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    fn set(&mut self, path: &str, text: &str, origin: Origin) {
        let Some(key) = self.keys.iter().find(|key| key.path == path) else {
            let sections = self.keys.iter().filter_map(|key| Some(key.path.split_once('.')?.0));
            let near = nearest(path, self.keys.iter().map(|key| key.path).chain(sections));
            self.errors.push(format!("{origin}: unknown key {path:?}{near}"));
            return;
        };
        match key.read(&mut self.config.settings, text) {
            Ok(()) => {
                self.config.origins.insert(key.path, origin);
            }
            Err(error) => self.errors.push(format!("{origin}: {path}: {error}")),
        }
    }

    /// Checks what no value can be judged by alone.
    fn check_together(&mut self) {
        let all = &self.config.settings;
        let pairs = [
            ("deadlines.connect", "deadlines.connectTotal", all.connect.once <= all.connect.total),
            ("drain.delay", "drain.limit", all.drain.delay <= all.drain.limit),
            ("limits.targetBytes", "limits.headBytes", all.limits.target_bytes <= all.limits.head_bytes),
        ];
        for (small, large, _) in pairs.into_iter().filter(|(.., is_so)| !is_so) {
            let said = [small, large].map(|path| {
                let value = self.find(path).map(|key| key.write(&self.config.settings)).unwrap_or_default();
                let origin = self.config.origins.get(path).unwrap_or(&Origin::Default);
                format!("{path} ({value}, {origin})")
            });
            self.errors.push(format!("{} must not be larger than {}", said[0], said[1]));
        }
    }
}

/// The text of a scalar, or of a list of scalars with commas between; nothing if it is neither.
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

/// Whether a variable that no setting has was meant to set one: it begins with one of our sections, and Kubernetes
/// does not make it for a Service, as it would `GATEWAY_PORT` for one that is called `gateway`.
fn is_ours<'a>(name: &str, mut variables: impl Iterator<Item = &'a String>) -> bool {
    let section = |name: &str| name.split('_').nth(1).map(str::to_owned);
    let is_service = name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT");
    !is_service && variables.any(|known| section(known) == section(name))
}

/// Says which known name an unknown one may have been meant to be.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // The last part counts too: who forgot the section should be told of it.
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let likeness =
        |known: &str| strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(&last(name), &last(known)));
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(best) > 0.7 => format!("; did you mean {best}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
