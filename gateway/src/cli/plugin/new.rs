//! `gateway plugin new NAME`: writes a crate of a plugin or of a class handler.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::cli::output::{print, print_error};

/// The SDK in the folder that this program was built in.
const CHECKOUT_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-sdk");

/// Maximum characters of a name.
const MAX_NAME: usize = 64;

/// Names that Cargo or the plugin's own dependencies have.
const RESERVED: &[&str] = &[
    "alloc",
    "api",
    "build",
    "core",
    "deps",
    "examples",
    "plugin-sdk",
    "plugin-sdk-macros",
    "proc-macro",
    "serde",
    "std",
    "target",
    "test",
];

/// Keywords of Rust, which a crate cannot have as its name.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// The files of a new plugin: path and template.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("cases/greets.yaml", include_str!("template/greets.yaml.txt")),
    ("config.yaml", include_str!("template/config.yaml.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
];

/// The files of a new class handler: path and template.
const HANDLER_FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/handler/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/handler/lib.rs.txt")),
    ("cases/limits-bodies.in.yaml", include_str!("template/handler/limits-bodies.in.yaml.txt")),
    ("cases/limits-bodies.out.yaml", include_str!("template/handler/limits-bodies.out.yaml.txt")),
    ("README.md", include_str!("template/handler/README.md.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
];

/// `gateway plugin new`.
#[derive(Debug, Args)]
pub struct New {
    /// The name of the crate and of its folder.
    #[arg(value_name = "NAME")]
    name: String,
    /// The folder of the SDK. Default: the one that this program was built beside, or a released version.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
    /// Write a class handler: a module that says what Ingresses with the annotations of another controller mean.
    #[arg(long)]
    class_handler: bool,
}

impl New {
    /// Writes the crate, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.create() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error("plugin new", &error);
                ExitCode::FAILURE
            }
        }
    }

    fn create(&self) -> anyhow::Result<()> {
        check_name(&self.name)?;
        let sdk = self.sdk_dependency()?;
        let folder = Path::new(&self.name);
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
                ensure!(
                    is_empty,
                    "{} exists already, and is no empty folder: choose another name, or remove it",
                    self.name
                );
            }
            Err(error) => {
                return Err(error).with_context(|| format!("folder {} cannot be created", self.name));
            }
        }
        let files = if self.class_handler { HANDLER_FILES } else { FILES };
        for (path, template) in files {
            let text = template.replace("${name}", &self.name).replace("${sdk}", &sdk);
            let text = text.replace("${module}", &self.name.replace('-', "_"));
            write(&folder.join(path), &text)?;
        }
        if self.class_handler {
            return print(&format!(
                "{name}: a class handler with one annotation. Next:\n  cd {name}\n  cargo test\n  gateway plugin test\n  \
                 gateway plugin build\n",
                name = self.name
            ));
        }
        print(&format!(
            "{name}: a plugin that adds a header field to responses. Next:\n  cd {name}\n  cargo test\n  \
             gateway plugin test\n  gateway plugin run --config config.yaml\n",
            name = self.name
        ))
    }

    /// Returns how the crate depends on the SDK.
    fn sdk_dependency(&self) -> anyhow::Result<String> {
        let found = match &self.sdk {
            Some(path) => {
                let is_sdk = path.join("Cargo.toml").is_file();
                ensure!(is_sdk, "--sdk {}: there is no Cargo.toml in that folder", path.display());
                Some(path.as_path())
            }
            None => Some(Path::new(CHECKOUT_SDK)).filter(|path| path.join("Cargo.toml").is_file()),
        };
        let Some(path) = found else { return Ok(format!("version = {:?}", env!("CARGO_PKG_VERSION"))) };
        let path =
            path.canonicalize().with_context(|| format!("folder {} cannot be read", path.display()))?;
        let path = path.to_str().with_context(|| format!("folder {} is not UTF-8", path.display()))?;
        // A basic string of TOML has the escapes of JSON.
        Ok(format!("path = {}", serde_json::to_string(path)?))
    }
}

/// Checks that a crate and a WasmPlugin can have a name.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let has_ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    ensure!(
        name.chars().all(is_valid) && has_ends && name.len() <= MAX_NAME,
        "{name:?} cannot be the name of a plugin: use a to z, 0 to 9 and '-', at most {MAX_NAME}, and begin with a letter"
    );
    ensure!(
        !KEYWORDS.contains(&name) && !RESERVED.contains(&name),
        "{name:?} cannot be the name of a plugin: Rust or Cargo use it"
    );
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    fs::write(path, text).with_context(cannot)
}
