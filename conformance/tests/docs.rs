//! The documents against the command line: every `conformance` command in README and in the pages is accepted.
//!
//! The built program parses each command with `--help` behind its own arguments, so that nothing runs. Not here: commands
//! of other programs (`gateway/tests/docs`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The spellings of the program in documents.
const PROGRAMS: &[&str] = &[
    "target/debug/conformance ",
    "target/release/conformance ",
    "cargo run --release -p conformance -- ",
    "conformance cluster ",
    "conformance compare ",
    "conformance run ",
    "conformance bench ",
];

/// Returns the arguments of a command for `conformance`, without the command behind a later `--`.
fn arguments(command: &str) -> Option<Vec<String>> {
    let program = PROGRAMS.iter().find(|program| command.starts_with(**program))?;
    let own = if program.starts_with("conformance ") { "conformance " } else { program };
    let rest = command.strip_prefix(own)?;
    Some(rest.split_whitespace().take_while(|word| *word != "--").map(str::to_owned).collect())
}

/// Returns all commands of a page: lines of fenced blocks, commands behind ` -- `, and inline code.
fn commands(page: &str) -> Vec<String> {
    let code = page.split("```").enumerate().flat_map(|(at, part)| -> Vec<String> {
        if at % 2 == 1 {
            part.lines().map(str::to_owned).collect()
        } else {
            part.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
        }
    });
    code.flat_map(|line| {
        let inner = line.split_once(" -- ").map(|(_, inner)| inner.to_owned());
        std::iter::once(line).chain(inner)
    })
    .collect()
}

/// Returns the output of a command line that is not accepted.
fn rejection(arguments: &[String]) -> Option<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).arg("--help").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn commands_of_documents_are_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages = vec![root.join("README.md"), root.join("conformance/README.md")];
    let entries = fs::read_dir(root.join("gateway/docs")).unwrap();
    pages.extend(entries.map(|entry| entry.unwrap().path()));
    let mut count = 0;
    for page in pages {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            let Some(arguments) = arguments(&command) else { continue };
            let error = rejection(&arguments);
            assert!(error.is_none(), "{}: {command}\n{}", page.display(), error.unwrap_or_default());
            count += 1;
        }
    }
    assert!(count >= 10, "{count} commands");
}

#[test]
fn wrong_commands_are_rejected() {
    for command in [
        "conformance cluster runs",
        "conformance bench --case smallest",
        "conformance bench --round 1",
        "conformance run --class gateway",
        "conformance run --level most",
        "conformance cluster run --nodes many -- true",
    ] {
        assert!(rejection(&arguments(command).unwrap()).is_some(), "{command}");
    }
}
