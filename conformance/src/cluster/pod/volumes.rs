//! Volumes of a pod, as folders. `root` mounts them into containers.
//!
//! As a kubelet does, files are links through `..data`, which a rename replaces when objects change. Tokens are not
//! renewed, and a mount with `subPath` keeps its first content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use super::environment::PodContext;
use super::root;

type Files = BTreeMap<String, Vec<u8>>;

/// Creates the folder of a volume below `folder`, or updates its files.
///
/// # Errors
/// An object that the volume needs does not exist yet, or the kind of volume is not supported.
///
/// # Cancellation
/// Dropping the future may leave an incomplete folder. A second call completes it.
pub(super) async fn create(context: &PodContext<'_>, volume: &Volume, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join(&volume.name);
    if volume.empty_dir.is_some() {
        fs::create_dir_all(&folder)?;
        // Containers may run as any user.
        return Ok(fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?);
    }
    write(&folder, &content(context, volume).await?)
}

/// Returns true if [`create`] for the same volume later picks up changes of its objects.
pub(super) fn is_refreshed(volume: &Volume) -> bool {
    let has_token = |volume: &Volume| {
        let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
        sources.into_iter().flatten().any(|source| source.service_account_token.is_some())
    };
    let reads_objects = volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some();
    // Each request for a token would return another one.
    reads_objects && !has_token(volume)
}

async fn content(context: &PodContext<'_>, volume: &Volume) -> anyhow::Result<Files> {
    Ok(if let Some(source) = &volume.config_map {
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
        bail!("volume {:?} is of a kind that these nodes do not support", volume.name);
    })
}

/// The link to the present version of a volume's files.
const DATA_LINK: &str = "..data";

/// Makes `files` the content of a volume. Readers see the old files or the new ones.
fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    let link = folder.join(DATA_LINK);
    let previous = fs::read_link(&link).ok();
    if previous.is_some() && read(&link)? == *files {
        return Ok(());
    }
    let number = previous.as_ref().and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok());
    let version = format!("..{}", number.map_or(0, |number| number.wrapping_add(1)));
    fs::create_dir_all(folder.join(&version))?;
    for (name, bytes) in files {
        let path = root::join(&folder.join(&version), name)?;
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    let new_link = folder.join("..data_tmp");
    symlink(&version, &new_link)?;
    fs::rename(new_link, &link)?;
    link_files(folder, files)?;
    if let Some(previous) = previous {
        fs::remove_dir_all(folder.join(previous))?;
    }
    Ok(())
}

/// Creates a link through `..data` for each file or folder at the top of a volume, and removes those of removed files.
fn link_files(folder: &Path, files: &Files) -> anyhow::Result<()> {
    let top = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = files.keys().map(|name| top(name)).collect();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    for name in names {
        if fs::symlink_metadata(folder.join(&name)).is_err() {
            symlink(Path::new(DATA_LINK).join(&name), folder.join(name))?;
        }
    }
    Ok(())
}

/// Reads all files below a folder.
fn read(folder: &Path) -> anyhow::Result<Files> {
    let (mut files, mut folders) = (Files::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                files.insert(name, fs::read(path)?);
            }
        }
    }
    Ok(files)
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
        let field = item.field_ref.as_ref().context("only fieldRef is supported in downward API volumes")?;
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
        bail!("a projected source of a kind that these nodes do not support");
    }
}

/// Requests a token bound to the pod. It is not renewed: by default it is valid for one hour.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_all_files_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let files = |list: &[(&str, &str)]| -> Files {
            list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let first = files(&[("a", "1"), ("b/c", "2")]);
        write(folder.path(), &first).unwrap();
        assert_eq!([text("a"), text("b/c")], ["1", "2"]);
        let opened = fs::File::open(folder.path().join(DATA_LINK).join("a")).unwrap();

        write(folder.path(), &first).unwrap();
        assert_eq!(fs::read_link(folder.path().join(DATA_LINK)).unwrap(), Path::new("..0"));

        write(folder.path(), &files(&[("a", "3"), ("d", "4")])).unwrap();
        assert_eq!([text("a"), text("d"), text("b/c")], ["3", "4", ""]);
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["..1", "..data", "a", "d"]);
        assert_eq!(std::io::read_to_string(opened).unwrap(), "1", "an open file keeps its content");
        assert!(write(folder.path(), &files(&[("../x", "5")])).is_err());
    }
}
