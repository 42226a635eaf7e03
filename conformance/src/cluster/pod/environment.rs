//! Environment of a container: values, downward API, ConfigMaps, Secrets, and `$(NAME)` references.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret,
};
use kube::{Api, Client, ResourceExt as _};

use super::location::PodLocation;
use super::root::PATH;
use crate::cluster::image::ImageContent;
use crate::cluster::layout::{API_PORT, HOST_ADDRESS};

/// Inputs of environment and volumes.
pub(super) struct PodContext<'a> {
    pub(super) client: &'a Client,
    pub(super) pod: &'a Pod,
    pub(super) location: &'a PodLocation,
}

/// Returns the environment of a container.
///
/// # Errors
/// A ConfigMap, Secret, key or field is missing and not optional.
///
/// # Cancellation
/// Dropping the future has no effect.
pub(super) async fn build(
    context: &PodContext<'_>,
    container: &Container,
    image: &ImageContent,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::from(
        [
            ("PATH", PATH.to_owned()),
            ("HOSTNAME", context.pod.name_any()),
            ("KUBERNETES_SERVICE_HOST", HOST_ADDRESS.to_string()),
            ("KUBERNETES_SERVICE_PORT", API_PORT.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let of_image = image.environment.iter().filter_map(|variable| variable.split_once('='));
    environment.extend(of_image.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let values = if let Some(reference) = &source.config_map_ref {
            context.config_map(&reference.name, reference.optional).await?
        } else if let Some(reference) = &source.secret_ref {
            context.secret(&reference.name, reference.optional).await?
        } else {
            continue;
        };
        for (name, value) in values {
            environment.insert(format!("{prefix}{name}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &environment)),
            (None, Some(source)) => context
                .value_from(source, container)
                .await
                .with_context(|| format!("environment variable {}", variable.name))?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            environment.insert(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

/// Replaces `$(NAME)` by its value if the variable exists, and `$$` by a dollar sign.
pub(super) fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((value, after)) = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
            .and_then(|(name, after)| Some((environment.get(name)?, after)))
        {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded + rest
}

impl PodContext<'_> {
    /// Returns the data of a ConfigMap. Empty if it is optional and missing.
    ///
    /// # Errors
    /// The ConfigMap is missing and not optional, or the request fails.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub(super) async fn config_map(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let found =
            Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace()).get_opt(name).await?;
        match found {
            Some(map) => {
                let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
                let bytes = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
                Ok(text.chain(bytes).collect())
            }
            None if optional == Some(true) => Ok(BTreeMap::new()),
            None => bail!("configmap {name:?} not found"),
        }
    }

    /// Returns the data of a Secret. Empty if it is optional and missing.
    ///
    /// # Errors
    /// The Secret is missing and not optional, or the request fails.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub(super) async fn secret(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let found = Api::<Secret>::namespaced(self.client.clone(), &self.namespace()).get_opt(name).await?;
        match found {
            Some(secret) => {
                Ok(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect())
            }
            None if optional == Some(true) => Ok(BTreeMap::new()),
            None => bail!("secret {name:?} not found"),
        }
    }

    /// Returns the pod's namespace.
    pub(super) fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    async fn value_from(
        &self,
        source: &EnvVarSource,
        container: &Container,
    ) -> anyhow::Result<Option<String>> {
        if let Some(field) = &source.field_ref {
            return self.field(field).map(Some);
        }
        if let Some(resource) = &source.resource_field_ref {
            return Ok(Some(resource_value(resource, container)));
        }
        let (values, key, optional) = if let Some(reference) = &source.config_map_key_ref {
            (self.config_map(&reference.name, reference.optional).await?, &reference.key, reference.optional)
        } else if let Some(reference) = &source.secret_key_ref {
            (self.secret(&reference.name, reference.optional).await?, &reference.key, reference.optional)
        } else {
            bail!("a source of a kind that these nodes do not support");
        };
        match values.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional == Some(true) => Ok(None),
            None => bail!("key {key:?} not found"),
        }
    }

    /// Returns a field of the pod by its downward API path.
    ///
    /// # Errors
    /// The downward API has no such path.
    pub(super) fn field(&self, field: &ObjectFieldSelector) -> anyhow::Result<String> {
        let pod = self.pod;
        let path = field.field_path.as_str();
        let map_entry = |prefix: &str, values: &BTreeMap<String, String>| {
            let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
            Some(values.get(key).cloned().unwrap_or_default())
        };
        Ok(match path {
            "metadata.name" => pod.name_any(),
            "metadata.namespace" => self.namespace(),
            "metadata.uid" => pod.uid().unwrap_or_default(),
            "spec.nodeName" => self.location.node.clone(),
            "spec.serviceAccountName" => {
                pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
            }
            "status.podIP" | "status.podIPs" => self.location.address.to_string(),
            "status.hostIP" | "status.hostIPs" => self.location.host.to_string(),
            "metadata.labels" => format_map(pod.labels()),
            "metadata.annotations" => format_map(pod.annotations()),
            _ => map_entry("metadata.labels", pod.labels())
                .or_else(|| map_entry("metadata.annotations", pod.annotations()))
                .with_context(|| format!("the downward API has no field {path:?}"))?,
        })
    }
}

/// Formats labels or annotations, one a line, as in downward API files.
fn format_map(values: &BTreeMap<String, String>) -> String {
    values.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect()
}

/// Returns a limit or request, divided and rounded up. Defaults to 2 CPUs or 4 GiB.
fn resource_value(selector: &ResourceFieldSelector, container: &Container) -> String {
    let (of, name) = selector.resource.split_once('.').unwrap_or(("", &selector.resource));
    let resources = container.resources.as_ref();
    let stated = match of {
        "limits" => resources.and_then(|all| all.limits.as_ref()),
        _ => resources.and_then(|all| all.requests.as_ref()),
    };
    let quantity = stated.and_then(|stated| stated.get(name)).map(|quantity| quantity.0.as_str());
    let value =
        quantity.and_then(parse_quantity).unwrap_or(if name == "cpu" { 2.0 } else { 4.0 * 1024f64.powi(3) });
    let divisor =
        selector.divisor.as_ref().and_then(|divisor| parse_quantity(&divisor.0)).filter(|by| *by > 0.0);
    format!("{}", (value / divisor.unwrap_or(1.0)).ceil())
}

/// Parses a Kubernetes quantity.
fn parse_quantity(quantity: &str) -> Option<f64> {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (digits, unit) = quantity.split_at(end);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expand_replaces_known_references_only() {
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &environment), expected, "{text}");
        }
    }

    #[test]
    fn parse_quantity_understands_units() {
        for (text, expected) in [("250m", 0.25), ("2", 2.0), ("64Mi", 67_108_864.0), ("1.5G", 1.5e9)] {
            assert_eq!(parse_quantity(text), Some(expected), "{text}");
        }
        assert_eq!(parse_quantity("12Q"), None);
    }
}
