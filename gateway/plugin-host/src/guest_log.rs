//! Log lines of a guest: bounded, escaped, with plugin, version and route.

use std::borrow::Cow;
use std::time::Duration;
use std::time::Instant;

use tracing::Level;

use crate::config::InstanceConfig;
use crate::observer::GuestLine;

/// Maximum bytes of a line. The rest is cut off.
pub(crate) const MAX_LINE_BYTES: usize = 8 << 10;

/// Maximum lines of an instance in one second. Further ones are counted and dropped.
pub(crate) const MAX_LINES_PER_SECOND: u32 = 1000;

/// Bytes of the last message that a report of a failure repeats.
const MAX_LAST_BYTES: usize = 1 << 10;

/// Target of the lines in this process's log.
const TARGET: &str = "plugin";

/// Levels of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// The request in whose call a line was logged. All are `None` outside of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineOrigin<'a> {
    pub(crate) route: Option<&'a str>,
    /// Its ID, for an observer.
    pub(crate) request: Option<&'a str>,
}

/// The log of one instance.
pub(crate) struct GuestLog {
    /// Warnings and errors of the current call.
    last: String,
    second: Instant,
    lines: u32,
}

impl LogLevel {
    pub(crate) fn from_abi(level: u32) -> Option<Self> {
        Some(match level {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            5 => Self::Critical,
            _ => return None,
        })
    }

    /// Returns the name in lower case.
    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Returns the lowest level that is logged or observed.
    pub(crate) fn lowest(config: &InstanceConfig) -> Self {
        if config.observer.is_some() || tracing::enabled!(target: TARGET, Level::TRACE) {
            Self::Trace
        } else if tracing::enabled!(target: TARGET, Level::DEBUG) {
            Self::Debug
        } else if tracing::enabled!(target: TARGET, Level::INFO) {
            Self::Info
        } else if tracing::enabled!(target: TARGET, Level::WARN) {
            Self::Warn
        } else {
            Self::Error
        }
    }
}

impl GuestLog {
    pub(crate) fn new() -> Self {
        Self { last: String::new(), second: Instant::now(), lines: 0 }
    }

    /// Forgets the messages of the call before.
    pub(crate) fn begin_call(&mut self) {
        self.last.clear();
    }

    /// Returns the warnings and errors of the current call as one line.
    pub(crate) fn last(&self) -> String {
        self.last.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Logs a line.
    pub(crate) fn write(
        &mut self,
        level: LogLevel,
        message: &[u8],
        config: &InstanceConfig,
        LineOrigin { route, request }: LineOrigin<'_>,
    ) {
        if level >= LogLevel::Warn {
            self.remember(message);
        }
        if level < LogLevel::lowest(config) || !self.has_quota(config) {
            return;
        }
        let text = escape(message.get(..MAX_LINE_BYTES).unwrap_or(message));
        if let Some(observer) = &config.observer {
            observer.on_log(&GuestLine { plugin: &config.plugin, level: level.name(), request, text: &text });
        }
        let (plugin, version) = (&*config.plugin, &*config.version);
        match level {
            LogLevel::Trace => tracing::trace!(target: TARGET, plugin, version, route, "{text}"),
            LogLevel::Debug => tracing::debug!(target: TARGET, plugin, version, route, "{text}"),
            LogLevel::Info => tracing::info!(target: TARGET, plugin, version, route, "{text}"),
            LogLevel::Warn => tracing::warn!(target: TARGET, plugin, version, route, "{text}"),
            LogLevel::Error => tracing::error!(target: TARGET, plugin, version, route, "{text}"),
            LogLevel::Critical => {
                tracing::error!(target: TARGET, plugin, version, route, critical = true, "{text}");
            }
        }
    }

    fn remember(&mut self, message: &[u8]) {
        let space = MAX_LAST_BYTES.saturating_sub(self.last.len());
        let part = message.get(..space).unwrap_or(message);
        if !part.is_empty() {
            self.last.push_str(&String::from_utf8_lossy(part));
            self.last.push('\n');
        }
    }

    /// Counts a line. Returns false if the second's lines are used up.
    fn has_quota(&mut self, config: &InstanceConfig) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            let dropped = self.lines.saturating_sub(MAX_LINES_PER_SECOND);
            if dropped > 0 {
                let plugin = &*config.plugin;
                tracing::warn!(target: TARGET, plugin, dropped, "log lines of the plugin were dropped");
            }
            self.second = Instant::now();
            self.lines = 0;
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= MAX_LINES_PER_SECOND
    }
}

/// Returns text without control characters, so that a guest cannot forge lines.
fn escape(message: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(message);
    let is_control = |c: char| c.is_control() && c != '\t';
    if !text.contains(is_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}
