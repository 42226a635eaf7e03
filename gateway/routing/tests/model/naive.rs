//! A second, naive implementation of routing as the oracle of tests: no index, no tree, no state.
//!
//! It scans all objects, oldest first. It uses the canonical forms and `PathMatch`, which have separate tests. The fuzz
//! targets include this file by path.

use std::collections::BTreeSet;

use routing::Config;
use routing::HostName;
use routing::PathMatch;
use routing::object::Ingress;
use routing::object::IngressClass;
use routing::object::IngressClassConfig;
use routing::object::Name;
use routing::object::Object;
use routing::path;

/// The condition, the object and the field path of a Route.
pub(crate) type FoundRoute = (PathMatch, Name, String);

/// The served objects.
pub(crate) struct Model<'a> {
    /// Served Ingresses, oldest first, with the hosts of their rules as the table prints them. `None`: an invalid host.
    served: Vec<(&'a Ingress, Vec<Option<String>>)>,
    /// Served classes with their parameters.
    classes: Vec<(&'a IngressClass, Option<&'a IngressClassConfig>)>,
    /// Served classes without an IngressClass object.
    nameless: Vec<&'a str>,
    /// Owned hosts and their namespaces.
    owners: Vec<(String, BTreeSet<&'a str>)>,
}

/// The host of rules without one, as the table prints it.
const ANY: &str = "(any other host)";

impl<'a> Model<'a> {
    pub(crate) fn new(config: &'a Config, objects: &'a [Object]) -> Self {
        let mut classes = classes(config, objects);
        let configs = classes.iter().filter_map(|(_, parameters)| *parameters);
        let entries = configs.flat_map(|parameters| &parameters.spec.host_ownership);
        let owners = entries.filter_map(|entry| {
            let host = HostName::parse(&entry.host).ok()?;
            Some((host.to_string(), entry.namespaces.iter().map(String::as_str).collect()))
        });
        let owners = owners.collect();
        // A class with an invalid entry serves nothing, but its other entries apply.
        let is_valid = |parameters: &IngressClassConfig| {
            parameters.spec.host_ownership.iter().all(|entry| HostName::parse(&entry.host).is_ok())
        };
        classes.retain(|(_, parameters)| parameters.is_none_or(is_valid));
        let is_object = |name: &str| {
            objects
                .iter()
                .any(|object| matches!(object, Object::IngressClass(class) if *class.name.name == *name))
        };
        let nameless = config.classes.iter().map(String::as_str).filter(|name| !is_object(name)).collect();
        let mut model = Self { served: Vec::new(), owners, nameless, classes };
        let is_terminating = |namespace: &str| {
            objects.iter().any(|object| {
                matches!(object, Object::Namespace(known) if known.terminating && *known.name.name == *namespace)
            })
        };
        for object in objects {
            let Object::Ingress(ingress) = object else { continue };
            if model.admits(ingress) {
                let hosts = ingress.rules.iter().map(|rule| match &rule.host {
                    Some(host) => model.may_name(host, &ingress.name.namespace),
                    None => Some(ANY.to_owned()),
                });
                let hosts = hosts.collect();
                model.served.push((ingress, hosts));
            }
        }
        model.served.sort_by_key(|(ingress, _)| {
            let terminating = ingress.deleting || is_terminating(&ingress.name.namespace);
            (terminating, ingress.created.is_none(), ingress.created, ingress.name.clone())
        });
        model
    }

    fn admits(&self, ingress: &Ingress) -> bool {
        let Some(name) = ingress.class.as_deref().or(ingress.class_annotation.as_deref()) else {
            return false;
        };
        if ingress.annotations.iter().any(|annotation| annotation.key.ends_with("/canary")) {
            return false;
        }
        if self.nameless.contains(&name) {
            return true;
        }
        let class = self.classes.iter().find(|(class, _)| *class.name.name == *name);
        let Some((_, parameters)) = class else { return false };
        let allowed = parameters.and_then(|parameters| parameters.spec.allowed_namespaces.as_ref());
        allowed.is_none_or(|allowed| allowed.iter().any(|namespace| **namespace == *ingress.name.namespace))
    }

    /// Returns the normal form of a host, if it is valid and this namespace may name it.
    fn may_name(&self, host: &str, namespace: &str) -> Option<String> {
        let host = HostName::parse(host).ok()?.to_string();
        let owner = self.owner_of(&host);
        owner.is_none_or(|(_, namespaces)| namespaces.contains(namespace)).then_some(host)
    }

    /// Returns the owners of a host or a wildcard: its own entries, else those of the nearest wildcard above it.
    fn owner_of(&self, host: &str) -> Option<(String, BTreeSet<&'a str>)> {
        let mut name = host.to_owned();
        loop {
            let entries: Vec<_> = self.owners.iter().filter(|(owned, _)| *owned == name).collect();
            if !entries.is_empty() {
                return Some((name, entries.into_iter().flat_map(|(_, names)| names.clone()).collect()));
            }
            let below = name.strip_prefix("*.").unwrap_or(&name);
            name = wildcard(below)?;
        }
    }

    /// Returns the Ingresses that may serve a host. For an owned host, those of its owners.
    fn served_on(&self, host: &str) -> Vec<&(&'a Ingress, Vec<Option<String>>)> {
        let owners = self.owner_of(host);
        let counts = |ingress: &Ingress| {
            owners.as_ref().is_none_or(|(_, namespaces)| namespaces.contains(&*ingress.name.namespace))
        };
        self.served.iter().filter(|(ingress, _)| counts(ingress)).collect()
    }

    /// Returns the host whose rules serve: itself, else the wildcard one label up, else the rules without a host.
    fn serving_host(&self, host: &str) -> Option<String> {
        let served = self.served_on(host);
        let is_named =
            |name: &String| served.iter().any(|(_, hosts)| hosts.iter().flatten().any(|host| host == name));
        let names = [Some(host.to_owned()), wildcard(host), Some(ANY.to_owned())];
        names.into_iter().flatten().find(is_named)
    }

    /// Finds the Route of a request: in the serving host the first matching rule by precedence, age, name and position,
    /// else a default backend.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<FoundRoute> {
        let serving = self.serving_host(host);
        let mut matching = Vec::new();
        for (age, (ingress, hosts)) in self.served_on(host).into_iter().enumerate() {
            for (position, (rule, named)) in ingress.rules.iter().zip(hosts).enumerate() {
                if serving.is_none() || *named != serving {
                    continue;
                }
                for (index, written) in rule.paths.iter().enumerate() {
                    let is_own_type = written.path_type.as_deref() == Some("ImplementationSpecific");
                    let text = if is_own_type && written.path.is_empty() { "/" } else { &*written.path };
                    let Ok(canonical) = path::rule_path(text) else { continue };
                    let condition = match written.path_type.as_deref() {
                        Some("Exact") => PathMatch::exact(&canonical),
                        Some("Prefix" | "ImplementationSpecific") => PathMatch::prefix(&canonical),
                        _ => continue,
                    };
                    if condition.matches(path) {
                        let field = format!("spec.rules[{position}].http.paths[{index}]");
                        matching.push((condition, age, (position, index), ingress.name.clone(), field));
                    }
                }
            }
        }
        let first = matching.into_iter().min();
        first
            .map(|(condition, _, _, name, field)| (condition, name, field))
            .or_else(|| self.default_backend(host, serving.as_deref()))
    }

    /// Returns the first default backend of: the oldest Ingress that names the serving host, the oldest without rules, the
    /// oldest with rules, the oldest class. Of a named host, only the namespaces and classes that name it count.
    fn default_backend(&self, host: &str, serving: Option<&str>) -> Option<FoundRoute> {
        let served = self.served_on(host);
        let having = || served.iter().filter(|(ingress, _)| ingress.default_backend.is_some());
        let names_host = |hosts: &[Option<String>]| {
            serving
                .is_some_and(|serving| serving != ANY && hosts.iter().flatten().any(|host| host == serving))
        };
        let of_host = having().find(|(_, hosts)| names_host(hosts));
        let is_named = serving.is_some_and(|serving| serving != ANY);
        let namers: Vec<&Ingress> =
            served.iter().filter(|(_, hosts)| names_host(hosts)).map(|(ingress, _)| *ingress).collect();
        let is_namer = |ingress: &Ingress| {
            !is_named || namers.iter().any(|namer| namer.name.namespace == ingress.name.namespace)
        };
        let of_all = |is_without_rules: bool| {
            having().find(|(ingress, _)| ingress.rules.is_empty() == is_without_rules && is_namer(ingress))
        };
        if let Some((ingress, _)) = of_host.or_else(|| of_all(true)).or_else(|| of_all(false)) {
            return Some((PathMatch::prefix("/"), ingress.name.clone(), "spec.defaultBackend".to_owned()));
        }
        let classes = self.classes.iter().filter(|(_, parameters)| {
            parameters.is_some_and(|parameters| parameters.spec.default_backend.is_some())
        });
        let mut classes: Vec<&IngressClass> = classes.map(|(class, _)| *class).collect();
        classes.sort_by_key(|class| (class.created.is_none(), class.created, class.name.clone()));
        let class = match is_named {
            false => classes.first()?,
            true => namers.iter().find_map(|namer| {
                let name = namer.class_name()?;
                classes.iter().find(|class| class.name.name == *name)
            })?,
        };
        Some((PathMatch::prefix("/"), class.name.clone(), "spec.parameters".to_owned()))
    }

    /// Returns the Secrets that Ingresses name for a host, best first: for the host, for its wildcard, and without a host
    /// if no rule names either; of Ingresses with a rule for it first, then by age. For an owned host, only those of its
    /// owners.
    pub(crate) fn certificates(&self, host: &str) -> Vec<Name> {
        let served = self.served_on(host);
        let of = |name: &str| {
            let has_rule = |hosts: &[Option<String>]| hosts.iter().flatten().any(|host| host == name);
            let claims = |with_rule: bool| {
                let named = served.iter().filter(move |(_, hosts)| has_rule(hosts) == with_rule);
                named.flat_map(|(ingress, hosts)| self.secrets_of(ingress, hosts, name))
            };
            let mut secrets: Vec<Name> = Vec::new();
            for secret in claims(true).chain(claims(false)) {
                if !secrets.contains(&secret) {
                    secrets.push(secret);
                }
            }
            secrets
        };
        let is_any = self.serving_host(host).is_none_or(|serving| serving == ANY);
        let any = if is_any { of(ANY) } else { Vec::new() };
        of(host)
            .into_iter()
            .chain(wildcard(host).map(|name| of(&name)).unwrap_or_default())
            .chain(any)
            .collect()
    }

    /// Returns the Secrets that an Ingress names for a host. An entry without hosts covers the hosts of the rules that no
    /// other entry names.
    fn secrets_of(&self, ingress: &Ingress, hosts: &[Option<String>], name: &str) -> Vec<Name> {
        let namespace = &ingress.name.namespace;
        let with_secret = || ingress.tls.iter().filter_map(|entry| Some((entry, entry.secret.as_ref()?)));
        let is_of_rules = hosts.iter().flatten().any(|host| host == name);
        let is_of_rules = is_of_rules || (name == ANY && ingress.rules.is_empty());
        let naming = with_secret().filter(|(entry, _)| {
            entry.hosts.iter().any(|host| self.may_name(host, namespace).as_deref() == Some(name))
        });
        let without_hosts = with_secret().filter(|(entry, _)| is_of_rules && entry.hosts.is_empty());
        let naming: Vec<_> = naming.collect();
        let secrets = if naming.is_empty() { without_hosts.collect() } else { naming };
        secrets.into_iter().map(|(_, secret)| Name::new(namespace, secret)).collect()
    }
}

/// Returns the wildcard one label above a name.
fn wildcard(name: &str) -> Option<String> {
    let (_, parent) = name.split_once('.').filter(|(_, parent)| !parent.is_empty())?;
    Some(format!("*.{parent}"))
}

/// Returns the served classes whose parameters exist.
fn classes<'a>(
    config: &Config,
    objects: &'a [Object],
) -> Vec<(&'a IngressClass, Option<&'a IngressClassConfig>)> {
    let mut classes = Vec::new();
    for object in objects {
        let Object::IngressClass(class) = object else { continue };
        let is_named = config.classes.iter().any(|name| **name == *class.name.name);
        if !is_named && *class.controller != *config.controller {
            continue;
        }
        let Some(parameters) = &class.parameters else {
            classes.push((class, None));
            continue;
        };
        let known = objects.iter().find_map(|object| match object {
            Object::IngressClassConfig(known) if known.name.name == parameters.name => Some(known),
            _ => None,
        });
        let is_our_kind = *parameters.group == *api::GROUP && *parameters.kind == *"IngressClassConfig";
        if !is_our_kind && *class.controller != *config.controller {
            // The class is served by name and has the parameters of another controller.
            classes.push((class, None));
            continue;
        }
        if let Some(known) = known.filter(|_| is_our_kind && parameters.namespace.is_none()) {
            classes.push((class, Some(known)));
        }
    }
    classes
}
