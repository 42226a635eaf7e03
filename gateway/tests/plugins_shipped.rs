//! The cases of the shipped plugins in the real gateway. Their native tests run the same files in the mock host.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugin_command.rs"]
mod plugin_command;

use plugin_command::{built, errors, gateway, is_target_missing, root};

/// Maximum KiB of modules, by the name of the plugin.
const MAX_KIB: &[(&str, u64)] = &[("hello", 100), ("jwt", 600)];

#[test]
fn cases_of_shipped_plugins_pass() {
    if is_target_missing("the shipped plugins in the gateway") {
        return;
    }
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("plugins")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("cases").is_dir() {
            continue;
        }
        count += 1;
        let output = gateway(&folder, &["test"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {text}{}", folder.display(), errors(&output));
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let size = std::fs::metadata(built(&name.replace('-', "_"))).unwrap().len();
        let limit = MAX_KIB.iter().find(|(limited, _)| *limited == name);
        assert!(limit.is_none_or(|(_, kib)| size <= kib << 10), "{name}: {size} bytes");
    }
    assert!(count >= MAX_KIB.len(), "{count} plugins");
}
