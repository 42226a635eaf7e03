//! Embeds the case files, so that the program works without the source tree.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("cases");
    let mut files = Vec::new();
    for area in sorted_entries(&root)? {
        if area.is_dir() {
            files.extend(sorted_entries(&area)?);
        }
    }
    let mut code = String::from("&[\n");
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?;
        let _ = writeln!(
            code,
            "({:?}, include_str!({:?})),",
            name.display().to_string(),
            file.display().to_string()
        );
    }
    code.push(']');
    fs::write(Path::new(&variable("OUT_DIR")?).join("cases.rs"), code)?;
    let mut stdout = io::stdout();
    io::Write::write_all(&mut stdout, b"cargo::rerun-if-changed=cases\ncargo::rerun-if-changed=build.rs\n")
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

fn sorted_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}
