//! Case files of plugins: a configuration, a request, the answers of endpoint and callouts, and what is expected.
//!
//! A runner reads a [`PluginCase`], sends its request through the plugin, and records a [`CaseRecord`];
//! [`PluginCase::differences`] is the verdict. Two runners share the format: the mock host of `plugin-sdk` and the real host.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::plugin_config::PluginConfig;

/// One case of a plugin.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginCase {
    /// What the case shows.
    #[serde(default)]
    pub description: String,
    /// Configuration of the plugin. Absent: none.
    #[serde(default)]
    pub config: Option<PluginConfig>,
    /// Properties by path, its segments joined by `.`. A runner with a real host ignores them.
    #[serde(default)]
    pub properties: BTreeMap<String, PropertyValue>,
    /// Time when the request arrives, as in RFC 3339. A runner with a real host ignores it.
    #[serde(default)]
    pub now: Option<String>,
    /// Request of the client.
    #[serde(default)]
    pub request: CaseRequest,
    /// Response of the endpoint.
    #[serde(default)]
    pub upstream: CaseResponse,
    /// Callouts of the plugin in their order, with the answers. Any other callout is a difference.
    #[serde(default)]
    pub callouts: Vec<CaseCallout>,
    /// What is expected. Absent fields are not checked.
    #[serde(default)]
    pub expect: CaseExpectation,
}

/// The value of a property.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the names are those of the JSON types")]
pub enum PropertyValue {
    Boolean(bool),
    Integer(i64),
    String(String),
}

/// A request.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseRequest {
    /// Method.
    pub method: String,
    /// Host, with a port if it has one.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Other fields.
    pub headers: Vec<FieldLine>,
    /// Body, or its first piece.
    pub body: Option<String>,
    /// Further pieces of the body.
    pub body_pieces: Vec<String>,
    /// Trailer fields.
    pub trailers: Vec<FieldLine>,
}

/// A response.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseResponse {
    /// Status code.
    pub status: u16,
    /// Fields.
    pub headers: Vec<FieldLine>,
    /// Body, or its first piece.
    pub body: Option<String>,
    /// Further pieces of the body.
    pub body_pieces: Vec<String>,
    /// Trailer fields.
    pub trailers: Vec<FieldLine>,
}

/// A callout that a plugin makes, and its answer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseCallout {
    /// Upstream as the plugin names it.
    pub to: String,
    /// What is expected of the request.
    #[serde(default)]
    pub expect: MessageExpectation,
    /// The response.
    #[serde(default)]
    pub response: CaseResponse,
    /// Failure instead of a response.
    #[serde(default)]
    pub failure: Option<CalloutFailure>,
}

/// How a callout fails.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum CalloutFailure {
    /// The connection breaks.
    Reset,
    /// No response arrives within the callout's timeout.
    Timeout,
}

/// What a case expects.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseExpectation {
    /// Request at the endpoint. Present: the request must reach it.
    pub request: Option<MessageExpectation>,
    /// Whether the request reaches the endpoint.
    pub reaches_upstream: Option<bool>,
    /// Response at the client.
    pub response: Option<MessageExpectation>,
    /// Log lines that occur in this order. Others may be between them.
    pub log: Vec<LogLine>,
}

/// What a case expects of a request or response. Absent fields are not checked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MessageExpectation {
    /// Method of a request.
    pub method: Option<String>,
    /// Authority of a request.
    pub authority: Option<String>,
    /// Path and query of a request.
    pub path: Option<String>,
    /// Status code of a response.
    pub status: Option<u16>,
    /// Fields that are present. One of the values of each name must be equal.
    pub headers: Vec<FieldLine>,
    /// Names of fields that are absent.
    pub absent: Vec<String>,
    /// The whole body.
    pub body: Option<String>,
    /// Part of the body.
    pub body_contains: Option<String>,
    /// Trailer fields that are present.
    pub trailers: Vec<FieldLine>,
}

/// A field, written as `name: value`. Names are in lower case.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct FieldLine {
    /// Name in lower case.
    pub name: String,
    /// Value without space around it.
    pub value: String,
}

/// A log line, written as `level: part of the message`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct LogLine {
    /// Level: `trace`, `debug`, `info`, `warn`, `error` or `critical`.
    pub level: String,
    /// Message, or a part of it.
    pub message: String,
}

/// What a runner recorded of one case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CaseRecord {
    /// Request at the endpoint. `None` if it did not get there.
    pub request: Option<RecordedMessage>,
    /// Response at the client. `None` if it got none.
    pub response: Option<RecordedMessage>,
    /// Callouts in their order: upstream and request.
    pub callouts: Vec<(String, RecordedMessage)>,
    /// Log lines in their order.
    pub log: Vec<LogLine>,
}

/// A request or response that a runner recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordedMessage {
    /// Fields with names in lower case, pseudo-headers such as `:path` and `:status` included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, Vec<u8>)>,
}

/// The levels of [`LogLine`], the least severe first.
pub const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

// ===== impl PluginCase =====

impl PluginCase {
    /// Returns one sentence for each expectation that a record does not meet. Empty: the case passes.
    pub fn differences(&self, record: &CaseRecord) -> Vec<String> {
        let mut found = Vec::new();
        let reached = record.request.is_some();
        if self.expect.reaches_upstream.is_some_and(|expected| expected != reached) {
            found.push(format!(
                "the request {} the endpoint",
                if reached { "reaches" } else { "does not reach" }
            ));
        }
        for (what, expected, message) in [
            ("request at the endpoint", &self.expect.request, &record.request),
            ("response at the client", &self.expect.response, &record.response),
        ] {
            match (expected, message) {
                (Some(expected), Some(message)) => found.extend(expected.differences(what, message)),
                (Some(_), None) => found.push(format!("there is no {what}")),
                (None, _) => {}
            }
        }
        self.compare_callouts(record, &mut found);
        self.compare_log(record, &mut found);
        found
    }

    fn compare_callouts(&self, record: &CaseRecord, found: &mut Vec<String>) {
        for (index, callout) in self.callouts.iter().enumerate() {
            match record.callouts.get(index) {
                Some((to, _)) if *to != callout.to => {
                    found.push(format!("callout {index}: expected to `{}`, found to `{to}`", callout.to));
                }
                Some((_, message)) => {
                    found.extend(callout.expect.differences(&format!("callout {index}"), message));
                }
                None => found.push(format!("callout {index} to `{}` is missing", callout.to)),
            }
        }
        let others = record.callouts.iter().enumerate().skip(self.callouts.len());
        found.extend(others.map(|(index, (to, _))| format!("callout {index} to `{to}` is not expected")));
    }

    fn compare_log(&self, record: &CaseRecord, found: &mut Vec<String>) {
        let mut rest = record.log.iter();
        for expected in &self.expect.log {
            let is_it =
                |line: &LogLine| line.level == expected.level && line.message.contains(&expected.message);
            if !rest.any(is_it) {
                found.push(format!("log line `{expected}` is missing; log:{}", lines(&record.log)));
                return;
            }
        }
    }
}

/// Returns the log, each line on its own line.
fn lines(log: &[LogLine]) -> String {
    if log.is_empty() { " empty".to_owned() } else { log.iter().map(|line| format!("\n  {line}")).collect() }
}

// ===== impl CaseRequest, CaseResponse =====

impl CaseRequest {
    /// Returns the pieces of the body that are not empty.
    pub fn pieces(&self) -> Vec<&str> {
        pieces(self.body.as_ref(), &self.body_pieces)
    }
}

impl Default for CaseRequest {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            authority: "example.com".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: None,
            body_pieces: Vec::new(),
            trailers: Vec::new(),
        }
    }
}

impl CaseResponse {
    /// Returns the pieces of the body that are not empty.
    pub fn pieces(&self) -> Vec<&str> {
        pieces(self.body.as_ref(), &self.body_pieces)
    }
}

impl Default for CaseResponse {
    fn default() -> Self {
        Self { status: 200, headers: Vec::new(), body: None, body_pieces: Vec::new(), trailers: Vec::new() }
    }
}

fn pieces<'a>(first: Option<&'a String>, others: &'a [String]) -> Vec<&'a str> {
    first.into_iter().chain(others).map(String::as_str).filter(|piece| !piece.is_empty()).collect()
}

// ===== impl MessageExpectation =====

impl MessageExpectation {
    /// Returns one sentence for each expectation that a message does not meet, with the message's role in front.
    pub fn differences(&self, what: &str, message: &RecordedMessage) -> Vec<String> {
        let mut found = Vec::new();
        let status = self.status.map(|status| status.to_string());
        for (name, expected) in [
            (":method", &self.method),
            (":authority", &self.authority),
            (":path", &self.path),
            (":status", &status),
        ] {
            let Some(expected) = expected else { continue };
            found.extend(missing_value(&message.headers, name, expected));
        }
        for line in &self.headers {
            found.extend(missing_value(&message.headers, &line.name, &line.value));
        }
        for name in &self.absent {
            let name = name.to_ascii_lowercase();
            if message.headers.iter().any(|(present, _)| *present == name) {
                found.push(format!("`{name}`: expected none, found {}", values(&message.headers, &name)));
            }
        }
        let body = String::from_utf8_lossy(&message.body);
        if let Some(expected) = self.body.as_ref().filter(|expected| **expected != body) {
            found.push(format!("body: expected {expected:?}, found {body:?}"));
        }
        if let Some(part) = self.body_contains.as_ref().filter(|part| !body.contains(part.as_str())) {
            found.push(format!("body: expected one with {part:?}, found {body:?}"));
        }
        for line in &self.trailers {
            let missing = missing_value(&message.trailers, &line.name, &line.value);
            found.extend(missing.map(|difference| format!("trailer {difference}")));
        }
        found.into_iter().map(|difference| format!("{what}: {difference}")).collect()
    }
}

/// Returns a sentence if none of the values of a name is the expected one.
fn missing_value(fields: &[(String, Vec<u8>)], name: &str, expected: &str) -> Option<String> {
    let is_present = fields.iter().any(|(present, value)| present == name && value == expected.as_bytes());
    (!is_present).then(|| format!("`{name}`: expected {expected:?}, found {}", values(fields, name)))
}

/// Returns the values of a name as text.
fn values(fields: &[(String, Vec<u8>)], name: &str) -> String {
    let of_name = fields.iter().filter(|(present, _)| present == name);
    let values: Vec<_> = of_name.map(|(_, value)| format!("{:?}", String::from_utf8_lossy(value))).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}

// ===== impl RecordedMessage =====

impl RecordedMessage {
    /// Returns the first value of a field, or of a pseudo-header such as `:path`. Bytes that are not UTF-8 become U+FFFD.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let name = name.to_ascii_lowercase();
        let field = self.headers.iter().find(|(known, _)| *known == name);
        field.map(|(_, value)| String::from_utf8_lossy(value))
    }

    /// Returns the status code of a response. Returns 0 for a request.
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Returns the body as text. Bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

// ===== impl FieldLine, LogLine =====

impl TryFrom<String> for FieldLine {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        match line.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Self { name: name.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
            }
            _ => Err(format!("{line:?} is not `name: value`")),
        }
    }
}

impl TryFrom<String> for LogLine {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        let (level, message) = line.split_once(':').unwrap_or_default();
        if !LOG_LEVELS.contains(&level) {
            return Err(format!(
                "{line:?} is not `level: message` with a level of {}",
                LOG_LEVELS.join(", ")
            ));
        }
        Ok(Self { level: level.to_owned(), message: message.trim().to_owned() })
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level, self.message)
    }
}
