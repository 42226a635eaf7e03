//! Images: programs of this machine that run in place of container images.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;

/// A mapping from an image name to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The image name. Without registry and tag, it matches all of them.
    name: String,
    program: PathBuf,
    /// Arguments before those of the container.
    arguments: Vec<String>,
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, program)) if !name.is_empty() && Path::new(program).is_absolute() => {
                Ok(Self { name: name.to_owned(), program: program.into(), arguments: Vec::new() })
            }
            _ => Err("an image is given as NAME=/ABSOLUTE/PROGRAM".to_owned()),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.program.display())
    }
}

/// The images that the nodes can run.
#[derive(Debug)]
pub(super) struct ImageSet(Vec<Image>);

impl ImageSet {
    /// Returns the given mappings, followed by `gateway` (next to this program) and `echo` (this program).
    ///
    /// # Errors
    /// The path of this program cannot be determined.
    pub(super) fn new(mappings: &[Image]) -> anyhow::Result<Self> {
        let current_exe = std::env::current_exe().context("cannot find the path of this program")?;
        let mut images = mappings.to_vec();
        images.push(Image {
            name: "gateway".to_owned(),
            program: current_exe.with_file_name("gateway"),
            arguments: Vec::new(),
        });
        images.push(Image {
            name: "echo".to_owned(),
            program: current_exe,
            arguments: vec!["echo".to_owned()],
        });
        Ok(Self(images))
    }

    /// Returns the program of `image` and its first arguments, or `None` if the image is unknown.
    pub(super) fn resolve(&self, image: &str) -> Option<(&Path, &[String])> {
        let base_name = base_name(image);
        let found = self.0.iter().find(|known| known.name == image || known.name == base_name)?;
        Some((&found.program, &found.arguments))
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
        assert_eq!(images.resolve("registry.example/echo:2").unwrap().0, Path::new("/bin/cat"));
        assert_eq!(images.resolve("registry.example/echo:1").unwrap().1, ["echo"]);
        assert!(images.resolve("nginx").is_none());
        assert!("echo=relative".parse::<Image>().is_err());
    }
}
