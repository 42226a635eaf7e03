//! IngressClasses and their parameters: which Ingresses are ours, and what holds for all of them.
//!
//! Not here: the default class. Whoever admits objects writes it into them (the API server, or the file source).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::ClassBackend;
use api::ExternalNames;

use super::Config;
use super::policy_index::TargetError;
use super::precedence::Lifecycle;
use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
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
pub(super) enum ClassMatch {
    /// Somebody else's, or nobody's.
    Foreign,
    /// Ours.
    Served(Arc<ClassParameters>),
    /// Not served, and that is a mistake of somebody.
    Rejected(Box<Problem>),
}

/// What the parameters of a class say, in a form that cannot be wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassParameters {
    pub(super) external_names: ExternalNames,
    pub(super) default_backend: Option<ClassBackend>,
    /// The Secret for hosts for which no Ingress names one.
    pub(super) default_certificate: Option<Arc<Name>>,
    /// The name of the IngressClassConfig; empty without one.
    pub(super) config: Arc<str>,
    allowed_namespaces: Option<BTreeSet<String>>,
    owned: Vec<OwnedHost>,
}

/// An owned host and its namespaces.
type OwnedHost = (HostName, Vec<Arc<str>>);

/// Why a class is not served, and what holds of its parameters all the same.
#[derive(Clone, Debug, PartialEq)]
struct ClassFailure {
    problem: Problem,
    /// As in [`ClassParameters`].
    config: Arc<str>,
    /// The entries that can be read. One that cannot must not give away the hosts of the others.
    owned: Vec<OwnedHost>,
}

/// What a class means for its Ingresses.
#[derive(Clone, Debug, PartialEq)]
enum ClassStatus {
    /// Another controller's.
    Foreign,
    /// Ours, but its parameters cannot be used.
    Failed(Box<ClassFailure>),
    /// Ours.
    Served(Arc<ClassParameters>),
}

/// The known classes, and who names them.
#[derive(Debug)]
pub(super) struct ClassIndex {
    config: Config,
    known: BTreeMap<Arc<str>, IngressClass>,
    configs: BTreeMap<Arc<str>, IngressClassConfig>,
    statuses: BTreeMap<Arc<str>, ClassStatus>,
    ingresses: BTreeMap<Arc<str>, BTreeSet<Name>>,
}

// ===== impl Classes =====

impl ClassIndex {
    pub(super) fn new(config: &Config) -> Self {
        let served = |name: &String| (name.as_str().into(), ClassStatus::Served(Arc::default()));
        Self {
            statuses: config.classes.iter().map(served).collect(),
            config: config.clone(),
            known: BTreeMap::new(),
            configs: BTreeMap::new(),
            ingresses: BTreeMap::new(),
        }
    }

    /// Takes changes in and tells the names of the classes that mean something else now.
    pub(super) fn update(
        &mut self,
        classes: BTreeMap<Name, Option<IngressClass>>,
        configs: BTreeMap<Name, Option<IngressClassConfig>>,
        problem_delta: &mut ProblemDeltaBuilder,
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
            let after = self.evaluate(&name);
            if self.statuses.get(&name) == after.as_ref() {
                continue;
            }
            problem_delta.add(after.as_ref().and_then(ClassStatus::problem).cloned());
            let before = self.statuses.remove(&name);
            problem_delta.remove(before.as_ref().and_then(ClassStatus::problem).cloned());
            set(&mut self.statuses, name.clone(), after);
            changed.insert(name);
        }
        changed
    }

    fn evaluate(&self, name: &Arc<str>) -> Option<ClassStatus> {
        let class = self.known.get(name);
        if !self.config.serves(name, class.map(|class| &*class.controller)) {
            return class.map(|_| ClassStatus::Foreign);
        }
        let Some(class) = class else { return Some(ClassStatus::Served(Arc::default())) };
        let is_ours = *class.controller == *self.config.controller;
        let rules = match &class.parameters {
            None => Ok(ClassParameters::default()),
            // A class that is served only because it was asked for keeps the parameters of the controller it was
            // made for. They are that controller's business, and no mistake: ours are the defaults.
            Some(parameters) if !is_ours && !names_our_kind(parameters) => Ok(ClassParameters::default()),
            Some(parameters) => self.read_parameters(class, parameters),
        };
        Some(match rules {
            Ok(rules) => ClassStatus::Served(Arc::new(rules)),
            Err(failure) => ClassStatus::Failed(failure),
        })
    }

    fn read_parameters(
        &self,
        class: &IngressClass,
        from: &ParametersRef,
    ) -> Result<ClassParameters, Box<ClassFailure>> {
        let failed = |reason, message| {
            let object = ObjectRef { kind: Kind::IngressClass, name: class.name.clone() };
            let problem = Problem { object, field: "spec.parameters".to_owned(), reason, message };
            Box::new(ClassFailure { problem, config: from.name.clone(), owned: Vec::new() })
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
        let (rules, unreadable) = ClassParameters::read(config, &self.config.namespace);
        match unreadable {
            None => Ok(rules),
            Some(message) => {
                let failure = failed(Reason::InvalidParameters, message);
                Err(Box::new(ClassFailure { owned: rules.owned, ..*failure }))
            }
        }
    }

    /// The Ingresses that name a class.
    pub(super) fn ingresses_of_class(&self, class: &str) -> Vec<Name> {
        self.ingresses.get(class).into_iter().flatten().cloned().collect()
    }

    /// The Ingresses that name any class.
    pub(super) fn all_ingresses(&self) -> impl Iterator<Item = Name> {
        self.ingresses.values().flatten().cloned()
    }

    /// What all our classes together say about who owns which host. Those that failed go on owning what they can.
    pub(super) fn ownership(&self) -> Ownership {
        let owned = self.statuses.values().flat_map(|status| {
            let (config, owned) = match status {
                ClassStatus::Served(rules) => (&rules.config, &*rules.owned),
                ClassStatus::Failed(failure) => (&failure.config, &*failure.owned),
                ClassStatus::Foreign => return Vec::new(),
            };
            owned.iter().map(|(host, namespaces)| (host, &**namespaces, config)).collect()
        });
        Ownership::new(owned)
    }

    /// Why a policy about a class has no effect; nothing if the class is ours.
    pub(super) fn class_target_error(&self, class: &str) -> Option<TargetError> {
        match self.statuses.get(class) {
            None => Some(TargetError::NotFound),
            Some(ClassStatus::Foreign) => Some(TargetError::NotServed(self.foreign_class_reason(class))),
            Some(ClassStatus::Failed(_) | ClassStatus::Served(_)) => None,
        }
    }

    /// Why a policy about an Ingress has no effect; nothing if the Ingress is ours, or has a Problem of its own that
    /// says why it is not served.
    pub(super) fn ingress_target_error(&self, ingress: &Ingress) -> Option<TargetError> {
        match self.match_ingress(ingress) {
            ClassMatch::Foreign => Some(TargetError::NotServed(self.foreign_reason(ingress))),
            ClassMatch::Served(_) | ClassMatch::Rejected(_) => None,
        }
    }

    /// What our classes say, oldest first.
    pub(super) fn served_by_age(&self) -> BTreeMap<Precedence, Arc<ClassParameters>> {
        let served = self.statuses.iter().filter_map(|(name, status)| match status {
            ClassStatus::Served(rules) => Some((name, rules)),
            ClassStatus::Failed(_) | ClassStatus::Foreign => None,
        });
        served
            .map(|(name, rules)| {
                let created = self.known.get(name).and_then(|class| class.created);
                let name = Name { namespace: "".into(), name: name.clone() };
                (Precedence::new(Lifecycle::Active, created, name), Arc::clone(rules))
            })
            .collect()
    }

    pub(super) fn add_ingress(&mut self, ingress: &Ingress) {
        if let Some(class) = ingress.class_name() {
            self.ingresses.entry(class.clone()).or_default().insert(ingress.name.clone());
        }
    }

    pub(super) fn remove_ingress(&mut self, ingress: &Ingress) {
        let Some(class) = ingress.class_name() else { return };
        let Some(users) = self.ingresses.get_mut(class) else { return };
        users.remove(&ingress.name);
        if users.is_empty() {
            self.ingresses.remove(class);
        }
    }

    /// Why an Ingress is somebody else's, for people.
    pub(super) fn foreign_reason(&self, ingress: &Ingress) -> String {
        ingress
            .class_name()
            .map_or_else(|| "it names no class".to_owned(), |class| self.foreign_class_reason(class))
    }

    fn foreign_class_reason(&self, class: &str) -> String {
        match self.known.get(class) {
            Some(known) => {
                format!("IngressClass {class} belongs to controller {}", known.controller.escape_debug())
            }
            None => format!("there is no IngressClass {}", class.escape_debug()),
        }
    }

    pub(super) fn match_ingress(&self, ingress: &Ingress) -> ClassMatch {
        let Some(class) = ingress.class_name() else { return ClassMatch::Foreign };
        let by_field = ingress.class.is_some();
        let rejected = |reason, message| {
            ClassMatch::Rejected(Box::new(Problem {
                object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
                field: if by_field { FIELD } else { ANNOTATION_FIELD }.to_owned(),
                reason,
                message,
            }))
        };
        match self.statuses.get(class) {
            Some(ClassStatus::Served(rules)) if rules.allows_namespace(&ingress.name.namespace) => {
                ClassMatch::Served(Arc::clone(rules))
            }
            Some(ClassStatus::Served(_)) => rejected(
                Reason::NamespaceNotAllowed,
                format!("IngressClass {class} takes no Ingresses of namespace {}", ingress.name.namespace),
            ),
            Some(ClassStatus::Failed(_)) => rejected(
                Reason::ClassFailed,
                format!("the parameters of IngressClass {class} cannot be used, so nothing of it is served"),
            ),
            Some(ClassStatus::Foreign) => ClassMatch::Foreign,
            // Controllers of old serve annotated Ingresses without any IngressClass.
            None if !by_field => ClassMatch::Foreign,
            None => rejected(
                Reason::ClassNotFound,
                format!("there is no IngressClass {}, so no controller serves this", class.escape_debug()),
            ),
        }
    }
}

// ===== impl ClassParameters =====

impl ClassParameters {
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

    fn allows_namespace(&self, namespace: &str) -> bool {
        self.allowed_namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }
}

impl ClassStatus {
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
