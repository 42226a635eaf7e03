//! Divides the output of a call into the parts of its Ingresses, and checks what each part may refer to.

use std::collections::BTreeMap;

use api::TargetKind;
use api::TargetRef;
use api::class_handler::ClassInput;
use api::class_handler::ClassOutput;
use api::class_handler::EmittedItem;
use api::class_handler::EmittedMetadata;
use api::class_handler::Requirement;
use api::class_handler::RequirementKind;
use api::class_handler::SOURCE_INGRESS_ANNOTATION;

use super::HandlerTranslation;
use crate::host::HostName;
use crate::object::Name;

/// Why the output of a call is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// An item has no source.
    #[error("{0} has no annotation {SOURCE_INGRESS_ANNOTATION}")]
    NoSource(String),
    /// An item, a result or a requirement is about an Ingress or a namespace that the call is not about.
    #[error("{what} is of {found}, which the call is not about")]
    Foreign {
        /// The part of the output.
        what: String,
        /// The Ingress or namespace.
        found: String,
    },
    /// A policy targets something else than its source.
    #[error("{0} has a target that is not its source Ingress on the host of the call")]
    Target(String),
    /// A host of a route is no DNS name.
    #[error("{what} has the host \"{host}\": {error}")]
    Host {
        /// The route.
        what: String,
        /// The host.
        host: String,
        /// Why it is invalid.
        error: crate::host::HostError,
    },
    /// The handler requires an object. No objects beside Ingresses and Services are read for handlers yet.
    #[error("it requires {0:?} {1}/{2}, and requirements are not supported yet")]
    Requirement(RequirementKind, String, String),
    /// A kind of item is in another API version.
    #[error("{what} has apiVersion {found}; write {expected}")]
    Version {
        /// The item.
        what: String,
        /// The version found.
        found: String,
        /// The version that is read.
        expected: String,
    },
}

/// Divides the output of a call. Each Ingress of the input gets its part, which may be empty.
///
/// # Errors
/// The first [`SplitError`] of the output. Nothing of such an output is used.
pub fn split(
    input: &ClassInput,
    output: ClassOutput,
) -> Result<BTreeMap<Name, HandlerTranslation>, SplitError> {
    if let Some(Requirement { kind, namespace, name }) = output.requirements.into_iter().next() {
        return Err(SplitError::Requirement(kind, namespace, name));
    }
    let names = input.ingresses().map(|ingress| name(&ingress.metadata.namespace, &ingress.metadata.name));
    let mut parts: BTreeMap<Name, HandlerTranslation> = names.map(|name| (name, <_>::default())).collect();
    for item in output.items {
        match item {
            EmittedItem::HttpRoute(route) => {
                let what = format!("HTTPRoute {}/{}", route.metadata.namespace, route.metadata.name);
                check_version(&what, &route.api_version, "gateway.networking.k8s.io/v1")?;
                check_hosts(&what, &route.spec.hostnames)?;
                source(&mut parts, &route.metadata, what)?.routes.push(route);
            }
            EmittedItem::RoutePolicy(policy) => {
                let what = format!("RoutePolicy {}/{}", policy.metadata.namespace, policy.metadata.name);
                check_version(&what, &policy.api_version, &format!("{}/{}", api::GROUP, api::VERSION))?;
                let host = input.function_config.host.as_deref();
                let part = source(&mut parts, &policy.metadata, what.clone())?;
                let ingress = policy.metadata.source_ingress().unwrap_or_default();
                if !policy.spec.target_refs.iter().all(|target| is_source(target, ingress, host)) {
                    return Err(SplitError::Target(what));
                }
                part.policies.push(*policy);
            }
        }
    }
    for result in output.results {
        let key = name(&result.ingress.namespace, &result.ingress.name);
        let part = parts.get_mut(&key).ok_or_else(|| SplitError::Foreign {
            what: format!("the result about {}", result.annotation.as_deref().unwrap_or("a path")),
            found: format!("Ingress {key}"),
        })?;
        part.results.push(result);
    }
    Ok(parts)
}

fn name(namespace: &str, name: &str) -> Name {
    Name::new(namespace, name)
}

/// Returns the part of an item's source.
fn source<'a>(
    parts: &'a mut BTreeMap<Name, HandlerTranslation>,
    metadata: &EmittedMetadata,
    what: String,
) -> Result<&'a mut HandlerTranslation, SplitError> {
    let Some(ingress) = metadata.source_ingress() else { return Err(SplitError::NoSource(what)) };
    let key = name(&metadata.namespace, ingress);
    parts.get_mut(&key).ok_or_else(|| SplitError::Foreign { what, found: format!("Ingress {key}") })
}

fn is_source(target: &TargetRef, ingress: &str, host: Option<&str>) -> bool {
    let is_of_host = target.host.is_none() || target.host.as_deref() == host;
    target.kind == TargetKind::Ingress && target.name == ingress && is_of_host
}

fn check_version(what: &str, found: &str, expected: &str) -> Result<(), SplitError> {
    if found == expected {
        return Ok(());
    }
    let (what, found, expected) = (what.to_owned(), found.to_owned(), expected.to_owned());
    Err(SplitError::Version { what, found, expected })
}

fn check_hosts(what: &str, hosts: &[String]) -> Result<(), SplitError> {
    for host in hosts {
        HostName::parse(host).map_err(|error| SplitError::Host {
            what: what.to_owned(),
            host: host.clone(),
            error,
        })?;
    }
    Ok(())
}
