//! Checks a command without running it: packages, test targets, profiles, files and flags exist.
//!
//! The arguments of `conformance` are checked by `conformance/tests/docs.rs`, where its binary is available.

use clap::Parser as _;
use gateway::cli::Cli;

use crate::markdown;
use crate::pages::{self, read, root};

/// Words of a cargo command that name nothing of this repository.
const CARGO: &[&str] = &["bench", "build", "install", "run", "test", "--lib", "--release", "--workspace"];

/// Panics if a command names something that does not exist. Every program must be known here.
pub(crate) fn check(place: &str, command: &str) {
    let mut words = markdown::words(command);
    // Variables before the program.
    words.retain(|word| !word.starts_with("UPDATE_EXPECT=") && !word.starts_with("OUTAGE_SECONDS="));
    words.retain(|word| word != "&");
    let (program, arguments) =
        words.split_first().unwrap_or_else(|| panic!("{place}: no program: {command}"));
    let result = match program.as_str() {
        "cargo" => cargo(arguments),
        "gateway" => gateway(arguments),
        "kubectl" => kubectl(arguments),
        "conformance/test" | "conformance/image" => file(program),
        "sh" => arguments.first().map_or(Ok(()), |script| file(script)),
        "helm" => helm(arguments),
        "target/debug/conformance" | "target/release/conformance" => scripts(arguments),
        _ => Err("the test does not know this program".to_owned()),
    };
    if let Err(error) = result {
        panic!("{place}: {command}: {error}");
    }
}

fn gateway(arguments: &[String]) -> Result<(), String> {
    let all = std::iter::once("gateway").chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(all).map(drop).map_err(|error| error.to_string())
}

fn cargo(arguments: &[String]) -> Result<(), String> {
    let (own, program) = match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    let mut packages = Vec::new();
    let mut words = own.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} has no value"));
        match word.as_str() {
            "-p" => packages.push(package(value()?)?),
            "--path" => packages.push(package(value()?)?),
            "--test" => target("tests", value()?)?,
            "--bench" => target("benches", value()?)?,
            "--profile" => contains("Cargo.toml", &format!("[profile.{}]", value()?))?,
            other if CARGO.contains(&other) => {}
            other => test_filter(other)?,
        }
    }
    match (own.first().map(String::as_str), packages.first().copied()) {
        (Some("run"), Some("gateway")) => gateway(program),
        (Some("test"), _) => program.iter().try_for_each(|filter| test_filter(filter)),
        _ => Ok(()),
    }
}

/// Returns the package of this name if it is a member with a program or a library.
fn package(name: &str) -> Result<&'static str, String> {
    let members = [("gateway", "gateway"), ("conformance", "conformance"), ("routing", "gateway/routing")];
    let (name, folder) =
        *members.iter().find(|(member, _)| *member == name).ok_or_else(|| format!("no package {name}"))?;
    contains("Cargo.toml", &format!("\"{folder}\""))?;
    contains(&format!("{folder}/Cargo.toml"), &format!("name = \"{name}\""))?;
    Ok(name)
}

fn target(kind: &str, name: &str) -> Result<(), String> {
    let candidates = ["gateway", "conformance"]
        .into_iter()
        .flat_map(|package| ["", "/main"].map(|suffix| format!("{package}/{kind}/{name}{suffix}.rs")));
    let exists = candidates.into_iter().any(|path| root().join(path).is_file());
    if exists { Ok(()) } else { Err(format!("no target {name}")) }
}

/// Accepts a part of the name of a test.
fn test_filter(filter: &str) -> Result<(), String> {
    let is_test = |line: &str| {
        let line = line.trim_start();
        let name = line.strip_prefix("fn ").or_else(|| line.strip_prefix("trial(\""));
        name.is_some_and(|name| name.split(['(', '"']).next().unwrap_or_default().contains(filter))
    };
    let is_known = pages::sources().iter().any(|(_, text)| text.lines().any(is_test));
    if is_known { Ok(()) } else { Err(format!("no test has {filter} in its name")) }
}

/// Checks the files behind `-f`, and that the gateway may read the kinds that `get` lists.
fn kubectl(arguments: &[String]) -> Result<(), String> {
    for pair in arguments.windows(2).filter(|pair| pair[0] == "-f") {
        file(&pair[1])?;
    }
    if let [get, kinds, ..] = arguments
        && get == "get"
    {
        let rights = read("conformance/example/gateway.yaml");
        let lists = rights.lines().filter_map(|line| line.trim().strip_prefix("resources: ["));
        let readable: Vec<_> = lines_words(lists).collect();
        for kind in kinds.split(',') {
            let is_of = |plural: &String| [format!("{kind}s"), format!("{kind}es")].contains(plural);
            if !readable.iter().any(is_of) {
                return Err(format!("the gateway does not read {kind}"));
            }
        }
    }
    Ok(())
}

fn lines_words<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = String> {
    lines.flat_map(|line| line.trim_end_matches(']').split(", ").map(str::to_owned).collect::<Vec<_>>())
}

/// Checks the chart.
fn helm(arguments: &[String]) -> Result<(), String> {
    arguments.iter().filter(|word| word.starts_with("charts/")).try_for_each(|word| file(word))
}

/// Checks the arguments that are files of the repository.
fn scripts(arguments: &[String]) -> Result<(), String> {
    let is_file = |word: &&String| word.starts_with("conformance/") || word.starts_with("gateway/");
    arguments.iter().filter(is_file).try_for_each(|word| file(word))
}

fn file(path: &str) -> Result<(), String> {
    if root().join(path).exists() { Ok(()) } else { Err(format!("no {path}")) }
}

fn contains(path: &str, text: &str) -> Result<(), String> {
    if read(path).contains(text) { Ok(()) } else { Err(format!("{path} has no {text}")) }
}

#[test]
fn commands_of_all_documents_exist() {
    let mut count = 0;
    for page in pages::documents().into_iter().filter(|page| page != "README.md") {
        for block in markdown::blocks(&read(&page)).into_iter().filter(|block| block.language == "sh") {
            for command in markdown::commands(&block.text) {
                check(&page, &command);
                count += 1;
            }
        }
    }
    assert!(count >= 20, "{count} commands");
}

#[test]
fn commands_with_a_wrong_name_are_found() {
    for command in [
        "gateway run --no-such-flag",
        "cargo run -p gateway -- demos",
        "cargo test -p gateway --test no_such_test",
        "cargo build --profile fast -p gateway",
        "cargo install --path gateways",
        "cargo test -- no_test_has_this_name",
        "kubectl apply -f conformance/example/no.yaml",
        "kubectl get gateways -A",
        "frobnicate",
    ] {
        assert!(std::panic::catch_unwind(|| check("a page", command)).is_err(), "{command}");
    }
}
