//! The root file system of a container: an overlay over this machine's own file system, or over an unpacked image.
//!
//! In the first case, programs and libraries of this machine are visible, and `/tmp` is writable. In the second, nothing
//! but the image and what a kubelet adds. Writes go to the cluster's tmpfs.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use tokio::process::Command;

use crate::cluster::image::ImageContent;

/// Path of a container's program in its root.
pub(super) const PROGRAM: &str = "/.image/program";

/// `PATH` in a container: its program by file name, then this machine's programs.
pub(super) const PATH: &str = "/.image:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the path of a program of this machine that starts a container. The `PATH` of an image may lack its folder.
pub(super) fn node_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

/// Joins `path` to `folder`.
///
/// # Errors
/// The path leaves the folder.
pub(super) fn join(folder: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(is_inside, "{path:?} leaves its folder");
    Ok(folder.join(path))
}

/// Maximum number of symbolic links in a path, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Resolves `path` as a process with this root does.
///
/// On many machines `/var/run` links to `/run`. Before `chroot`, the kernel would follow that link out of the root.
fn resolve(root: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let mut remaining: Vec<OsString> = parts(Path::new(path));
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(part) = remaining.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let Ok(link) = fs::read_link(root.join(&resolved).join(&part)) else {
            resolved.push(part);
            continue;
        };
        links += 1;
        ensure!(links <= MAX_LINKS, "{path:?} goes through too many links");
        if link.is_absolute() {
            resolved.clear();
        }
        remaining.extend(parts(&link));
    }
    Ok(root.join(resolved))
}

/// Returns the components of a path in reverse order.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    let mut parts: Vec<OsString> = names.collect();
    parts.reverse();
    parts
}

/// Inputs of [`Root::mount`].
pub(super) struct RootSpec<'a> {
    /// The container's folder, which gets the overlay.
    pub(super) folder: &'a Path,
    /// The container's image.
    pub(super) image: &'a ImageContent,
    pub(super) container: &'a Container,
    /// The folder of the pod's volumes.
    pub(super) volumes: &'a Path,
}

/// The mounted root file system of a container. [`Root::remove`] unmounts it.
#[derive(Debug)]
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Mounts the root of a container, with its program and the pod's volumes.
    ///
    /// # Errors
    /// `mount` fails, or the pod has no volume of a mount's name.
    ///
    /// # Cancellation
    /// Dropping the future leaves what is mounted so far.
    pub(super) async fn mount(spec: RootSpec<'_>) -> anyhow::Result<Self> {
        let RootSpec { folder, image, container, volumes } = spec;
        let root = Self { folder: folder.join("root") };
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        for folder in [&root.folder, &upper, &work] {
            fs::create_dir_all(folder)?;
        }
        let lower = image.root.as_deref().unwrap_or(Path::new("/")).display();
        let overlay = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
        mount(&["-t", "overlay", "-o", &overlay, "overlay"], &root.folder).await?;
        for shared in ["proc", "sys", "dev"] {
            fs::create_dir_all(root.folder.join(shared))?;
            mount(&["--rbind", &format!("/{shared}")], &root.folder.join(shared)).await?;
        }
        match &image.program {
            Some(program) => root.add_program(program).await?,
            None => root.add_network_files().await?,
        }
        for mount_spec in container.volume_mounts.iter().flatten() {
            root.add_volume(volumes, mount_spec).await?;
        }
        let security = container.security_context.as_ref();
        if security.and_then(|security| security.read_only_root_filesystem) == Some(true) {
            mount(&["-o", "remount,ro"], &root.folder).await?;
        }
        Ok(root)
    }

    /// Adds a program of this machine, and a `/tmp` that hides this machine's own.
    async fn add_program(&self, program: &Path) -> anyhow::Result<()> {
        mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs"], &self.folder.join("tmp")).await?;
        let path = self.bind(program, PROGRAM).await?;
        let name = program.file_name().map(|name| path.with_file_name(name));
        if let Some(name) = name.filter(|name| *name != path) {
            std::os::unix::fs::symlink(PROGRAM, name)?;
        }
        Ok(())
    }

    /// Adds the files about names of hosts, as a kubelet does.
    async fn add_network_files(&self) -> anyhow::Result<()> {
        for file in ["/etc/hosts", "/etc/resolv.conf"] {
            if Path::new(file).exists() {
                self.bind(Path::new(file), file).await?;
            }
        }
        Ok(())
    }

    async fn add_volume(&self, volumes: &Path, spec: &VolumeMount) -> anyhow::Result<()> {
        let mut source = volumes.join(&spec.name);
        if let Some(part) = spec.sub_path.as_deref().filter(|part| !part.is_empty()) {
            source = join(&source, part)?;
        }
        ensure!(source.exists(), "volumeMount {:?} has no volume", spec.name);
        let target = self.bind(&source, &spec.mount_path).await?;
        if spec.read_only == Some(true) {
            mount(&["-o", "remount,bind,ro"], &target).await?;
        }
        Ok(())
    }

    /// Mounts `source`, a file or folder, at `target` in the root.
    async fn bind(&self, source: &Path, target: &str) -> anyhow::Result<PathBuf> {
        let path = resolve(&self.folder, target)?;
        if source.is_dir() {
            fs::create_dir_all(&path)?;
        } else {
            fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
            if !path.exists() {
                fs::write(&path, "")?;
            }
        }
        let source = source.to_str().context("a path that is not UTF-8")?;
        mount(&["--bind", source], &path).await?;
        Ok(path)
    }

    /// Returns the path of the root.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Unmounts the root and everything in it, even while processes use it.
    ///
    /// # Cancellation
    /// Dropping the future does not stop `umount`.
    pub(super) async fn remove(&self) {
        unmount(&self.folder).await;
    }
}

/// Unmounts a root and everything in it, even while processes use it.
///
/// # Cancellation
/// Dropping the future does not stop `umount`.
pub(super) async fn unmount(root: &Path) {
    let done = Command::new("umount").args(["--recursive", "--lazy"]).arg(root).status().await;
    if !matches!(&done, Ok(status) if status.success()) {
        tracing::warn!(root = %root.display(), ?done, "unmounting failed");
    }
}

async fn mount(options: &[&str], target: &Path) -> anyhow::Result<()> {
    let output =
        Command::new("mount").args(options).arg(target).output().await.context("cannot start mount")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mount {} {}: {}", options.join(" "), target.display(), stderr.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_follows_links_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("var/lib")).unwrap();
        for (target, link) in [("/run", "var/run"), ("../..", "var/up"), ("lib", "var/rel"), ("loop", "loop")]
        {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        for (path, expected) in [
            ("/var/run/secrets/x", "run/secrets/x"),
            ("/var/up/etc/passwd", "etc/passwd"),
            ("/var/rel/new", "var/lib/new"),
            ("/../../a/./b", "a/b"),
        ] {
            assert_eq!(resolve(root.path(), path).unwrap(), at(expected), "{path}");
        }
        assert!(resolve(root.path(), "/loop/x").is_err());
    }
}
