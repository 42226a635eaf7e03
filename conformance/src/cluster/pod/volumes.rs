//! Volumes of a pod, as folders. `root` mounts them into containers.

use std::collections::BTreeMap;
use std::fs;
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

/// Creates the folder of a volume below `folder`.
///
/// # Errors
/// An object that the volume needs does not exist yet, or the kind of volume is not supported.
///
/// # Cancellation
/// Dropping the future may leave an incomplete folder. A second call completes it.
pub(super) async fn create(context: &PodContext<'_>, volume: &Volume, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join(&volume.name);
    let files = if volume.empty_dir.is_some() {
        fs::create_dir_all(&folder)?;
        // Containers may run as any user.
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
        bail!("volume {:?} is of a kind that these nodes do not support", volume.name);
    };
    write(&folder, &files)
}

fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in files {
        let path = root::join(folder, name)?;
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    Ok(())
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
