//! Logs a panic before the module traps.

use std::panic;
use std::panic::PanicHookInfo;

use crate::current_host::host;
use crate::host::Level;

/// Logs the message and the place of each panic from now on.
pub fn install() {
    panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(|place| {
        let (line, column) = (place.line().to_string(), place.column().to_string());
        [place.file(), ":", &line, ":", &column].concat()
    });
    let text = ["panic at ", &place.unwrap_or_default(), ": ", message].concat();
    // The host logs the trap in any case.
    let _ = host().log(Level::Critical, &text);
}
