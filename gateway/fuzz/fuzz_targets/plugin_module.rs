//! Fuzzes modules. What the check accepts must compile, and starting it must end in time, whatever it does.

#![no_main]

#[path = "plugin/config.rs"]
mod config;
#[path = "../../plugin-host/tests/host/support/view.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod view;

use std::sync::Arc;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plugin_host::Engine;
use plugin_host::Event;
use plugin_host::Instance;
use plugin_host::RootIndex;

use view::TestView;

/// Bytes of a module that is compiled. Larger ones would make few runs.
const MAX_COMPILED_BYTES: usize = 4096;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(None).expect("an engine"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(info) = plugin_host::inspect(bytes) else { return };
    assert_eq!(info.size, bytes.len());
    if bytes.len() > MAX_COMPILED_BYTES {
        return;
    }
    let module = ENGINE.compile(bytes).expect("what the check accepts compiles");
    let Ok(mut instance) = Instance::<TestView>::start(&module, Arc::new(config::config())) else { return };
    let Ok(stream) = instance.open(RootIndex(0), TestView::default()) else { return };
    let _ = instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true });
    instance.close(stream);
    assert_eq!(instance.is_dead(), instance.take_trap().is_some());
});
