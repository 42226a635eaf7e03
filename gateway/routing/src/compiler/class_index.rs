//! Index of IngressClasses and their parameters: which Ingresses are served, and by which settings.
//!
//! Not here: the default class. The API server, or the file source, writes it into the Ingresses.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::ClassBackend;
use api::ExternalNames;
use api::ForeignAnnotations;
use api::Switch;

use super::config::Config;
use super::handler_source;
use super::handler_source::HandlerSettings;
use super::policy_target::TargetError;
use super::precedence::Lifecycle;
use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
use super::reporting::ConfigState;
use super::reporting::Reporting;
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
use crate::table::OwnershipEntry;

const FIELD: &str = "spec.ingressClassName";
const ANNOTATION_FIELD: &str = "metadata.annotations[kubernetes.io/ingress.class]";

/// Maximum number of changed characters at which a controller counts as a misspelling of ours.
const MAX_EDITS: usize = 4;

/// Whether the class of an Ingress serves it.
#[derive(Debug)]
pub(super) enum ClassMatch {
    /// The Ingress belongs to another controller, or to none.
    Foreign,
    /// The Ingress is served.
    Served(Arc<ClassParameters>),
    /// The Ingress is not served because of a mistake.
    Rejected(Box<Problem>),
}

/// The valid parameters of a class.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassParameters {
    pub(super) external_names: ExternalNames,
    pub(super) foreign_annotations: ForeignAnnotations,
    pub(super) default_backend: Option<ClassBackend>,
    /// Secret of hosts for which no Ingress names one.
    pub(super) default_certificate: Option<Arc<Name>>,
    /// Name of the IngressClassConfig. Empty if there is none.
    pub(super) config: Arc<str>,
    /// The reports to the API about its Ingresses.
    pub(super) reporting: Reporting,
    /// The class handler.
    pub(super) handler: Option<Arc<HandlerSettings>>,
    allowed_namespaces: Option<BTreeSet<String>>,
    owned_hosts: Vec<OwnedHost>,
}

/// A host and the namespaces that own it.
#[derive(Clone, Debug, PartialEq)]
struct OwnedHost {
    host: HostName,
    namespaces: Vec<Arc<str>>,
}

/// Why a class is not served, and the part of its parameters that applies nevertheless.
#[derive(Clone, Debug, PartialEq)]
struct ClassFailure {
    problem: Problem,
    /// As in [`ClassParameters`].
    config: Arc<str>,
    /// The valid entries of `hostOwnership`. An invalid entry must not give other hosts to all namespaces.
    owned_hosts: Vec<OwnedHost>,
}

/// Whether the Ingresses of a class are served.
#[derive(Clone, Debug, PartialEq)]
enum ClassStatus {
    /// The class belongs to another controller. The Problem is that of a controller that is nearly ours.
    Foreign(Option<Box<Problem>>),
    /// The parameters are invalid.
    Failed(Box<ClassFailure>),
    /// The class is served.
    Served(Arc<ClassParameters>),
}

/// The known classes, and the Ingresses that name them.
#[derive(Debug)]
pub(super) struct ClassIndex {
    config: Config,
    classes: BTreeMap<Arc<str>, IngressClass>,
    configs: BTreeMap<Arc<str>, IngressClassConfig>,
    statuses: BTreeMap<Arc<str>, ClassStatus>,
    ingresses: BTreeMap<Arc<str>, BTreeSet<Name>>,
}

// ===== impl ClassIndex =====

impl ClassIndex {
    pub(super) fn new(config: &Config) -> Self {
        let taken = Arc::new(ClassParameters::without_config(config.taken_class_status));
        let served = |name: &String| (name.as_str().into(), ClassStatus::Served(Arc::clone(&taken)));
        Self {
            statuses: config.classes.iter().map(served).collect(),
            config: config.clone(),
            classes: BTreeMap::new(),
            configs: BTreeMap::new(),
            ingresses: BTreeMap::new(),
        }
    }

    /// Applies changes. Returns the classes whose status or age changed.
    pub(super) fn update(
        &mut self,
        classes: BTreeMap<Name, Option<IngressClass>>,
        configs: BTreeMap<Name, Option<IngressClassConfig>>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> BTreeSet<Arc<str>> {
        let mut dirty = BTreeSet::new();
        for (Name { name, .. }, config) in configs {
            let users = self.classes.values().filter(|class| refers_to(class, &name));
            dirty.extend(users.map(|class| class.name.name.clone()));
            set(&mut self.configs, name, config);
        }
        let mut changed = BTreeSet::new();
        for (Name { name, .. }, class) in classes {
            let age = |class: Option<&IngressClass>| class.map(|class| class.created);
            if age(self.classes.get(&name)) != age(class.as_ref()) {
                changed.insert(name.clone());
            }
            set(&mut self.classes, name.clone(), class);
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

    /// Determines the status of a class. Returns `None` if there is no such class.
    fn evaluate(&self, name: &Arc<str>) -> Option<ClassStatus> {
        let class = self.classes.get(name);
        if !self.config.serves(name, class.map(|class| &*class.controller)) {
            return class.map(|class| ClassStatus::Foreign(self.misspelling(class).map(Box::new)));
        }
        let has_our_controller = class.is_some_and(|class| *class.controller == *self.config.controller);
        let status = if has_our_controller { Switch::On } else { self.config.taken_class_status };
        let Some(class) = class else {
            return Some(ClassStatus::Served(Arc::new(ClassParameters::without_config(status))));
        };
        let parameters = match &class.parameters {
            None => Ok(ClassParameters::without_config(status)),
            // A class that is served by name (`--class`) keeps the parameters of its own controller. They mean nothing
            // to this gateway, and are no mistake.
            Some(parameters) if !has_our_controller && !has_our_kind(parameters) => {
                Ok(ClassParameters::without_config(status))
            }
            Some(parameters) => self.read_parameters(class, parameters, status),
        };
        Some(match parameters {
            Ok(parameters) => ClassStatus::Served(Arc::new(parameters)),
            Err(failure) => ClassStatus::Failed(failure),
        })
    }

    /// Returns the Problem of a controller that is probably a misspelling of ours.
    fn misspelling(&self, class: &IngressClass) -> Option<Problem> {
        let (named, ours) = (&*class.controller, &*self.config.controller);
        let is_near = strsim::levenshtein(&named.to_lowercase(), ours) <= MAX_EDITS;
        let is_of_our_group = named.split('/').next() == Some(api::GROUP);
        (is_near || is_of_our_group).then(|| Problem {
            object: ObjectRef { kind: Kind::IngressClass, name: class.name.clone() },
            field: "spec.controller".to_owned(),
            reason: Reason::InvalidValue,
            message: format!(
                "\"{}\" is not the controller of this gateway, so the class is not served; did you mean {ours}?",
                named.escape_debug()
            ),
        })
    }

    fn read_parameters(
        &self,
        class: &IngressClass,
        from: &ParametersRef,
        default_status: Switch,
    ) -> Result<ClassParameters, Box<ClassFailure>> {
        let failure = |reason, message| {
            let object = ObjectRef { kind: Kind::IngressClass, name: class.name.clone() };
            let problem = Problem { object, field: "spec.parameters".to_owned(), reason, message };
            Box::new(ClassFailure { problem, config: from.name.clone(), owned_hosts: Vec::new() })
        };
        if !has_our_kind(from) {
            let message = format!(
                "kind {} of group \"{}\" is not supported, so no Ingress of this class is served; refer to an \
                 IngressClassConfig of group {}",
                from.kind.escape_debug(),
                from.group.escape_debug(),
                api::GROUP
            );
            return Err(failure(Reason::InvalidParameters, message));
        }
        if from.namespace.is_some() {
            let message = "IngressClassConfig is a cluster-scoped kind; write \"scope: Cluster\"".to_owned();
            return Err(failure(Reason::InvalidParameters, message));
        }
        let Some(config) = self.configs.get(&from.name) else {
            let message = format!(
                "IngressClassConfig {} does not exist, so no Ingress of this class is served",
                from.name.escape_debug()
            );
            return Err(failure(Reason::ParametersNotFound, message));
        };
        let parameters = ClassParameters::read(config, &self.config.namespace, default_status);
        let mut parameters = parameters.map_err(|invalid| {
            let failure = failure(Reason::InvalidParameters, invalid.message);
            Box::new(ClassFailure { owned_hosts: invalid.owned_hosts, ..*failure })
        })?;
        parameters.handler = handler_source::settings(class, config, &self.config).map(Arc::new);
        Ok(parameters)
    }

    /// Returns the Ingresses that name a class.
    pub(super) fn ingresses_of_class(&self, class: &str) -> Vec<Name> {
        self.ingresses.get(class).into_iter().flatten().cloned().collect()
    }

    /// Returns the Ingresses that name any class.
    pub(super) fn all_ingresses(&self) -> impl Iterator<Item = Name> {
        self.ingresses.values().flatten().cloned()
    }

    /// Returns the owners of hosts by the parameters of all served and failed classes.
    pub(super) fn ownership(&self) -> Ownership {
        let entries = self.statuses.values().flat_map(|status| {
            let (config, owned_hosts) = match status {
                ClassStatus::Served(parameters) => (&parameters.config, &*parameters.owned_hosts),
                ClassStatus::Failed(failure) => (&failure.config, &*failure.owned_hosts),
                ClassStatus::Foreign(_) => return Vec::new(),
            };
            let entry = |owned| ownership_entry(owned, config);
            owned_hosts.iter().map(entry).collect()
        });
        Ownership::new(entries)
    }

    /// Returns why a policy that targets a class has no effect. Returns `None` if the class is served or failed.
    pub(super) fn class_target_error(&self, class: &str) -> Option<TargetError> {
        match self.statuses.get(class) {
            None => Some(TargetError::NotFound),
            Some(ClassStatus::Foreign(_)) => Some(TargetError::NotServed(self.foreign_class_reason(class))),
            Some(ClassStatus::Failed(_) | ClassStatus::Served(_)) => None,
        }
    }

    /// Returns why a policy that targets an Ingress has no effect. Returns `None` if the Ingress is served, or if its
    /// own Problem says why it is not.
    pub(super) fn ingress_target_error(&self, ingress: &Ingress) -> Option<TargetError> {
        match self.match_ingress(ingress) {
            ClassMatch::Foreign => Some(TargetError::NotServed(self.foreign_reason(ingress))),
            ClassMatch::Served(_) | ClassMatch::Rejected(_) => None,
        }
    }

    /// Returns the handlers of the served classes, by class.
    pub(super) fn handlers(&self) -> impl Iterator<Item = &Arc<HandlerSettings>> {
        self.statuses.values().filter_map(|status| match status {
            ClassStatus::Served(parameters) => parameters.handler.as_ref(),
            ClassStatus::Failed(_) | ClassStatus::Foreign(_) => None,
        })
    }

    /// Returns the handler of a class.
    pub(super) fn handler(&self, class: &str) -> Option<&Arc<HandlerSettings>> {
        match self.statuses.get(class)? {
            ClassStatus::Served(parameters) => parameters.handler.as_ref(),
            ClassStatus::Failed(_) | ClassStatus::Foreign(_) => None,
        }
    }

    /// Returns the parameters of the served classes, oldest class first.
    pub(super) fn served_by_age(&self) -> BTreeMap<Precedence, Arc<ClassParameters>> {
        let served = self.statuses.iter().filter_map(|(name, status)| match status {
            ClassStatus::Served(parameters) => Some((name, parameters)),
            ClassStatus::Failed(_) | ClassStatus::Foreign(_) => None,
        });
        let by_age = served.map(|(name, parameters)| {
            let created = self.classes.get(name).and_then(|class| class.created);
            let name = Name { namespace: "".into(), name: name.clone() };
            (Precedence::new(Lifecycle::Active, created, name), Arc::clone(parameters))
        });
        by_age.collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.classes.keys()
    }

    /// Returns the reports about an Ingress. Returns `None` if it belongs to another controller, or to none.
    pub(super) fn reporting(&self, ingress: &Ingress) -> Option<Reporting> {
        match self.match_ingress(ingress) {
            ClassMatch::Foreign => None,
            ClassMatch::Served(parameters) => Some(parameters.reporting),
            ClassMatch::Rejected(_) => Some(Reporting { status: Switch::Off, events: Switch::On }),
        }
    }

    /// Returns the state of each IngressClassConfig that a class of ours names.
    pub(super) fn config_states(&self) -> BTreeMap<Arc<str>, ConfigState> {
        let mut states = BTreeMap::new();
        for status in self.statuses.values() {
            let (config, state) = match status {
                ClassStatus::Served(parameters) => (&parameters.config, ConfigState::Served),
                ClassStatus::Failed(failure) => {
                    (&failure.config, ConfigState::Invalid(failure.problem.message.clone()))
                }
                ClassStatus::Foreign(_) => continue,
            };
            if self.configs.contains_key(config) {
                states.insert(Arc::clone(config), state);
            }
        }
        states
    }

    pub(super) fn add_ingress(&mut self, ingress: &Ingress) {
        if let Some(class) = ingress.class_name() {
            self.ingresses.entry(class.clone()).or_default().insert(ingress.name.clone());
        }
    }

    pub(super) fn remove_ingress(&mut self, ingress: &Ingress) {
        let Some(class) = ingress.class_name() else { return };
        let Some(ingresses) = self.ingresses.get_mut(class) else { return };
        ingresses.remove(&ingress.name);
        if ingresses.is_empty() {
            self.ingresses.remove(class);
        }
    }

    /// Describes why an Ingress is [`ClassMatch::Foreign`], as a clause.
    pub(super) fn foreign_reason(&self, ingress: &Ingress) -> String {
        let class = ingress.class_name();
        class.map_or_else(|| "it names no IngressClass".to_owned(), |class| self.foreign_class_reason(class))
    }

    fn foreign_class_reason(&self, class: &str) -> String {
        match self.classes.get(class) {
            Some(known) => {
                format!("IngressClass {class} belongs to controller {}", known.controller.escape_debug())
            }
            None => format!("IngressClass {} does not exist", class.escape_debug()),
        }
    }

    /// Returns the note about a class annotation that does not mean what it seems to.
    pub(super) fn annotation_note(&self, ingress: &Ingress) -> Option<Problem> {
        let annotation = ingress.class_annotation.as_ref()?;
        let message = match &ingress.class {
            Some(field) if field == annotation => return None,
            Some(field) => match self.statuses.get(field)? {
                ClassStatus::Foreign(_) => return None,
                ClassStatus::Failed(_) | ClassStatus::Served(_) => format!(
                    "it names class {}, but {FIELD} names {field}, which counts; remove the annotation",
                    annotation.escape_debug()
                ),
            },
            None if self.statuses.contains_key(annotation) => return None,
            None => format!(
                "IngressClass {0} does not exist, so this gateway does not serve this Ingress; write {FIELD}, or serve \
                 the class by --class {0}",
                annotation.escape_debug()
            ),
        };
        Some(Problem {
            object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
            field: ANNOTATION_FIELD.to_owned(),
            reason: Reason::ClassUnclear,
            message,
        })
    }

    /// Returns the name of the class that the API server writes into new Ingresses without one.
    pub(super) fn default_class(&self) -> Option<&Arc<str>> {
        self.classes.values().find(|class| class.is_default).map(|class| &class.name.name)
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
            Some(ClassStatus::Served(parameters)) => {
                let namespace = &ingress.name.namespace;
                if parameters.allows_namespace(namespace) {
                    return ClassMatch::Served(Arc::clone(parameters));
                }
                let message = format!(
                    "IngressClass {class} does not allow Ingresses of namespace {namespace}; add it to \
                     spec.allowedNamespaces of IngressClassConfig {}",
                    parameters.config
                );
                rejected(Reason::NamespaceNotAllowed, message)
            }
            Some(ClassStatus::Failed(_)) => rejected(
                Reason::ClassFailed,
                format!(
                    "the parameters of IngressClass {class} are invalid, so none of its Ingresses is served"
                ),
            ),
            Some(ClassStatus::Foreign(_)) => ClassMatch::Foreign,
            // Older controllers serve annotated Ingresses without an IngressClass.
            None if !by_field => ClassMatch::Foreign,
            None => rejected(
                Reason::ClassNotFound,
                format!(
                    "IngressClass {} does not exist, so no controller serves this Ingress",
                    class.escape_debug()
                ),
            ),
        }
    }
}

// ===== impl ClassParameters =====

/// An invalid IngressClassConfig, and its valid entries of `hostOwnership`.
struct InvalidConfig {
    message: String,
    owned_hosts: Vec<OwnedHost>,
}

impl ClassParameters {
    /// Returns the parameters of a class without an IngressClassConfig.
    fn without_config(status: Switch) -> Self {
        Self { reporting: Reporting { status, events: Switch::On }, ..Self::default() }
    }

    fn read(
        config: &IngressClassConfig,
        own_namespace: &str,
        default_status: Switch,
    ) -> Result<Self, InvalidConfig> {
        let spec = &config.spec;
        let secret = |from: &api::ClassSecret| {
            Arc::new(Name::new(from.namespace.as_deref().unwrap_or(own_namespace), &from.name))
        };
        let (mut owned_hosts, mut error) = (Vec::with_capacity(spec.host_ownership.len()), None);
        for (index, entry) in spec.host_ownership.iter().enumerate() {
            match HostName::parse(&entry.host) {
                Ok(host) => {
                    let namespaces = entry.namespaces.iter().map(|name| name.as_str().into()).collect();
                    owned_hosts.push(OwnedHost { host, namespaces });
                }
                Err(cause) => {
                    error.get_or_insert_with(|| {
                        format!(
                            "IngressClassConfig {} spec.hostOwnership[{index}].host: {cause}; no Ingress of this \
                             class is served",
                            config.name
                        )
                    });
                }
            }
        }
        if let Some(message) = error {
            return Err(InvalidConfig { message, owned_hosts });
        }
        Ok(Self {
            external_names: spec.external_names,
            foreign_annotations: spec.foreign_annotations,
            default_backend: spec.default_backend.clone(),
            default_certificate: spec.default_certificate.as_ref().map(secret),
            config: config.name.name.clone(),
            reporting: Reporting {
                status: spec.status.unwrap_or(default_status),
                events: spec.events.unwrap_or_default(),
            },
            handler: None,
            allowed_namespaces: spec.allowed_namespaces.as_ref().map(|list| list.iter().cloned().collect()),
            owned_hosts,
        })
    }

    fn allows_namespace(&self, namespace: &str) -> bool {
        self.allowed_namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }
}

impl ClassStatus {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Failed(failure) => Some(&failure.problem),
            Self::Foreign(problem) => problem.as_deref(),
            Self::Served(_) => None,
        }
    }
}

fn ownership_entry<'a>(owned: &'a OwnedHost, config: &'a Arc<str>) -> OwnershipEntry<'a> {
    OwnershipEntry { host: &owned.host, namespaces: &owned.namespaces, config }
}

fn has_our_kind(parameters: &ParametersRef) -> bool {
    *parameters.group == *api::GROUP && *parameters.kind == *"IngressClassConfig"
}

fn refers_to(class: &IngressClass, config: &str) -> bool {
    class.parameters.as_ref().is_some_and(|parameters| *parameters.name == *config)
}

fn set<T>(map: &mut BTreeMap<Arc<str>, T>, name: Arc<str>, value: Option<T>) {
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
}
