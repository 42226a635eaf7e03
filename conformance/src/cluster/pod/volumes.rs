//! A pod's volumes as folders, and a container's root with them in their places.
//!
//! A root is an overlay over this machine's own file system: programs and libraries are there, and what the
//! container writes goes to the cluster's tmpfs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, ServiceAccount, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use tokio::process::Command;

use super::environment::PodContext;

/// Where a container's program is in its root.
pub(super) const PROGRAM: &str = "/.image/program";

/// Where commands are found in a container: its program by its own name, then this machine's.
pub(super) const PATH: &str = "/.image:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

type Files = BTreeMap<String, Vec<u8>>;

/// Makes the folder of a volume below `folder`.
///
/// # Errors
/// Something that it holds is not there (yet), or the volume is of a kind that these nodes do not know.
pub(super) async fn make(context: &PodContext<'_>, volume: &Volume, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join(&volume.name);
    let files = if volume.empty_dir.is_some() {
        fs::create_dir_all(&folder)?;
        // Whoever the container runs as writes here.
        return Ok(fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?);
    } else if let Some(source) = &volume.config_map {
        pick(context.config_map(&source.name, source.optional).await?, source.items.as_deref())?
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        pick(context.secret(name, source.optional).await?, source.items.as_deref())?
    } else if let Some(source) = &volume.downward_api {
        downward(context, source.items.as_deref().unwrap_or_default())?
    } else if let Some(source) = &volume.projected {
        let mut files = Files::new();
        for source in source.sources.iter().flatten() {
            files.append(&mut projected(context, source).await?);
        }
        files
    } else {
        bail!("volume {:?} is of a kind that these nodes do not know", volume.name);
    };
    write(&folder, &files)
}

fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in files {
        let place = inside(folder, name)?;
        fs::create_dir_all(place.parent().unwrap_or(folder))?;
        fs::write(place, bytes)?;
    }
    Ok(())
}

/// `path` below `folder`, refusing to leave it.
fn inside(folder: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(stays, "{path:?} leaves its folder");
    Ok(folder.join(path))
}

/// How many symbolic links a path may go through, as the kernel has it.
const MOST_LINKS: u32 = 40;

/// `path` as a process whose root is `root` would find it: `/var/run` is a link to `/run` on many machines, and the
/// kernel would follow it out of a root that nobody has entered yet.
fn resolve(root: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let mut left: Vec<OsString> = parts(Path::new(path));
    let mut found = PathBuf::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let Ok(link) = fs::read_link(root.join(&found).join(&part)) else {
            found.push(part);
            continue;
        };
        links += 1;
        ensure!(links <= MOST_LINKS, "{path:?} goes through too many links");
        if link.is_absolute() {
            found.clear();
        }
        left.extend(parts(&link));
    }
    Ok(root.join(found))
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    let mut parts: Vec<OsString> = named.collect();
    parts.reverse();
    parts
}

fn pick(mut values: Files, items: Option<&[KeyToPath]>) -> anyhow::Result<Files> {
    let Some(items) = items else { return Ok(values) };
    let picked = items.iter().map(|item| {
        let value = values.remove(&item.key).with_context(|| format!("key {:?} not found", item.key))?;
        Ok((item.path.clone(), value))
    });
    picked.collect()
}

fn downward(context: &PodContext<'_>, items: &[DownwardAPIVolumeFile]) -> anyhow::Result<Files> {
    let files = items.iter().map(|item| {
        let field = item.field_ref.as_ref().context("only fieldRef is known in downward API volumes")?;
        Ok((item.path.clone(), context.field(field)?.into_bytes()))
    });
    files.collect()
}

async fn projected(context: &PodContext<'_>, source: &VolumeProjection) -> anyhow::Result<Files> {
    if let Some(source) = &source.config_map {
        pick(context.config_map(&source.name, source.optional).await?, source.items.as_deref())
    } else if let Some(source) = &source.secret {
        pick(context.secret(&source.name, source.optional).await?, source.items.as_deref())
    } else if let Some(source) = &source.downward_api {
        downward(context, source.items.as_deref().unwrap_or_default())
    } else if let Some(source) = &source.service_account_token {
        Ok(Files::from([(source.path.clone(), token(context, source).await?.into_bytes())]))
    } else {
        bail!("a projected source of a kind that these nodes do not know");
    }
}

/// Asks for a token bound to the pod. It is not renewed: the API server's default is an hour.
async fn token(context: &PodContext<'_>, source: &ServiceAccountTokenProjection) -> anyhow::Result<String> {
    let pod = context.pod;
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: source.audience.clone().map(|audience| vec![audience]),
            expiration_seconds: source.expiration_seconds,
            bound_object_ref: Some(k8s_openapi::api::authentication::v1::BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        }),
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(context.client.clone(), &context.namespace());
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    made.status.and_then(|status| status.token).context("a TokenRequest without a token")
}

/// A container's root file system; [`Root::remove`] takes it down.
#[derive(Debug)]
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Mounts the root of a container below `folder`, with `program` and the pod's volumes in place.
    ///
    /// # Errors
    /// What `mount` refused, or a volume that the pod does not have.
    pub(super) async fn mount(
        folder: &Path,
        program: &Path,
        (container, volumes): (&Container, &Path),
    ) -> anyhow::Result<Self> {
        let root = Self { folder: folder.join("root") };
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        for folder in [&root.folder, &upper, &work] {
            fs::create_dir_all(folder)?;
        }
        let overlay = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        mount(&["-t", "overlay", "-o", &overlay, "overlay"], &root.folder).await?;
        for shared in ["proc", "sys", "dev"] {
            mount(&["--rbind", &format!("/{shared}")], &root.folder.join(shared)).await?;
        }
        mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs"], &root.folder.join("tmp")).await?;
        let place = root.bind(program, PROGRAM).await?;
        let name = program.file_name().map(|name| place.with_file_name(name));
        if let Some(name) = name.filter(|name| *name != place) {
            std::os::unix::fs::symlink(PROGRAM, name)?;
        }
        for wanted in container.volume_mounts.iter().flatten() {
            let mut source = volumes.join(&wanted.name);
            if let Some(part) = wanted.sub_path.as_deref().filter(|part| !part.is_empty()) {
                source = inside(&source, part)?;
            }
            ensure!(source.exists(), "volumeMount {:?} has no volume", wanted.name);
            let target = root.bind(&source, &wanted.mount_path).await?;
            if wanted.read_only == Some(true) {
                mount(&["-o", "remount,bind,ro"], &target).await?;
            }
        }
        let security = container.security_context.as_ref();
        if security.and_then(|security| security.read_only_root_filesystem) == Some(true) {
            mount(&["-o", "remount,ro"], &root.folder).await?;
        }
        Ok(root)
    }

    /// Shows `source`, a file or folder, at `target` in the root.
    async fn bind(&self, source: &Path, target: &str) -> anyhow::Result<PathBuf> {
        let place = resolve(&self.folder, target)?;
        if source.is_dir() {
            fs::create_dir_all(&place)?;
        } else {
            fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
            if !place.exists() {
                fs::write(&place, "")?;
            }
        }
        let source = source.to_str().context("a path that is not UTF-8")?;
        mount(&["--bind", source], &place).await?;
        Ok(place)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Unmounts everything in it, at once even if a process still uses it.
    pub(super) async fn remove(&self) {
        unmount(&self.folder).await;
    }
}

/// Unmounts a root, at once even if a process still uses it.
pub(super) async fn unmount(root: &Path) {
    let done = Command::new("umount").args(["--recursive", "--lazy"]).arg(root).status().await;
    if !matches!(&done, Ok(status) if status.success()) {
        tracing::warn!(root = %root.display(), ?done, "unmounting failed");
    }
}

async fn mount(what: &[&str], target: &Path) -> anyhow::Result<()> {
    let done = Command::new("mount").args(what).arg(target).output().await.context("cannot start mount")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "mount {} {}: {}", what.join(" "), target.display(), said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_root() {
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
