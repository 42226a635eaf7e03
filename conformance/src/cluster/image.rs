//! Images: programs of this machine, or unpacked images, that run in place of container images.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// A mapping from an image name to a program, or to the folder of an unpacked image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The image name. Without registry and tag, it matches all of them.
    name: String,
    path: PathBuf,
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && Path::new(path).is_absolute() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("an image is given as NAME=/ABSOLUTE/PATH".to_owned()),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.path.display())
    }
}

/// What a container of an image runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageContent {
    /// Program of this machine. `None` for an unpacked image, whose entrypoint is a path in its root.
    pub(super) program: Option<PathBuf>,
    /// Root file system of an unpacked image. `None` for that of this machine.
    pub(super) root: Option<PathBuf>,
    /// Entrypoint of an unpacked image, or arguments of the program before those of the container.
    pub(super) entrypoint: Vec<String>,
    /// Arguments of an unpacked image, for containers with neither command nor arguments.
    pub(super) default_arguments: Vec<String>,
    /// Environment, as NAME=VALUE.
    pub(super) environment: Vec<String>,
    /// Numeric uid and gid.
    pub(super) user: Option<(i64, i64)>,
}

impl ImageContent {
    fn of_program(program: PathBuf, arguments: &[&str]) -> Self {
        Self {
            program: Some(program),
            root: None,
            entrypoint: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            default_arguments: Vec::new(),
            environment: Vec::new(),
            user: None,
        }
    }

    /// Reads an image that `conformance/image unpack` has written: `rootfs` and `image.json`, its configuration.
    fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("image.json");
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let config = serde_json::from_slice::<ImageFile>(&text)
            .with_context(|| format!("{} is not the configuration of an image", file.display()))?
            .config;
        let number = |text: &str| text.parse::<i64>().ok();
        let (uid, gid) = config.user.split_once(':').unwrap_or((&config.user, &config.user));
        ensure!(!config.entrypoint.is_empty(), "{} has no entrypoint", file.display());
        Ok(Self {
            program: None,
            root: Some(folder.join("rootfs")),
            entrypoint: config.entrypoint,
            default_arguments: config.cmd,
            environment: config.env,
            user: number(uid).zip(number(gid)),
        })
    }
}

/// The configuration file of an image.
#[derive(Deserialize)]
struct ImageFile {
    config: ImageConfig,
}

/// The part of an image's configuration that containers need.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageConfig {
    user: String,
    env: Vec<String>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
}

/// The images that the nodes can run, by name.
#[derive(Debug)]
pub(super) struct ImageSet(Vec<(String, ImageContent)>);

impl ImageSet {
    /// Returns the given mappings, followed by `gateway` (next to this program) and `echo` (this program).
    ///
    /// # Errors
    /// The path of this program cannot be determined, or an unpacked image cannot be read.
    pub(super) fn new(mappings: &[Image]) -> anyhow::Result<Self> {
        let current_exe = std::env::current_exe().context("cannot find the path of this program")?;
        let mut images = Vec::new();
        for Image { name, path } in mappings {
            let content = if path.is_dir() {
                ImageContent::of_folder(path)?
            } else {
                ImageContent::of_program(path.clone(), &[])
            };
            images.push((name.clone(), content));
        }
        let gateway = ImageContent::of_program(current_exe.with_file_name("gateway"), &[]);
        images.push(("gateway".to_owned(), gateway));
        images.push(("echo".to_owned(), ImageContent::of_program(current_exe, &["echo"])));
        Ok(Self(images))
    }

    /// Returns the content of `image`, or `None` if the image is unknown.
    pub(super) fn resolve(&self, image: &str) -> Option<&ImageContent> {
        let base_name = base_name(image);
        let found = self.0.iter().find(|(known, _)| known == image || known == base_name)?;
        Some(&found.1)
    }
}

/// Returns an image name without registry, path, tag and digest.
fn base_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_name_strips_registry_tag_and_digest() {
        for image in
            ["echo", "echo:1.2", "ghcr.io/a/echo", "localhost:5000/echo:v1@sha256:00", "a/b/echo@sha256:1"]
        {
            assert_eq!(base_name(image), "echo", "{image}");
        }
    }

    #[test]
    fn full_name_matches_only_its_own_tag() {
        let image: Image = "registry.example/echo:2=/bin/cat".parse().unwrap();
        let images = ImageSet::new(&[image]).unwrap();
        let program = |image: &str| images.resolve(image).unwrap().program.clone().unwrap();
        assert_eq!(program("registry.example/echo:2"), Path::new("/bin/cat"));
        assert_eq!(images.resolve("registry.example/echo:1").unwrap().entrypoint, ["echo"]);
        assert!(images.resolve("nginx").is_none());
        assert!("echo=relative".parse::<Image>().is_err());
    }
    #[test]
    fn unpacked_image_has_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let image = Image { name: "a".to_owned(), path: folder.path().to_path_buf() };
        assert!(ImageSet::new(std::slice::from_ref(&image)).is_err(), "no configuration");
        let config = r#"{"config":{"User":"65532:65532","Env":["PATH=/usr/bin"],"Entrypoint":["/usr/bin/gateway"],"Cmd":["run"]}}"#;
        std::fs::write(folder.path().join("image.json"), config).unwrap();
        let images = ImageSet::new(&[image]).unwrap();
        let expected = ImageContent {
            program: None,
            root: Some(folder.path().join("rootfs")),
            entrypoint: vec!["/usr/bin/gateway".to_owned()],
            default_arguments: vec!["run".to_owned()],
            environment: vec!["PATH=/usr/bin".to_owned()],
            user: Some((65532, 65532)),
        };
        assert_eq!(images.resolve("a"), Some(&expected));
    }
}
