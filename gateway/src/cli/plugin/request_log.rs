//! The requests that the gateway of `gateway plugin run` served, read from its access log.

use std::str::FromStr as _;

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::observe::access_log::{Format, LogReader, LogSettings};

/// The fields of a record, in the order in which [`RequestRecord::parse`] reads them. No value contains a tab.
const FORMAT: &str = "{requestId}\t{method}\t{host}\t{path}\t{status}\t{reason}\t{durationMs}";

/// How the access log writes an unknown value.
const UNKNOWN: &str = "-";

/// One served request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestRecord {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) status: String,
    /// Why the gateway replied itself. `None` if it did not.
    pub(super) reason: Option<String>,
    pub(super) millis: String,
}

impl RequestRecord {
    fn parse(line: &str) -> Self {
        let mut values = line.split('\t').map(str::to_owned);
        let mut next = || values.next().unwrap_or_default();
        Self {
            id: next(),
            method: next(),
            host: next(),
            path: next(),
            status: next(),
            reason: Some(next()).filter(|reason| reason != UNKNOWN),
            millis: next(),
        }
    }
}

/// Returns access log settings whose records this module reads.
///
/// # Errors
/// The access log has no such field.
pub(super) fn settings() -> anyhow::Result<LogSettings> {
    let format = Format::from_str(FORMAT).context("the access log format of plugin run")?;
    Ok(LogSettings { format, ..LogSettings::default() })
}

/// Parses records on a thread, since reading them blocks. The thread ends with the workers of the gateway.
///
/// # Errors
/// The system has no thread.
pub(super) fn follow(
    reader: LogReader,
    on_record: mpsc::UnboundedSender<RequestRecord>,
) -> std::io::Result<()> {
    let follow = move || {
        while let Some(batch) = reader.next_batch() {
            for line in batch.lines() {
                if on_record.send(RequestRecord::parse(line)).is_err() {
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("plugin-run-log".to_owned()).spawn(follow).map(drop)
}
