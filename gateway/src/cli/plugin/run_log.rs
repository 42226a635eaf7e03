//! What `gateway plugin run` prints: each request with the calls of the plugin, and each version that serves.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use plugin_host::{GuestCall, GuestLine, GuestObserver};
use tokio::sync::mpsc;

use super::request_log::RequestRecord;
use crate::cli::style::{Palette, paint};
use crate::control::plugin::{PluginState, PluginStatus};

/// Requests whose calls are kept until the request ends. The oldest ones are dropped.
const MAX_OPEN_REQUESTS: usize = 1024;

/// Something that a guest did.
#[derive(Clone, Debug)]
pub(super) struct GuestNote {
    /// ID of the request.
    request: Option<String>,
    /// A line for people.
    text: String,
}

/// Sends what guests do to the command.
#[derive(Debug)]
pub(super) struct NoteSender(pub(super) mpsc::UnboundedSender<GuestNote>);

impl GuestObserver for NoteSender {
    fn on_call(&self, call: &GuestCall<'_>) {
        let text = match call.trap {
            None => format!("{:<18} {:>7} µs", call.what, call.elapsed.as_micros()),
            Some(trap) => {
                let frames: String = trap.frames.iter().map(|frame| format!("\n      {frame}")).collect();
                format!("{:<18} trap: {}{frames}", call.what, trap.message)
            }
        };
        // Calls of no request are worth a line if they fail.
        if call.request.is_some() || call.trap.is_some() || call.what == "tick" {
            self.send(call.request, text);
        }
    }

    fn on_log(&self, line: &GuestLine<'_>) {
        self.send(line.request, format!("log {}: {}", line.level, line.text));
    }
}

impl NoteSender {
    fn send(&self, request: Option<&str>, text: String) {
        // The receiver ends with the command.
        let _ = self.0.send(GuestNote { request: request.map(str::to_owned), text });
    }
}

/// The state of what was printed.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    palette: Palette,
    open: HashMap<String, Vec<String>>,
    /// IDs in `open`, the oldest first.
    order: VecDeque<String>,
    /// The last version that was printed as serving, and the last refusal.
    version: Option<String>,
    refusal: Option<String>,
}

impl RunLog {
    pub(super) fn new(palette: Palette) -> Self {
        Self { palette, ..Self::default() }
    }

    /// Takes a note. Returns what is printed now: nothing if the note belongs to a request that has not ended.
    pub(super) fn on_note(&mut self, note: GuestNote) -> String {
        let Some(id) = note.request else {
            return format!("{}\n", paint(self.palette.dim, note.text));
        };
        if !self.open.contains_key(&id) {
            self.order.push_back(id.clone());
            if self.order.len() > MAX_OPEN_REQUESTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.open.remove(&oldest);
            }
        }
        self.open.entry(id).or_default().push(note.text);
        String::new()
    }

    /// Returns the line of a request that has ended, and its calls.
    pub(super) fn on_request(&mut self, record: &RequestRecord) -> String {
        let RequestRecord { id, method, host, path, status, reason, millis } = record;
        let style = self.palette.for_status(status.parse().unwrap_or(500));
        let reason = reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default();
        let mut text = format!("{method} {host}{path} {}{reason} in {millis} ms\n", paint(style, status));
        self.order.retain(|open| open != id);
        for note in self.open.remove(id).unwrap_or_default() {
            let _ = writeln!(text, "  {note}");
        }
        text
    }

    /// Returns what is printed of a state of the plugin: each version once, and each refusal.
    pub(super) fn on_status(&mut self, status: &PluginStatus, since: Option<Duration>) -> String {
        match &status.state {
            PluginState::Ready => {
                self.refusal = None;
                let version = status.version().map(str::to_owned);
                if self.version == version && since.is_none() {
                    return String::new();
                }
                self.version = version;
                let name = self.version.as_deref().unwrap_or_default();
                let time = since.map(|since| format!(", {:.1} s after the change", since.as_secs_f64()));
                format!("version {} serves{}\n", paint(self.palette.good, name), time.unwrap_or_default())
            }
            PluginState::Refused(reason) if self.refusal.as_ref() != Some(reason) => {
                self.refusal = Some(reason.clone());
                let serving = match &self.version {
                    Some(version) => format!("version {version} still serves"),
                    None => "no version serves".to_owned(),
                };
                format!("{}: {reason}; {serving}\n", paint(self.palette.bad, "refused"))
            }
            _ => String::new(),
        }
    }
}
