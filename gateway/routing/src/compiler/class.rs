//! IngressClasses and their parameters: which Ingresses are ours, and what holds for all of them.
//!
//! Not here: the default class. Whoever admits objects writes it into them (the API server, or the file source).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::ClassBackend;
use api::ExternalNames;

use super::Config;
use super::ledger::Ledger;
use super::policy::Lack;
use super::seniority::Presence;
use super::seniority::Seniority;
use crate::host::HostName;
use crate::object::Ingress;
use crate::object::IngressClass;
use crate::object::IngressClassConfig;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::ParametersRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Ownership;

const FIELD: &str = "spec.ingressClassName";
const ANNOTATION_FIELD: &str = "metadata.annotations[kubernetes.io/ingress.class]";

/// Whether we serve an Ingress.
#[derive(Debug)]
pub(super) enum Admission {
    /// Somebody else's, or nobody's.
    NotOurs,
    /// Ours.
    Ours(Arc<ClassRules>),
    /// Not served, and that is a mistake of somebody.
    Refused(Box<Problem>),
}

/// What the parameters of a class say, in a form that cannot be wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassRules {
    pub(super) external_names: ExternalNames,
    pub(super) default_backend: Option<ClassBackend>,
    /// The Secret for hosts for which no Ingress names one.
    pub(super) default_certificate: Option<Arc<Name>>,
    /// The name of the IngressClassConfig; empty without one.
    pub(super) config: Arc<str>,
    allowed_namespaces: Option<BTreeSet<String>>,
    owned: Vec<Owned>,
}

/// An owned host and its namespaces.
type Owned = (HostName, Vec<Arc<str>>);

/// Why a class is not served, and what holds of its parameters all the same.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    problem: Problem,
    /// As in [`ClassRules`].
    config: Arc<str>,
    /// The entries that can be read. One that cannot must not give away the hosts of the others.
    owned: Vec<Owned>,
}

/// What a class means for its Ingresses.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    /// Another controller's.
    Foreign,
    /// Ours, but its parameters cannot be used.
    Failed(Box<Failure>),
    /// Ours.
    Served(Arc<ClassRules>),
}

/// The known classes, and who names them.
#[derive(Debug)]
pub(super) struct Classes {
    config: Config,
    known: BTreeMap<Arc<str>, IngressClass>,
    configs: BTreeMap<Arc<str>, IngressClassConfig>,
    standings: BTreeMap<Arc<str>, Standing>,
    users: BTreeMap<Arc<str>, BTreeSet<Name>>,
}

// ===== impl Classes =====

impl Classes {
    pub(super) fn new(config: &Config) -> Self {
        let served = |name: &String| (name.as_str().into(), Standing::Served(Arc::default()));
        Self {
            standings: config.classes.iter().map(served).collect(),
            config: config.clone(),
            known: BTreeMap::new(),
            configs: BTreeMap::new(),
            users: BTreeMap::new(),
        }
    }

    /// Takes changes in and tells the names of the classes that mean something else now.
    pub(super) fn update(
        &mut self,
        classes: BTreeMap<Name, Option<IngressClass>>,
        configs: BTreeMap<Name, Option<IngressClassConfig>>,
        ledger: &mut Ledger,
    ) -> BTreeSet<Arc<str>> {
        let mut dirty = BTreeSet::new();
        for (Name { name, .. }, config) in configs {
            let users = self.known.values().filter(|class| names_config(class, &name));
            dirty.extend(users.map(|class| class.name.name.clone()));
            set(&mut self.configs, name, config);
        }
        let mut changed = BTreeSet::new();
        for (Name { name, .. }, class) in classes {
            let age = |class: Option<&IngressClass>| class.map(|class| class.created);
            if age(self.known.get(&name)) != age(class.as_ref()) {
                changed.insert(name.clone());
            }
            set(&mut self.known, name.clone(), class);
            dirty.insert(name);
        }
        for name in dirty {
            let after = self.judge(&name);
            if self.standings.get(&name) == after.as_ref() {
                continue;
            }
            ledger.add(after.as_ref().and_then(Standing::problem).cloned());
            let before = self.standings.remove(&name);
            ledger.remove(before.as_ref().and_then(Standing::problem).cloned());
            set(&mut self.standings, name.clone(), after);
            changed.insert(name);
        }
        changed
    }

    fn judge(&self, name: &Arc<str>) -> Option<Standing> {
        let class = self.known.get(name);
        if !self.config.serves(name, class.map(|class| &*class.controller)) {
            return class.map(|_| Standing::Foreign);
        }
        let Some(class) = class else { return Some(Standing::Served(Arc::default())) };
        let is_ours = *class.controller == *self.config.controller;
        let rules = match &class.parameters {
            None => Ok(ClassRules::default()),
            // A class that is served only because it was asked for keeps the parameters of the controller it was
            // made for. They are that controller's business, and no mistake: ours are the defaults.
            Some(parameters) if !is_ours && !names_our_kind(parameters) => Ok(ClassRules::default()),
            Some(parameters) => self.rules(class, parameters),
        };
        Some(match rules {
            Ok(rules) => Standing::Served(Arc::new(rules)),
            Err(failure) => Standing::Failed(failure),
        })
    }

    fn rules(&self, class: &IngressClass, from: &ParametersRef) -> Result<ClassRules, Box<Failure>> {
        let failed = |reason, message| {
            let object = ObjectRef { kind: Kind::IngressClass, name: class.name.clone() };
            let problem = Problem { object, field: "spec.parameters".to_owned(), reason, message };
            Box::new(Failure { problem, config: from.name.clone(), owned: Vec::new() })
        };
        if !names_our_kind(from) {
            let message = format!(
                "{} of group \"{}\" is not known; only IngressClassConfig of group {} is, so no Ingress of this \
                 class is served",
                from.kind.escape_debug(),
                from.group.escape_debug(),
                api::GROUP
            );
            return Err(failed(Reason::InvalidParameters, message));
        }
        if from.namespace.is_some() {
            let message = "an IngressClassConfig has no namespace; write \"scope: Cluster\"".to_owned();
            return Err(failed(Reason::InvalidParameters, message));
        }
        let Some(config) = self.configs.get(&from.name) else {
            let message = format!(
                "there is no IngressClassConfig {}, so no Ingress of this class is served",
                from.name.escape_debug()
            );
            return Err(failed(Reason::ParametersNotFound, message));
        };
        let (rules, unreadable) = ClassRules::read(config, &self.config.namespace);
        match unreadable {
            None => Ok(rules),
            Some(message) => {
                let failure = failed(Reason::InvalidParameters, message);
                Err(Box::new(Failure { owned: rules.owned, ..*failure }))
            }
        }
    }

    /// The Ingresses that name a class.
    pub(super) fn users(&self, class: &str) -> Vec<Name> {
        self.users.get(class).into_iter().flatten().cloned().collect()
    }

    /// The Ingresses that name any class.
    pub(super) fn all_users(&self) -> impl Iterator<Item = Name> {
        self.users.values().flatten().cloned()
    }

    /// What all our classes together say about who owns which host. Those that failed go on owning what they can.
    pub(super) fn ownership(&self) -> Ownership {
        let owned = self.standings.values().flat_map(|standing| {
            let (config, owned) = match standing {
                Standing::Served(rules) => (&rules.config, &*rules.owned),
                Standing::Failed(failure) => (&failure.config, &*failure.owned),
                Standing::Foreign => return Vec::new(),
            };
            owned.iter().map(|(host, namespaces)| (host, &**namespaces, config)).collect()
        });
        Ownership::new(owned)
    }

    /// Why a policy about a class has no effect; nothing if the class is ours.
    pub(super) fn lack(&self, class: &str) -> Option<Lack> {
        match self.standings.get(class) {
            None => Some(Lack::Absent),
            Some(Standing::Foreign) => Some(Lack::Foreign(self.whose_class(class))),
            Some(Standing::Failed(_) | Standing::Served(_)) => None,
        }
    }

    /// Why a policy about an Ingress has no effect; nothing if the Ingress is ours, or has a Problem of its own that
    /// says why it is not served.
    pub(super) fn lack_of(&self, ingress: &Ingress) -> Option<Lack> {
        match self.admission(ingress) {
            Admission::NotOurs => Some(Lack::Foreign(self.whose(ingress))),
            Admission::Ours(_) | Admission::Refused(_) => None,
        }
    }

    /// What our classes say, oldest first.
    pub(super) fn by_age(&self) -> BTreeMap<Seniority, Arc<ClassRules>> {
        let served = self.standings.iter().filter_map(|(name, standing)| match standing {
            Standing::Served(rules) => Some((name, rules)),
            Standing::Failed(_) | Standing::Foreign => None,
        });
        served
            .map(|(name, rules)| {
                let created = self.known.get(name).and_then(|class| class.created);
                let name = Name { namespace: "".into(), name: name.clone() };
                (Seniority::new(Presence::Live, created, name), Arc::clone(rules))
            })
            .collect()
    }

    pub(super) fn join(&mut self, ingress: &Ingress) {
        if let Some(class) = ingress.class_name() {
            self.users.entry(class.clone()).or_default().insert(ingress.name.clone());
        }
    }

    pub(super) fn leave(&mut self, ingress: &Ingress) {
        let Some(class) = ingress.class_name() else { return };
        let Some(users) = self.users.get_mut(class) else { return };
        users.remove(&ingress.name);
        if users.is_empty() {
            self.users.remove(class);
        }
    }

    /// Why an Ingress is somebody else's, for people.
    pub(super) fn whose(&self, ingress: &Ingress) -> String {
        ingress.class_name().map_or_else(|| "it names no class".to_owned(), |class| self.whose_class(class))
    }

    fn whose_class(&self, class: &str) -> String {
        match self.known.get(class) {
            Some(known) => {
                format!("IngressClass {class} belongs to controller {}", known.controller.escape_debug())
            }
            None => format!("there is no IngressClass {}", class.escape_debug()),
        }
    }

    pub(super) fn admission(&self, ingress: &Ingress) -> Admission {
        let Some(class) = ingress.class_name() else { return Admission::NotOurs };
        let by_field = ingress.class.is_some();
        let refused = |reason, message| {
            Admission::Refused(Box::new(Problem {
                object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
                field: if by_field { FIELD } else { ANNOTATION_FIELD }.to_owned(),
                reason,
                message,
            }))
        };
        match self.standings.get(class) {
            Some(Standing::Served(rules)) if rules.takes(&ingress.name.namespace) => {
                Admission::Ours(Arc::clone(rules))
            }
            Some(Standing::Served(_)) => refused(
                Reason::NamespaceNotAllowed,
                format!("IngressClass {class} takes no Ingresses of namespace {}", ingress.name.namespace),
            ),
            Some(Standing::Failed(_)) => refused(
                Reason::ClassFailed,
                format!("the parameters of IngressClass {class} cannot be used, so nothing of it is served"),
            ),
            Some(Standing::Foreign) => Admission::NotOurs,
            // Controllers of old serve annotated Ingresses without any IngressClass.
            None if !by_field => Admission::NotOurs,
            None => refused(
                Reason::ClassNotFound,
                format!("there is no IngressClass {}, so no controller serves this", class.escape_debug()),
            ),
        }
    }
}

// ===== impl ClassRules =====

impl ClassRules {
    /// Takes in what can be read, and says what cannot.
    fn read(config: &IngressClassConfig, own_namespace: &str) -> (Self, Option<String>) {
        let spec = &config.spec;
        let secret = |from: &api::ClassSecret| {
            Arc::new(Name::new(from.namespace.as_deref().unwrap_or(own_namespace), &from.name))
        };
        let (mut owned, mut unreadable) = (Vec::with_capacity(spec.host_ownership.len()), None);
        for (index, entry) in spec.host_ownership.iter().enumerate() {
            match HostName::parse(&entry.host) {
                Ok(host) => {
                    owned.push((host, entry.namespaces.iter().map(|name| name.as_str().into()).collect()));
                }
                Err(error) => {
                    unreadable.get_or_insert_with(|| {
                        let config = &config.name;
                        format!("IngressClassConfig {config} spec.hostOwnership[{index}].host: {error}")
                    });
                }
            }
        }
        let rules = Self {
            external_names: spec.external_names,
            default_backend: spec.default_backend.clone(),
            default_certificate: spec.default_certificate.as_ref().map(secret),
            config: config.name.name.clone(),
            allowed_namespaces: spec.allowed_namespaces.as_ref().map(|list| list.iter().cloned().collect()),
            owned,
        };
        (rules, unreadable)
    }

    fn takes(&self, namespace: &str) -> bool {
        self.allowed_namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }
}

impl Standing {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Failed(failure) => Some(&failure.problem),
            Self::Foreign | Self::Served(_) => None,
        }
    }
}

fn names_our_kind(parameters: &ParametersRef) -> bool {
    *parameters.group == *api::GROUP && *parameters.kind == *"IngressClassConfig"
}

fn names_config(class: &IngressClass, config: &str) -> bool {
    class.parameters.as_ref().is_some_and(|parameters| *parameters.name == *config)
}

fn set<T>(map: &mut BTreeMap<Arc<str>, T>, name: Arc<str>, value: Option<T>) {
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
}
