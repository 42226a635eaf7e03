//! The requests that the gateway served, read from its access log.
//!
//! Not here: how a request is shown (`row`).

use std::str::FromStr as _;
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::observe::access_log::{self, Format, LogReader};

/// The fields of a record, in the order in which [`ServedRequest::parse`] reads them. No value contains a tab: the access log
/// escapes control characters.
const FORMAT: &str = "{time}\t{client}\t{scheme}\t{method}\t{host}\t{path}\t{query}\t{status}\t{reason}\t{abort}\t{durationMs}\t\
                      {upstream}\t{ingress}\t{rule}\t{service}\t{userAgent}";

/// How the access log writes an unknown value.
const UNKNOWN: &str = "-";

/// Records that may wait to be printed. A terminal that is slower than the requests then slows the access log down, which
/// drops records.
const QUEUED_RECORDS: usize = 1024;

/// One served request. `None` where the gateway does not know a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServedRequest {
    /// When the exchange ended, as RFC 3339.
    pub(super) time: Option<String>,
    /// The address of the client.
    pub(super) client: Option<String>,
    /// `http` or `https`.
    pub(super) scheme: Option<String>,
    /// The method.
    pub(super) method: Option<String>,
    /// The host without its port.
    pub(super) host: Option<String>,
    /// The canonical path.
    pub(super) path: Option<String>,
    /// `true` if the request has a query.
    pub(super) query: Option<String>,
    /// The status of the response.
    pub(super) status: Option<String>,
    /// Why the gateway sent a local reply.
    pub(super) reason: Option<String>,
    /// Why the response is not complete.
    pub(super) abort: Option<String>,
    /// Milliseconds from the request's head to the end of the response.
    pub(super) duration: Option<String>,
    /// The last endpoint that the gateway connected to.
    pub(super) endpoint: Option<String>,
    /// The Ingress whose rule matched, as namespace/name.
    pub(super) ingress: Option<String>,
    /// The field path of that rule.
    pub(super) rule: Option<String>,
    /// The Service, as namespace/name:port.
    pub(super) service: Option<String>,
    /// `User-Agent`.
    pub(super) user_agent: Option<String>,
}

impl ServedRequest {
    fn parse(line: &str) -> Self {
        let mut values = line.split('\t').map(|value| (value != UNKNOWN).then(|| value.to_owned()));
        let mut next = || values.next().flatten();
        Self {
            time: next(),
            client: next(),
            scheme: next(),
            method: next(),
            host: next(),
            path: next(),
            query: next(),
            status: next(),
            reason: next(),
            abort: next(),
            duration: next(),
            endpoint: next(),
            ingress: next(),
            rule: next(),
            service: next(),
            user_agent: next(),
        }
    }

    /// Returns when the exchange ended.
    pub(super) fn ended(&self) -> SystemTime {
        let time = self.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        time.map_or_else(SystemTime::now, SystemTime::from)
    }
}

/// Returns access log settings whose records this module reads.
///
/// # Errors
/// The access log has no such field.
pub(super) fn settings() -> anyhow::Result<access_log::LogSettings> {
    let format = Format::from_str(FORMAT).context("the demo's access log format")?;
    Ok(access_log::LogSettings { format, ..access_log::LogSettings::default() })
}

/// Parses records on a thread, since reading them blocks. The thread ends with the gateway's workers.
///
/// # Errors
/// The system has no thread.
pub(super) fn follow(reader: LogReader) -> std::io::Result<mpsc::Receiver<ServedRequest>> {
    let (sender, receiver) = mpsc::channel(QUEUED_RECORDS);
    std::thread::Builder::new().name("demo-log".to_owned()).spawn(move || {
        while let Some(batch) = reader.next_batch() {
            for line in batch.lines() {
                if sender.blocking_send(ServedRequest::parse(line)).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(receiver)
}
