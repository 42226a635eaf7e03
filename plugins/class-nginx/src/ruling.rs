//! Verdicts on annotations, and the settings that they stand for.

use std::collections::BTreeMap;

use plugin_sdk::class::AnnotationVerdict;
use plugin_sdk::class::ClassIngress;
use plugin_sdk::class::ClassOutput;
use plugin_sdk::class::api::RoutePolicySpec;

use crate::DIALECT;

/// The verdict on an annotation.
#[derive(Clone, Debug)]
pub(crate) struct Ruling {
    verdict: AnnotationVerdict,
    message: String,
    closes: bool,
}

/// Everything that the annotations of an Ingress say.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Settings, and the keys that they come from, without prefix.
    pub(crate) policies: Vec<(RoutePolicySpec, Vec<&'static str>)>,
    /// Verdicts by key without prefix.
    pub(crate) rulings: BTreeMap<&'static str, Ruling>,
}

impl Ruling {
    pub(crate) fn exact() -> Self {
        Self { verdict: AnnotationVerdict::Exact, message: String::new(), closes: false }
    }

    pub(crate) fn differs(message: impl Into<String>) -> Self {
        Self { verdict: AnnotationVerdict::Differs, message: message.into(), closes: false }
    }

    pub(crate) fn ignored(message: impl Into<String>) -> Self {
        Self { verdict: AnnotationVerdict::Ignored, message: message.into(), closes: false }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { verdict: AnnotationVerdict::Refused, message: message.into(), closes: false }
    }

    /// Creates a refusal that closes all paths of the Ingress on the host.
    pub(crate) fn closed(message: impl Into<String>) -> Self {
        Self { closes: true, ..Self::refused(message) }
    }

    /// Adds the verdict to the output.
    pub(crate) fn emit(self, ingress: &ClassIngress, name: &str, output: &mut ClassOutput) {
        let result = output.result(ingress, &format!("{DIALECT}{name}"), self.verdict, self.message);
        if self.closes {
            result.close();
        }
    }
}

impl Settings {
    /// Sets the verdict on an annotation.
    pub(crate) fn rule(&mut self, name: &'static str, ruling: Ruling) {
        self.rulings.insert(name, ruling);
    }

    /// Adds settings.
    pub(crate) fn policy(&mut self, spec: RoutePolicySpec, keys: impl IntoIterator<Item = &'static str>) {
        self.policies.push((spec, keys.into_iter().collect()));
    }
}
