//! The hosts of classes with a handler: their Ingresses, the last answers, and the hosts that must be asked.
//!
//! Not here: what a call reads (`handler_input`), and the routes of an answer (`answered`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::class_handler::AnnotationResult;
use api::class_handler::EmittedRoute;

use super::policy_merge::PolicyMerger;
use super::precedence::Precedence;
use crate::handler::HandlerAnswer;
use crate::handler::HandlerHost;
use crate::handler::HandlerOutcome;
use crate::handler::HandlerTranslation;
use crate::host::HostName;
use crate::object::Name;

use super::answered_policy;
use super::answered_policy::AnsweredPolicy;

/// All hosts of classes with a handler.
#[derive(Debug, Default)]
pub(super) struct HandlerIndex {
    answers: BTreeMap<Name, HostAnswers>,
    members: BTreeMap<HandlerHost, BTreeSet<Precedence>>,
    /// Hosts whose input may have changed.
    dirty: BTreeSet<HandlerHost>,
}

/// The answers for one Ingress, by the host of the call.
pub(super) type HostAnswers = BTreeMap<HostName, HostAnswer>;

/// The last answer for an Ingress on a host.
#[derive(Debug, Default)]
pub(super) struct HostAnswer {
    /// The last one that was valid.
    pub(super) translated: Option<Answered>,
    /// Why a later call failed.
    pub(super) failure: Option<Arc<str>>,
}

/// A valid answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) routes: Vec<EmittedRoute>,
    pub(super) policies: Vec<AnsweredPolicy>,
    pub(super) results: Vec<AnnotationResult>,
}

impl HandlerIndex {
    /// Stores answers. Returns the Ingresses whose answers changed. Those about Ingresses that are not on the host any more
    /// are dropped.
    pub(super) fn answer(&mut self, answers: Vec<HandlerAnswer>, own_namespace: &str) -> BTreeSet<Name> {
        let mut changed = BTreeSet::new();
        for HandlerAnswer { ingress, host, outcome } in answers {
            let Some(known) = self.answers.get_mut(&ingress).and_then(|hosts| hosts.get_mut(&host)) else {
                continue;
            };
            match outcome {
                HandlerOutcome::Failed(reason) => known.failure = Some(reason),
                HandlerOutcome::Translated(translation) => {
                    let translated = Some(Answered::new(&ingress, translation, own_namespace));
                    *known = HostAnswer { translated, failure: None };
                }
            }
            changed.insert(ingress);
        }
        changed
    }

    /// Adds an Ingress to the hosts that it is on. Answers for other hosts are forgotten.
    pub(super) fn insert(&mut self, class: &Arc<str>, hosts: BTreeSet<HostName>, ingress: &Precedence) {
        let answers = self.answers.entry(ingress.name.clone()).or_default();
        answers.retain(|host, _| hosts.contains(host));
        for host in hosts {
            answers.entry(host.clone()).or_default();
            let subject = HandlerHost { class: Arc::clone(class), host };
            self.members.entry(subject).or_default().insert(ingress.clone());
        }
    }

    /// Removes an Ingress from all hosts of a class. Its answers stay until [`Self::insert`] or [`Self::forget`].
    pub(super) fn remove(&mut self, class: &Arc<str>, ingress: &Precedence) {
        let Some(answers) = self.answers.get(&ingress.name) else { return };
        for host in answers.keys() {
            let subject = HandlerHost { class: Arc::clone(class), host: host.clone() };
            let Some(members) = self.members.get_mut(&subject) else { continue };
            members.remove(ingress);
            if members.is_empty() {
                self.members.remove(&subject);
            }
        }
    }

    /// Marks all hosts of an Ingress as changed.
    pub(super) fn mark(&mut self, class: &Arc<str>, ingress: &Name) {
        let hosts = self.answers.get(ingress).into_iter().flat_map(BTreeMap::keys);
        let subjects = hosts.map(|host| HandlerHost { class: Arc::clone(class), host: host.clone() });
        self.dirty.extend(subjects);
    }

    /// Marks all hosts as changed whose class matches.
    pub(super) fn mark_class(&mut self, class: &str) {
        let subjects: Vec<_> = self.subjects(class).cloned().collect();
        self.dirty.extend(subjects);
    }

    /// Forgets the answers for an Ingress.
    pub(super) fn forget(&mut self, ingress: &Name) {
        self.answers.remove(ingress);
    }

    /// Adds the policies of all answers for an Ingress to a merger. Returns the answers.
    pub(super) fn merge_into<'a>(&'a self, ingress: &Name, merger: &mut PolicyMerger<'a>) -> &'a HostAnswers {
        static NONE: HostAnswers = BTreeMap::new();
        let answers = self.answers.get(ingress).unwrap_or(&NONE);
        for (host, answer) in answers {
            for policy in answer.translated.iter().flat_map(|answered| &answered.policies) {
                merger.add_answered(host, policy);
            }
        }
        merger.sort();
        answers
    }

    /// Returns the hosts of a class.
    pub(super) fn subjects(&self, class: &str) -> impl Iterator<Item = &HandlerHost> {
        self.members.keys().filter(move |subject| *subject.class == *class)
    }

    /// Returns the Ingresses on a host, the one that takes precedence first.
    pub(super) fn members(&self, subject: &HandlerHost) -> impl Iterator<Item = &Name> {
        self.members.get(subject).into_iter().flatten().map(|precedence| &precedence.name)
    }

    /// Returns true if each Ingress on a host has an answer.
    pub(super) fn is_answered(&self, subject: &HandlerHost) -> bool {
        self.members(subject).all(|ingress| {
            let answer = self.answers.get(ingress).and_then(|hosts| hosts.get(&subject.host));
            answer.is_some_and(|answer| answer.translated.is_some() || answer.failure.is_some())
        })
    }

    /// Returns the Ingresses for which an answer names a plugin.
    pub(super) fn naming_plugin(&self, plugin: &Name) -> impl Iterator<Item = &Name> {
        let names = |answers: &HostAnswers| {
            let answered = answers.values().filter_map(|answer| answer.translated.as_ref());
            let mut policies = answered.flat_map(|answered| &answered.policies);
            policies.any(|policy| policy.entry.plugins.iter().any(|named| named.plugin == *plugin))
        };
        self.answers.iter().filter(move |(_, answers)| names(answers)).map(|(ingress, _)| ingress)
    }

    /// Returns true if no class has a handler.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Returns the hosts that changed since the last call.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<HandlerHost> {
        std::mem::take(&mut self.dirty)
    }
}

impl Answered {
    fn new(ingress: &Name, from: HandlerTranslation, own_namespace: &str) -> Self {
        let HandlerTranslation { routes, policies, results } = from;
        let policies = policies
            .into_iter()
            .map(|policy| answered_policy::parse(ingress, policy, own_namespace))
            .collect();
        Self { routes, policies, results }
    }
}
