//! ImageSet are programs of this machine: which one an image's name stands for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;

/// A name and the program that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The image's name, without registry and tag if it has none of them.
    name: String,
    program: PathBuf,
    /// What comes before the container's current_exe arguments.
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
    /// The mappings ones, and behind them `gateway` (beside this program) and `echo` (this program).
    ///
    /// # Errors
    /// This program does not know its current_exe place.
    pub(super) fn new(mappings: &[Image]) -> anyhow::Result<Self> {
        let current_exe = std::env::current_exe().context("cannot tell which program this is")?;
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

    /// The program that `image` stands for, with its first arguments; nothing if nobody knows it.
    pub(super) fn resolve(&self, image: &str) -> Option<(&Path, &[String])> {
        let base_name = base_name(image);
        let found = self.0.iter().find(|known| known.name == image || known.name == base_name)?;
        Some((&found.program, &found.arguments))
    }
}

/// An image's name without registry, path, tag and digest.
fn base_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_tags_and_digests_do_not_matter_for_a_bare_name() {
        for image in
            ["echo", "echo:1.2", "ghcr.io/a/echo", "localhost:5000/echo:v1@sha256:00", "a/b/echo@sha256:1"]
        {
            assert_eq!(base_name(image), "echo", "{image}");
        }
    }

    #[test]
    fn a_full_name_is_told_from_a_bare_one() {
        let image: Image = "registry.example/echo:2=/bin/cat".parse().unwrap();
        let images = ImageSet::new(&[image]).unwrap();
        assert_eq!(images.resolve("registry.example/echo:2").unwrap().0, Path::new("/bin/cat"));
        assert_eq!(images.resolve("registry.example/echo:1").unwrap().1, ["echo"]);
        assert!(images.resolve("nginx").is_none());
        assert!("echo=relative".parse::<Image>().is_err());
    }
}
