//! What each publication changed, for the reports to the API.
//!
//! Sending never waits. Not here: the reports themselves (`control::status`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use routing::object::{Name, ObjectRef, Service};
use routing::table::PluginName;
use routing::{Compiler, ConfigState, Problem, Reporting};
use tokio::sync::mpsc;

use super::problems::{ProblemChanges, Problems};
use crate::control::source::identity::Identity;

/// What changed since the message before.
#[derive(Debug, Default)]
pub struct Published {
    /// Whether it is the first message, which holds everything.
    pub is_first: bool,
    /// Generation of the table that is live.
    pub generation: u64,
    /// Changed identities; `None` if the object was deleted.
    pub identities: Vec<(ObjectRef, Option<Identity>)>,
    /// Ingresses that were compiled; `None` if the Ingress was deleted or belongs to another controller.
    pub ingresses: Vec<(Name, Option<Reporting>)>,
    /// The IngressClassConfigs that a class of ours names, if they changed.
    pub configs: Option<BTreeMap<Arc<str>, ConfigState>>,
    /// Plugins whose newest version was loaded or refused.
    pub plugins: Vec<PluginName>,
    /// The Service that exposes the gateway, if it changed; the inner `None` if it does not exist.
    pub service: Option<Option<ExposingService>>,
    /// New Problems.
    pub added: BTreeSet<Problem>,
    /// Problems that were mended.
    pub removed: BTreeSet<Problem>,
}

/// A change of the Problems that writing reports finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportProblems {
    /// Problems that no longer exist.
    pub removed: Vec<Problem>,
    /// Problems that exist now.
    pub added: Vec<Problem>,
}

/// The addresses of the Service that exposes the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExposingService {
    /// `spec.type`.
    pub service_type: Arc<str>,
    /// `spec.externalName`.
    pub external_name: Option<Arc<str>>,
    /// IP addresses and host names of `status.loadBalancer.ingress`.
    pub load_balancer: Vec<Arc<str>>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
}

impl From<&Service> for ExposingService {
    fn from(from: &Service) -> Self {
        let external = from.external_addresses.as_deref();
        Self {
            service_type: Arc::clone(&from.service_type),
            external_name: from.external_name.clone(),
            load_balancer: external.map(|external| external.load_balancer.clone()).unwrap_or_default(),
            external_ips: external.map(|external| external.external_ips.clone()).unwrap_or_default(),
            cluster_ips: from.cluster_ips.to_vec(),
        }
    }
}

/// The channels between a Reload and the task that writes reports.
#[derive(Debug)]
pub struct ReportChannels {
    /// To the task. A closed channel is ignored.
    pub published: mpsc::UnboundedSender<Published>,
    /// From the task. Closed when it ends.
    pub problems: mpsc::Receiver<ReportProblems>,
    /// The Service that exposes the gateway.
    pub service: Option<Name>,
}

/// Collects what changed until the next message.
#[derive(Debug)]
pub(super) struct Reporter {
    channel: mpsc::UnboundedSender<Published>,
    service: Option<Name>,
    pending: Published,
    state: ReporterState,
    /// As in the last message; `None` before the first.
    known_service: Option<Option<ExposingService>>,
    known_configs: BTreeMap<Arc<str>, ConfigState>,
}

/// How far a [`Reporter`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReporterState {
    /// No objects were compiled.
    Empty,
    /// The next message is the first.
    First,
    /// Messages hold changes.
    Changes,
}

impl Reporter {
    pub(super) fn new(channel: mpsc::UnboundedSender<Published>, service: Option<Name>) -> Self {
        let (pending, known_configs) = (Published::default(), BTreeMap::new());
        Self { channel, service, pending, state: ReporterState::Empty, known_service: None, known_configs }
    }

    /// Adds the identities of an update.
    pub(super) fn add_identities(&mut self, identities: Vec<(ObjectRef, Option<Identity>)>) {
        self.pending.identities.extend(identities);
    }

    /// Adds a plugin that was loaded or refused.
    pub(super) fn add_plugin(&mut self, plugin: PluginName) {
        self.pending.plugins.push(plugin);
    }

    /// Adds what a compilation changed. The cost depends on the number of changes and of classes.
    pub(super) fn add_compiled(&mut self, compiler: &Compiler, ingresses: BTreeSet<Name>) {
        if self.state == ReporterState::Empty {
            self.state = ReporterState::First;
        }
        let report = |name: Name| {
            let reporting = compiler.reporting(&name);
            (name, reporting)
        };
        self.pending.ingresses.extend(ingresses.into_iter().map(report));
        if let Some(name) = &self.service {
            let service = compiler.service(name).map(ExposingService::from);
            if self.known_service.as_ref() != Some(&service) {
                self.known_service = Some(service.clone());
                self.pending.service = Some(service);
            }
        }
        let configs = compiler.config_states();
        if self.known_configs != configs {
            self.known_configs.clone_from(&configs);
            self.pending.configs = Some(configs);
        }
    }

    /// Sends what was added, with changed Problems. Sends nothing before the first compilation.
    pub(super) fn send(&mut self, generation: u64, problems: &Problems, changes: ProblemChanges) {
        let ProblemChanges { added, removed } = match self.state {
            ReporterState::Empty => return,
            ReporterState::First => {
                ProblemChanges { added: problems.all().into_iter().collect(), removed: BTreeSet::new() }
            }
            ReporterState::Changes => changes,
        };
        let is_first = self.state == ReporterState::First;
        self.state = ReporterState::Changes;
        let pending = std::mem::take(&mut self.pending);
        // After a panic of the task, all objects are read again, and a new task gets them.
        let _ = self.channel.send(Published { is_first, generation, added, removed, ..pending });
    }
}
