//! What guests do, as commands of plugin authors show it.

use std::fmt;
use std::time::Duration;

use crate::error::TrapReport;

/// Watches the guests of instances. It runs on the thread of the call, which waits for it.
pub trait GuestObserver: fmt::Debug + Send + Sync {
    /// A call of the guest ended. The embedder of the instance reports it.
    fn on_call(&self, call: &GuestCall<'_>);

    /// The guest logged a line.
    fn on_log(&self, line: &GuestLine<'_>);
}

/// A call of a guest.
#[derive(Clone, Copy, Debug)]
pub struct GuestCall<'a> {
    /// Namespace and name of the plugin.
    pub plugin: &'a str,
    /// Short name of the module's version.
    pub version: &'a str,
    /// What the call was about.
    pub what: &'a str,
    /// ID of the request that the call was about; `None` if it is unknown, or there is none.
    pub request: Option<&'a str>,
    /// Time of the call, host functions included.
    pub elapsed: Duration,
    /// The trap, if the call ended the instance.
    pub trap: Option<&'a TrapReport>,
}

/// A line of a guest.
#[derive(Clone, Copy, Debug)]
pub struct GuestLine<'a> {
    /// Namespace and name of the plugin.
    pub plugin: &'a str,
    /// Level of the ABI, in lower case: `trace` to `critical`.
    pub level: &'static str,
    /// ID of the request in whose call it was logged; `None` if there is none.
    pub request: Option<&'a str>,
    /// The line, without control characters.
    pub text: &'a str,
}
