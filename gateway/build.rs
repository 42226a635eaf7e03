//! Passes the commit to `gateway --version`.
//!
//! `GATEWAY_COMMIT` names it where there is no repository, as in the build of an image. Debug builds have none: each
//! commit would compile the crate again.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GATEWAY_COMMIT");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = env::var("GATEWAY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = match given {
        Some(commit) => commit,
        None if is_release => repository_commit().unwrap_or_else(|| "commit unknown".to_owned()),
        None => "debug build".to_owned(),
    };
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
}

/// Returns the commit of the repository, and has Cargo ask again after the next one.
fn repository_commit() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
